/**
 * What a way to choose among instances is made of.
 *
 * A {@link Strategy} is a value: a name and a recipe. Made, it is a {@link Chooser}, which knows some instances and a
 * little state about each of them. Choosers have no clock, no randomness and no fiber of their own: time and chance come
 * with each call, so the same inputs give the same choices.
 *
 * A wrapper (`zoneAware`, `filter`, …) is a chooser that passes on to another what it is told, or a part of that.
 *
 * @module
 */
import { Data, type Pipeable, Pipeable as Pipe, Result } from "effect"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"

/** What a choice may depend on. */
export interface PickRequest {
  /** Milliseconds, monotonic. */
  readonly now: number
  /** A number of at least 0 and below 1, drawn evenly. */
  readonly random: () => number
  /** What consistent hashing goes by; other strategies ignore it. */
  readonly key?: string
  /** Instances not to choose, by id: tried already, or ejected. */
  readonly exclude?: (id: string) => boolean
}

/** How a call ended. */
export interface Outcome {
  /** Milliseconds, monotonic. */
  readonly now: number
  /** Whether it succeeded. */
  readonly ok: boolean
}

/** What a strategy remembers of one instance, as named numbers; which, depends on the strategy. For people. */
export type Known = Readonly<Record<string, number>>

/**
 * A strategy at work over one service: the instances that it knows, and its state for each.
 *
 * It is synchronous and throws nothing. What it remembers of an instance goes with `remove`.
 */
export interface Chooser<in out M> {
  /**
   * The instance is there, new or changed; one that was known keeps its state. `available` says whether it wants
   * traffic: only then may it be chosen.
   */
  readonly put: (instance: ServiceInstance<M>, available: boolean, now: number) => void
  /** The instance is gone. */
  readonly remove: (id: string, now: number) => void
  /** The instance for the next call, or `undefined` when there is none to choose. */
  readonly pick: (request: PickRequest) => ServiceInstance<M> | undefined
  /** A call to this instance has begun. What is returned is called once, at its end. */
  readonly begin: (id: string, now: number) => (outcome: Outcome) => void
  /** What it remembers of each instance, by id: a copy. */
  readonly inspect: (now: number) => ReadonlyMap<string, Known>
}

/** What `begin` answers where calls leave no trace. */
export const noCall = (): void => {}

/**
 * A way to choose among the instances of a service: a value that can be shared. Each `make` starts with fresh state.
 *
 * `M` is the metadata that it looks at: `unknown` for those that look at none, which then fit any service.
 */
export interface Strategy<in M = unknown> extends Pipeable.Pipeable {
  /** For people: `"zoneAware(roundRobin)"`. */
  readonly name: string
  /** A chooser without instances, or the option that cannot be. */
  readonly make: <N extends M>() => Result.Result<Chooser<N>, InvalidStrategy>
}

/**
 * A strategy from its parts: for your own.
 *
 * @example
 * ```ts
 * import type { ServiceInstance } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Result } from "effect"
 * import assert from "node:assert/strict"
 *
 * // The first instance by id, always.
 * const first = Balancer.strategy("first", <M>() => {
 *   const known = new Map<string, ServiceInstance<M>>()
 *   return Result.succeed<Balancer.Chooser<M>>({
 *     put: (instance, available) => void (available ? known.set(instance.id, instance) : known.delete(instance.id)),
 *     remove: (id) => void known.delete(id),
 *     pick: ({ exclude }) =>
 *       [...known.values()].filter(({ id }) => exclude?.(id) !== true).sort((a, b) => a.id < b.id ? -1 : 1)[0],
 *     begin: () => () => {},
 *     inspect: () => new Map()
 *   })
 * })
 * assert.ok(Result.isSuccess(Balancer.make(first)))
 * ```
 */
export const make = <M = unknown>(name: string, make: Strategy<M>["make"]): Strategy<M> =>
  Object.assign(Object.create(Pipe.Prototype), { name, make })

/** {@link InvalidStrategy} as a result. */
export const invalid = (
  strategy: string,
  field: string,
  value: unknown,
  rule: string
): Result.Result<never, InvalidStrategy> => Result.fail(new InvalidStrategy({ strategy, field, value, rule }))

const InvalidStrategyBase: TaggedErrorClass<"InvalidStrategy", {
  /** The strategy. */
  readonly strategy: string
  /** The option. */
  readonly field: string
  /** What it was given. */
  readonly value: unknown
  /** What it must be. */
  readonly rule: string
}> = Data.TaggedError("InvalidStrategy")

/**
 * An option of a strategy that cannot be. Constructors of strategies never throw: what is wrong is told when the strategy
 * is put to work, by `Balancer.make` and so by `Endpoints.make`, before anything is connected.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Option, Result } from "effect"
 * import assert from "node:assert/strict"
 *
 * const error = Result.getFailure(Balancer.make(Balancer.random.pipe(Balancer.panic(50))))
 * assert.equal(
 *   Option.getOrThrow(error).message,
 *   "cannot balance with panic: threshold is 50; it must be a fraction from 0 to 1"
 * )
 * ```
 */
export class InvalidStrategy extends InvalidStrategyBase {
  override get message(): string {
    return `cannot balance with ${this.strategy}: ${this.field} is ${
      typeof this.value === "number" ? this.value : JSON.stringify(this.value) ?? String(this.value)
    }; ${this.rule}`
  }
}

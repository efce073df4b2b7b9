/**
 * The parts of a balancing strategy.
 *
 * A {@link Strategy} is a value: a name and a function that makes a {@link Picker}. A picker holds instances and a
 * state for each of them. It has no clock, no randomness and no fiber: time and random numbers are arguments, so the
 * same inputs give the same picks.
 *
 * A wrapper (`zoneAware`, `filter`, …) is a picker that delegates to another picker.
 *
 * @module
 */
import { type Pipeable, Pipeable as Pipe, type Result } from "effect"
import type { InvalidOption } from "../internal/options.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"

/**
 * The input of a pick.
 *
 * @since 0.1.0
 * @category models
 */
export interface PickRequest {
  /** Milliseconds on a monotonic clock. */
  readonly now: number
  /** Returns a number of at least 0 and below 1, uniformly distributed. */
  readonly random: () => number
  /** The key for consistent hashing. Other strategies ignore it. */
  readonly key?: string
  /** Returns true for the ids of instances that must not be picked: already tried, or ejected. */
  readonly exclude?: (id: string) => boolean
}

/**
 * The end of a call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** Milliseconds on a monotonic clock. */
  readonly now: number
  /** Whether the call succeeded. */
  readonly ok: boolean
}

/**
 * The state of one instance in a strategy, as named numbers for display.
 *
 * @since 0.1.0
 * @category models
 */
export type Inspection = Readonly<Record<string, number>>

/**
 * A strategy applied to one service: the instances, and a state for each of them.
 *
 * **Details**
 *
 * All members are synchronous. A picker drops the state of an instance in `remove`.
 *
 * **Gotchas**
 *
 * If `put` throws, the balancer calls `remove` and skips the instance. It retries `put` with the next set, and every
 * second while it picks. If `pick` or `begin` throws, the call dies with that exception.
 *
 * @since 0.1.0
 * @category models
 */
export interface Picker<in out M> {
  /**
   * Adds an instance, or replaces a known one and keeps its state. Only an instance with `available: true` may be
   * picked.
   */
  readonly put: (instance: ServiceInstance<M>, available: boolean, now: number) => void
  /** Removes an instance and its state. Does nothing for an unknown id. */
  readonly remove: (id: string, now: number) => void
  /** Returns the instance for the next call, or `undefined` if there is none. */
  readonly pick: (request: PickRequest) => ServiceInstance<M> | undefined
  /** Records the start of a call. The returned function records its end and is called once. */
  readonly begin: (id: string, now: number) => (outcome: Outcome) => void
  /** Returns a copy of the state of each instance, by id. */
  readonly inspect: (now: number) => ReadonlyMap<string, Inspection>
}

/** The result of `begin` in a picker that does not track calls. */
export const noCall = (): void => {}

/**
 * A way to choose among the instances of a service: a value that can be shared.
 *
 * **Details**
 *
 * Each `make` starts with fresh state. `M` is the type of metadata that the strategy reads. A strategy that reads none
 * has `unknown`, and so fits any service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Strategy<in M = unknown> extends Pipeable.Pipeable {
  /** For display, such as `"zoneAware(roundRobin)"`. */
  readonly name: string
  /** Returns a picker without instances, or the option that breaks its rule. */
  readonly make: <N extends M>() => Result.Result<Picker<N>, InvalidOption>
}

/**
 * Creates a strategy from a name and a function that returns a {@link Picker}.
 *
 * **Example**
 *
 * ```ts
 * import type { ServiceInstance } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Result } from "effect"
 * import assert from "node:assert/strict"
 *
 * // Always the first instance by id.
 * const first = Balancer.strategy("first", <M>() => {
 *   const instances = new Map<string, ServiceInstance<M>>()
 *   return Result.succeed<Balancer.Picker<M>>({
 *     put: (instance, available) =>
 *       void (available ? instances.set(instance.id, instance) : instances.delete(instance.id)),
 *     remove: (id) => void instances.delete(id),
 *     pick: ({ exclude }) =>
 *       [...instances.values()].filter(({ id }) => exclude?.(id) !== true).sort((a, b) => a.id < b.id ? -1 : 1)[0],
 *     begin: () => () => {},
 *     inspect: () => new Map()
 *   })
 * })
 * assert.ok(Result.isSuccess(Balancer.make(first)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <M = unknown>(name: string, make: Strategy<M>["make"]): Strategy<M> =>
  Object.assign(Object.create(Pipe.Prototype), { name, make })

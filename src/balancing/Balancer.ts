/**
 * Picks the instance for the next call.
 *
 * A {@link Strategy} defines how to pick. A {@link Balancer} applies a strategy to one service: it receives each new
 * set of instances, and picks. It is synchronous and has no effects; {@link pick}, {@link update} and {@link track}
 * supply Effect's clock and random numbers. `ServiceClient` uses a balancer, and also manages the clients of the
 * instances.
 *
 * **Example** (Without `ServiceClient`)
 *
 * ```ts
 * import { discover, getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const strategy = Balancer.peakEwma().pipe(Balancer.zoneAware({ zone: "eu-1a" }), Balancer.slowStart("30 seconds"))
 *   const balancer = yield* Effect.fromResult(Balancer.make(strategy))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   yield* discover("orders").pipe(
 *     Stream.runForEach((set) => Balancer.update(balancer, set)),
 *     Effect.forkScoped
 *   )
 *   const instance = yield* Effect.flatMap(Balancer.pick(balancer), Effect.fromOption)
 *   return yield* Balancer.track(balancer, instance, Effect.succeed(instance.endpoints))
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"], zone: "eu-1a" }])
 * const endpoints = await Effect.runPromise(Effect.scoped(Effect.provide(program, registry)))
 * assert.deepEqual(endpoints, ["http://10.0.0.5:8080"])
 * ```
 *
 * @since 0.1.0
 * @module
 */
import { Effect, Option, Random, Result } from "effect"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { isAvailable, type ServiceInstance } from "../registry/model/Instance.ts"
import * as InstanceSet from "../registry/model/InstanceSet.ts"
import type { Inspection, Outcome, Picker, PickRequest, Strategy } from "./Strategy.ts"

export {
  type Inspection,
  make as strategy,
  type Outcome,
  type Picker,
  type PickRequest,
  type Strategy
} from "./Strategy.ts"
import { logError } from "../internal/log.ts"
export { consistentHash, type ConsistentHashOptions } from "./strategies/consistentHash.ts"
export { filter } from "./strategies/filter.ts"
export { random } from "./strategies/random.ts"
export { roundRobin } from "./strategies/roundRobin.ts"
export { slowStart } from "./strategies/slowStart.ts"
export { leastRequests, peakEwma, type PeakEwmaOptions } from "./strategies/twoChoices.ts"
export { zoneAware, type ZoneAwareOptions } from "./strategies/zoneAware.ts"

/**
 * A strategy applied to one service.
 *
 * **Details**
 *
 * The same inputs give the same picks. A balancer keeps state only for instances of the newest set.
 *
 * @since 0.1.0
 * @category models
 */
export interface Balancer<in out M> {
  /** The name of the strategy. */
  readonly name: string
  /**
   * Replaces the set. An instance that stays keeps its state. An instance that left loses it. Between sets of one watch
   * the cost is proportional to the changes. `now` is in milliseconds on a monotonic clock.
   */
  readonly update: (set: InstanceSet.InstanceSet<M>, now: number) => void
  /**
   * Returns the instance for the next call. Returns `undefined` if no instance is available, or if all candidates are
   * excluded. A pick does not count as a call before `begin`.
   */
  readonly pick: (request: PickRequest) => ServiceInstance<M> | undefined
  /**
   * Records the start of a call (`now`: milliseconds on a monotonic clock). Call the returned function once when the
   * call ends, with any result. Further calls of it do nothing.
   */
  readonly begin: (id: string, now: number) => (outcome: Outcome) => void
  /**
   * Returns a copy of the state of each instance, by id, as named numbers: for example `inFlight` of `leastRequests`
   * and `peakEwma`, and `ewmaMillis` of `peakEwma`.
   */
  readonly inspect: (now: number) => ReadonlyMap<string, Inspection>
  /**
   * The instances that made the strategy throw, by id, with the exception. The balancer skips them. It retries them at
   * the next update, and every second while it picks.
   */
  readonly failed: ReadonlyMap<string, unknown>
}

/** How often a balancer retries instances that made the strategy throw. */
const retryFailedMillis = 1000

class BalancerImpl<M> implements Balancer<M> {
  readonly name: string
  readonly #picker: Picker<M>
  #newest: InstanceSet.InstanceSet<M> | undefined
  #failed: ReadonlyMap<string, unknown> = new Map()
  #failedAt = 0

  constructor(name: string, picker: Picker<M>) {
    this.name = name
    this.#picker = picker
  }

  get failed(): ReadonlyMap<string, unknown> {
    return this.#failed
  }

  update(set: InstanceSet.InstanceSet<M>, now: number): void {
    const failed = new Map<string, unknown>()
    const changes = InstanceSet.diff(this.#newest, set)
    this.#newest = set
    for (const { _tag, instance } of changes) {
      if (_tag === "Removed") this.#attempt(failed, instance.id, () => this.#picker.remove(instance.id, now))
      else this.#put(failed, instance, now)
    }
    const changed = new Set(changes.map(({ instance }) => instance.id))
    this.#putAgain(failed, Array.from(this.#failed.keys()).filter((id) => !changed.has(id)), now)
  }

  pick(request: PickRequest): ServiceInstance<M> | undefined {
    if (this.#failed.size > 0 && request.now - this.#failedAt >= retryFailedMillis) {
      this.#putAgain(new Map(), Array.from(this.#failed.keys()), request.now)
    }
    return this.#picker.pick(request)
  }

  begin(id: string, now: number): (outcome: Outcome) => void {
    const end = this.#picker.begin(id, now)
    let hasEnded = false
    return (outcome) => {
      if (hasEnded) return
      hasEnded = true
      end(outcome)
    }
  }

  inspect(now: number): ReadonlyMap<string, Inspection> {
    return this.#picker.inspect(now)
  }

  #put(failed: Map<string, unknown>, instance: ServiceInstance<M>, now: number): void {
    const isDone = this.#attempt(
      failed,
      instance.id,
      () => this.#picker.put(instance, isAvailable(instance), now)
    )
    // The instance may be half added: remove it, so that it is never picked. Report the first exception.
    if (!isDone) this.#attempt(new Map(), instance.id, () => this.#picker.remove(instance.id, now))
  }

  #putAgain(failed: Map<string, unknown>, ids: ReadonlyArray<string>, now: number): void {
    for (const id of ids) {
      const instance = this.#newest?.get(id)
      if (instance !== undefined && Option.isSome(instance)) this.#put(failed, instance.value, now)
    }
    this.#failed = failed
    this.#failedAt = now
  }

  /** Runs a step of the strategy. An exception affects only its instance. */
  #attempt(failed: Map<string, unknown>, id: string, step: () => void): boolean {
    try {
      step()
      return true
    } catch (cause) {
      failed.set(id, cause)
      return false
    }
  }
}

/**
 * Creates a balancer without instances. Fails with the option of the strategy that breaks its rule.
 *
 * **Example**
 *
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.leastRequests))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   return yield* Balancer.pick(balancer)
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * assert.ok(Option.isSome(await Effect.runPromise(Effect.provide(program, registry))))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <M = Readonly<Record<string, string>>>(
  strategy: Strategy<NoInfer<M>>
): Result.Result<Balancer<M>, InvalidOption> =>
  Result.map(
    Result.flatMap(
      checkOptions("Balancer.make", (check) => {
        check.callback("strategy.make", strategy?.make)
      }),
      () => strategy.make<M>()
    ),
    (picker) => new BalancerImpl(strategy.name, picker)
  )

/**
 * The input of a pick besides time and random numbers.
 *
 * @since 0.1.0
 * @category models
 */
export type PickOptions = Pick<PickRequest, "key" | "exclude">

/**
 * Replaces the set of a balancer.
 *
 * **Details**
 *
 * Logs an error when an instance makes the strategy throw for the first time.
 *
 * **Example**
 *
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.roundRobin))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   yield* Balancer.update(balancer, yield* getInstances("orders")) // keeps the state
 *   return Array.from(balancer.inspect(0).keys())
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "a", endpoints: ["http://10.0.0.5:8080"] },
 *   { name: "orders", id: "b", endpoints: ["http://10.0.0.6:8080"] }
 * ])
 *
 * assert.deepEqual((await Effect.runPromise(Effect.provide(program, registry))).sort(), ["a", "b"])
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const update = <M>(balancer: Balancer<M>, set: InstanceSet.InstanceSet<M>): Effect.Effect<void> =>
  Effect.flatMap(monotonicMillis, (now) => {
    const before = balancer.failed
    balancer.update(set, now)
    return logFailed(balancer, before)
  })

/**
 * Logs the instances that made the strategy throw since `before`. Ignores a logger that throws.
 *
 * @internal
 */
export const logFailed = <M>(
  { failed, name }: Balancer<M>,
  before: ReadonlyMap<string, unknown>
): Effect.Effect<void> =>
  failed.size === 0 ? Effect.void : Effect.forEach(
    Array.from(failed).filter(([id]) => !before.has(id)),
    ([id, cause]) => logError(`the strategy ${name} threw on ${JSON.stringify(id)}, which gets no calls`, cause),
    { discard: true }
  ).pipe(Effect.ignoreCause)

/**
 * Picks the instance for the next call, with Effect's clock and random numbers.
 *
 * **Example**
 *
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.random))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   return yield* Balancer.pick(balancer, { exclude: (id) => id === "b" })
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "a", endpoints: ["http://10.0.0.5:8080"] },
 *   { name: "orders", id: "b", endpoints: ["http://10.0.0.6:8080"] }
 * ])
 *
 * const instance = await Effect.runPromise(Effect.provide(program, registry))
 * assert.equal(Option.getOrThrow(instance).id, "a")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const pick = <M>(
  balancer: Balancer<M>,
  options: PickOptions = {}
): Effect.Effect<Option.Option<ServiceInstance<M>>> =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const now = yield* monotonicMillis
    return Option.fromUndefinedOr(balancer.pick({ ...options, now, random: () => random.nextDoubleUnsafe() }))
  })

/**
 * Records the start and the end of a call to an instance.
 *
 * **Example**
 *
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.peakEwma()))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const instance = yield* Effect.flatMap(Balancer.pick(balancer), Effect.fromOption)
 *   return yield* Balancer.track(balancer, instance, Effect.succeed(`called ${instance.name}`))
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * assert.equal(await Effect.runPromise(Effect.provide(program, registry)), "called orders")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const track = <M, A, E, R>(
  balancer: Balancer<M>,
  instance: ServiceInstance<M>,
  call: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.map(monotonicMillis, (now) => balancer.begin(instance.id, now)),
    () => call,
    (end, exit) => Effect.map(monotonicMillis, (now) => end({ now, ok: exit._tag === "Success" }))
  )

/**
 * Choosing the instance for the next call.
 *
 * A {@link Strategy} says how, a {@link Balancer} does it for one service: it takes each new set of instances, and
 * picks. It is synchronous and pure but for its own state; `pick`, `update` and `track` lend it Effect's clock and
 * randomness. `Endpoints` does all of this, and holds the clients, too.
 *
 * @example Without `Endpoints`
 * ```ts
 * import { discover, getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const strategy = Balancer.peakEwma.pipe(Balancer.zoneAware({ zone: "eu-1a" }), Balancer.slowStart("30 seconds"))
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
 * @module
 */
import { Effect, Option, Random, Result } from "effect"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { isAvailable, type ServiceInstance } from "../registry/model/Instance.ts"
import * as InstanceSet from "../registry/model/InstanceSet.ts"
import type { InvalidStrategy, Known, Outcome, PickRequest, Strategy } from "./Strategy.ts"

export {
  type Chooser,
  InvalidStrategy,
  type Known,
  make as strategy,
  type Outcome,
  type PickRequest,
  type Strategy
} from "./Strategy.ts"
export { consistentHash, type ConsistentHashOptions } from "./strategies/consistentHash.ts"
export { filter } from "./strategies/filter.ts"
export { panic } from "./strategies/panic.ts"
export { random, weightedRandom } from "./strategies/random.ts"
export { ringSubset, type RingSubsetOptions } from "./strategies/ringSubset.ts"
export { roundRobin } from "./strategies/roundRobin.ts"
export { slowStart } from "./strategies/slowStart.ts"
export { leastRequests, peakEwma, type PeakEwmaOptions, peakEwmaWith } from "./strategies/twoChoices.ts"
export { weightedRoundRobin } from "./strategies/weightedRoundRobin.ts"
export { zoneAware, type ZoneAwareOptions } from "./strategies/zoneAware.ts"

/**
 * One strategy at work over one service: synchronous, and the same inputs give the same choices. It throws nothing,
 * and what it remembers is never about more than the instances of the newest set.
 */
export interface Balancer<in out M> {
  /** The name of the strategy. */
  readonly name: string
  /**
   * Takes the newest set. An instance that stays keeps its state, one that left loses it. Between sets of one watch it
   * costs what changed. `now`: milliseconds, monotonic.
   */
  readonly update: (set: InstanceSet.InstanceSet<M>, now: number) => void
  /**
   * The instance for the next call, or `undefined` when there is none: the set has no available instance, or all that
   * could be chosen are excluded. It does not count as a call before `begin`.
   */
  readonly pick: (request: PickRequest) => ServiceInstance<M> | undefined
  /**
   * A call to this instance has begun (`now`: milliseconds, monotonic). What is returned is called once, at its end,
   * however it ended, also when the instance has left by then; calling it again does nothing.
   */
  readonly begin: (id: string, now: number) => (outcome: Outcome) => void
  /**
   * What the strategy remembers of each instance, by id, as named numbers: `inFlight` of `leastRequests` and `peakEwma`,
   * `ewmaMillis` of the latter, … A copy, for people and metrics.
   */
  readonly inspect: (now: number) => ReadonlyMap<string, Known>
}

/**
 * A strategy put to work, without instances; or the option of the strategy that cannot be.
 *
 * @example
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
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * const instance = await Effect.runPromise(Effect.provide(program, registry))
 * assert.ok(Option.isSome(instance))
 * ```
 */
export const make = <M = Readonly<Record<string, string>>>(
  strategy: Strategy<NoInfer<M>>
): Result.Result<Balancer<M>, InvalidStrategy> =>
  Result.map(strategy.make<M>(), (chooser) => {
    let newest: InstanceSet.InstanceSet<M> | undefined
    return {
      name: strategy.name,
      update: (set, now) => {
        for (const change of InstanceSet.diff(newest, set)) {
          if (change._tag === "Removed") chooser.remove(change.instance.id, now)
          else chooser.put(change.instance, isAvailable(change.instance), now)
        }
        newest = set
      },
      pick: (request) => chooser.pick(request),
      begin: (id, now) => {
        const end = chooser.begin(id, now)
        let ended = false
        return (outcome) => {
          if (ended) return
          ended = true
          end(outcome)
        }
      },
      inspect: (now) => chooser.inspect(now)
    }
  })

/** What a pick may depend on besides the time and chance. */
export type PickOptions = Pick<PickRequest, "key" | "exclude">

/**
 * Takes the newest set, now.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.roundRobin))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   yield* Balancer.update(balancer, yield* getInstances("orders")) // keeps what it knows
 *   return Array.from(balancer.inspect(0).keys())
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.deepEqual((await Effect.runPromise(Effect.provide(program, registry))).sort(), ["large", "small"])
 * ```
 */
export const update = <M>(balancer: Balancer<M>, set: InstanceSet.InstanceSet<M>): Effect.Effect<void> =>
  Effect.map(monotonicMillis, (now) => balancer.update(set, now))

/**
 * The instance for the next call, with Effect's clock and randomness.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.random))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   return yield* Balancer.pick(balancer, { exclude: (id) => id === "large" })
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * const instance = await Effect.runPromise(Effect.provide(program, registry))
 * assert.equal(Option.getOrThrow(instance).id, "small")
 * ```
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
 * Lets the balancer know of a call to this instance: that it is in flight, how long it takes and how it ends.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.peakEwma))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const instance = yield* Effect.flatMap(Balancer.pick(balancer), Effect.fromOption)
 *   return yield* Balancer.track(balancer, instance, Effect.succeed(`an answer from ${instance.name}`))
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.equal(await Effect.runPromise(Effect.provide(program, registry)), "an answer from orders")
 * ```
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

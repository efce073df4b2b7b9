/**
 * Prefers the instances of one zone.
 *
 * @module
 */
import { Result } from "effect"
import { checkOptions } from "../../internal/options.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Inspection, make, type Outcome, type Picker, type PickRequest, type Strategy } from "../Strategy.ts"

/**
 * Options of {@link zoneAware}.
 *
 * @since 0.1.0
 * @category models
 */
export interface ZoneAwareOptions {
  /** The zone of this client. */
  readonly zone: string
  /**
   * The number of available instances that the zone needs to get all calls. With fewer, calls go to all zones, so that
   * the few are not overloaded. A whole number of at least 1. Default: 1.
   */
  readonly minLocal?: number
}

class ZoneAware<M> implements Picker<M> {
  readonly #zone: string
  readonly #minLocal: number
  readonly #local: Picker<M>
  readonly #everywhere: Picker<M>
  /** The available instances of the zone. */
  readonly #availableLocal = new Set<string>()

  constructor(zone: string, minLocal: number, local: Picker<M>, everywhere: Picker<M>) {
    this.#zone = zone
    this.#minLocal = minLocal
    this.#local = local
    this.#everywhere = everywhere
  }

  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    this.#everywhere.put(instance, available, now)
    if (instance.zone === this.#zone) this.#local.put(instance, available, now)
    else this.#local.remove(instance.id, now)
    if (instance.zone === this.#zone && available) this.#availableLocal.add(instance.id)
    else this.#availableLocal.delete(instance.id)
  }

  remove(id: string, now: number): void {
    this.#everywhere.remove(id, now)
    this.#local.remove(id, now)
    this.#availableLocal.delete(id)
  }

  pick(request: PickRequest): ServiceInstance<M> | undefined {
    const local = this.#availableLocal.size >= this.#minLocal ? this.#local.pick(request) : undefined
    return local ?? this.#everywhere.pick(request)
  }

  begin(id: string, now: number): (outcome: Outcome) => void {
    const [endLocal, endEverywhere] = [this.#local.begin(id, now), this.#everywhere.begin(id, now)]
    return (outcome) => {
      endLocal(outcome)
      endEverywhere(outcome)
    }
  }

  inspect(now: number): ReadonlyMap<string, Inspection> {
    return this.#everywhere.inspect(now)
  }
}

/**
 * Prefers the instances of one zone.
 *
 * **Details**
 *
 * Calls go to the zone while it has at least `minLocal` available instances and at least one of them is not excluded.
 * Otherwise they go to all zones. The strategy keeps its state for both, so switching loses nothing.
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
 *   const strategy = Balancer.roundRobin.pipe(Balancer.zoneAware({ zone: "eu-1a" }))
 *   const balancer = yield* Effect.fromResult(Balancer.make(strategy))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   // No instance is in that zone: calls go to all zones.
 *   return Option.isSome(yield* Balancer.pick(balancer))
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.ok(await Effect.runPromise(Effect.provide(program, registry)))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const zoneAware = (options: ZoneAwareOptions) => <M>(strategy: Strategy<M>): Strategy<M> =>
  make<M>(`zoneAware(${strategy.name})`, <N extends M>() =>
    Result.gen(function* () {
      const { minLocal, zone } = yield* checkOptions("Balancer.zoneAware", (check) => ({
        zone: options.zone === "" ?
          check.refuse("zone", options.zone, "it must not be empty") :
          check.text("zone", options.zone),
        minLocal: check.number("minLocal", options.minLocal ?? 1, { min: 1, whole: true })
      }))
      return new ZoneAware<N>(zone, minLocal, yield* strategy.make<N>(), yield* strategy.make<N>())
    }))

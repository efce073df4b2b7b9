/**
 * Near instances first.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, invalid, type Known, make, type Outcome, type PickRequest, type Strategy } from "../Strategy.ts"

/** What is near. */
export interface ZoneAwareOptions {
  /** The zone of this client. */
  readonly zone: string
  /**
   * How many available instances the zone must have, so that all calls stay within it, a whole number above 0. With
   * fewer, calls go to all zones alike: the few would be flooded. Default: 1.
   */
  readonly minLocal?: number
}

class ZoneAware<M> implements Chooser<M> {
  readonly #zone: string
  readonly #minLocal: number
  readonly #local: Chooser<M>
  readonly #everywhere: Chooser<M>
  /** The available instances of the zone. */
  readonly #near = new Set<string>()

  constructor(zone: string, minLocal: number, local: Chooser<M>, everywhere: Chooser<M>) {
    this.#zone = zone
    this.#minLocal = minLocal
    this.#local = local
    this.#everywhere = everywhere
  }
  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    this.#everywhere.put(instance, available, now)
    if (instance.zone === this.#zone) this.#local.put(instance, available, now)
    else this.#local.remove(instance.id, now)
    if (instance.zone === this.#zone && available) this.#near.add(instance.id)
    else this.#near.delete(instance.id)
  }
  remove(id: string, now: number): void {
    this.#everywhere.remove(id, now)
    this.#local.remove(id, now)
    this.#near.delete(id)
  }
  pick(request: PickRequest): ServiceInstance<M> | undefined {
    const local = this.#near.size >= this.#minLocal ? this.#local.pick(request) : undefined
    return local ?? this.#everywhere.pick(request)
  }
  begin(id: string, now: number): (outcome: Outcome) => void {
    const [endLocal, endEverywhere] = [this.#local.begin(id, now), this.#everywhere.begin(id, now)]
    return (outcome) => {
      endLocal(outcome)
      endEverywhere(outcome)
    }
  }
  inspect(now: number): ReadonlyMap<string, Known> {
    return this.#everywhere.inspect(now)
  }
}

/**
 * The instances of one zone, as long as it has enough of them, and those of all zones when it has not, or when all of the
 * zone are excluded. The strategy keeps its state for both, so switching between them loses nothing.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.roundRobin.pipe(Balancer.zoneAware({ zone: "eu-1a" }))))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   // No instance is in that zone: calls go everywhere.
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
 */
export const zoneAware = ({ minLocal = 1, zone }: ZoneAwareOptions) => <M>(strategy: Strategy<M>): Strategy<M> =>
  make<M>(`zoneAware(${strategy.name})`, <N extends M>() =>
    Result.gen(function* () {
      if (typeof zone !== "string" || zone === "") {
        return yield* invalid("zoneAware", "zone", zone, "it must be a text that is not empty")
      }
      if (!Number.isInteger(minLocal) || minLocal < 1) {
        return yield* invalid("zoneAware", "minLocal", minLocal, "it must be a whole number above 0")
      }
      return new ZoneAware<N>(zone, minLocal, yield* strategy.make<N>(), yield* strategy.make<N>())
    }))

/**
 * One after the other.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, type Known, make, noCall, type PickRequest, type Strategy } from "../Strategy.ts"

class RoundRobin<M> implements Chooser<M> {
  readonly #places = new Map<string, number>()
  readonly #instances: Array<ServiceInstance<M>> = []
  #next: number | undefined

  put(instance: ServiceInstance<M>, available: boolean): void {
    if (!available) return this.remove(instance.id)
    const place = this.#places.get(instance.id) ?? this.#instances.length
    this.#places.set(instance.id, place)
    this.#instances[place] = instance
  }
  /** The last one moves into the gap. */
  remove(id: string): void {
    const place = this.#places.get(id)
    if (place === undefined) return
    this.#places.delete(id)
    const last = this.#instances.pop()
    if (last === undefined || last.id === id) return
    this.#instances[place] = last
    this.#places.set(last.id, place)
  }
  pick({ exclude, random }: PickRequest): ServiceInstance<M> | undefined {
    const count = this.#instances.length
    // Clients that start together do not all begin with the same instance.
    let next = this.#next ?? Math.floor(random() * count)
    for (let tried = 0; tried < count; tried++) {
      if (next >= count) next = 0
      const instance = this.#instances[next++]
      if (instance === undefined || exclude?.(instance.id) === true) continue
      this.#next = next
      return instance
    }
    return undefined
  }
  begin(): () => void {
    return noCall
  }
  inspect(): ReadonlyMap<string, Known> {
    return new Map(this.#instances.map(({ id }) => [id, {}]))
  }
}

/**
 * Each instance in turn, whatever its weight.
 *
 * @example
 * ```ts
 * import { getInstances, Registry } from "@effect-etcd/discovery"
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.roundRobin))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const ids = yield* Effect.replicateEffect(Balancer.pick(balancer), 2)
 *   return Option.getOrThrow(Option.all(ids)).map(({ id }) => id).sort()
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.deepEqual(await Effect.runPromise(Effect.provide(program, registry)), ["large", "small"])
 * ```
 */
export const roundRobin: Strategy = make("roundRobin", <M>() => Result.succeed<Chooser<M>>(new RoundRobin<M>()))

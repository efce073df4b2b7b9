/**
 * Round robin in proportion to weights.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Inspection, make, noCall, type Picker, type PickRequest, type Strategy } from "../Strategy.ts"
import { EqualTurns } from "./EqualTurns.ts"
import { clampWeight, Weights } from "./Weights.ts"
import { WeightedTurns } from "./WeightedTurns.ts"

class RoundRobin<M> implements Picker<M> {
  readonly #instances = new Map<string, ServiceInstance<M>>()
  readonly #weights = new Weights()
  #turns: EqualTurns<M> | WeightedTurns<M> = new EqualTurns()

  put(instance: ServiceInstance<M>, available: boolean): void {
    if (!available || !(instance.weight > 0)) return this.remove(instance.id)
    const weightBefore = this.#instances.get(instance.id)?.weight ?? 0
    this.#weights.change(clampWeight(weightBefore), clampWeight(instance.weight))
    this.#instances.set(instance.id, instance)
    this.#turns.put(instance)
  }

  remove(id: string): void {
    const instance = this.#instances.get(id)
    if (instance === undefined) return
    this.#instances.delete(id)
    this.#weights.change(clampWeight(instance.weight), 0)
    this.#turns.remove(id)
  }

  pick(request: PickRequest): ServiceInstance<M> | undefined {
    // Once for all changes of a set.
    if (this.#weights.uniform !== this.#turns instanceof EqualTurns) this.#switch()
    return this.#turns.pick(request)
  }

  begin(): () => void {
    return noCall
  }

  inspect(): ReadonlyMap<string, Inspection> {
    const waits = this.#turns instanceof WeightedTurns ? this.#turns.waits() : undefined
    return new Map(Array.from(this.#instances.keys(), (id) => {
      const wait = waits?.get(id)
      return [id, wait === undefined ? {} : { wait }]
    }))
  }

  #switch(): void {
    this.#turns = this.#weights.uniform ? new EqualTurns() : new WeightedTurns()
    for (const instance of this.#instances.values()) this.#turns.put(instance)
  }
}

/**
 * Each instance in turn, in proportion to its weight and evenly mixed.
 *
 * **Details**
 *
 * With equal weights the instances take plain turns, and a pick takes constant time. Otherwise a pick costs O(log n):
 * weights 5, 1, 1 give _a b a a c a a_. As long as the set does not change and nothing is excluded, no instance
 * deviates from its exact share by a whole call.
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
 *   const balancer = yield* Effect.fromResult(Balancer.make(Balancer.roundRobin))
 *   yield* Balancer.update(balancer, yield* getInstances("orders"))
 *   const picked = yield* Effect.replicateEffect(Balancer.pick(balancer), 4)
 *   return Option.getOrThrow(Option.all(picked)).map(({ id }) => id).sort()
 * })
 *
 * const registry = Registry.layerFixed([
 *   { name: "orders", id: "small", endpoints: ["http://10.0.0.5:8080"], weight: 1 },
 *   { name: "orders", id: "large", endpoints: ["http://10.0.0.6:8080"], weight: 3 }
 * ])
 *
 * assert.deepEqual(await Effect.runPromise(Effect.provide(program, registry)), ["large", "large", "large", "small"])
 * ```
 *
 * @since 0.1.0
 * @category strategies
 */
export const roundRobin: Strategy = make("roundRobin", <M>() => Result.succeed<Picker<M>>(new RoundRobin<M>()))

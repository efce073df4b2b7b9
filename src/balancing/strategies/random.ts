/**
 * Picks a random instance, in proportion to weights.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Inspection, make, noCall, type Picker, type PickRequest, type Strategy } from "../Strategy.ts"
import { Pool } from "./Pool.ts"

class RandomPicker<M> implements Picker<M> {
  readonly #pool = new Pool<M, Inspection>()

  put(instance: ServiceInstance<M>, available: boolean): void {
    this.#pool.put(instance, available, () => ({}))
  }

  remove(id: string): void {
    this.#pool.remove(id)
  }

  pick({ exclude, random }: PickRequest): ServiceInstance<M> | undefined {
    return this.#pool.draw(random, ({ instance }) => exclude?.(instance.id) === true)?.instance
  }

  begin(): () => void {
    return noCall
  }

  inspect(): ReadonlyMap<string, Inspection> {
    return new Map(Array.from(this.#pool.members, ([id, { state }]) => [id, state]))
  }
}

/**
 * A random instance, with a probability in proportion to its weight.
 *
 * **Details**
 *
 * A pick takes constant time while all weights are equal, and O(log n) otherwise.
 *
 * **Example**
 *
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.random.pipe(Balancer.zoneAware({ zone: "eu-1a" }))
 * assert.equal(strategy.name, "zoneAware(random)")
 * ```
 *
 * @since 0.1.0
 * @category strategies
 */
export const random: Strategy = make("random", <M>() => Result.succeed<Picker<M>>(new RandomPicker<M>()))

/**
 * By chance alone.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, type Known, make, noCall, type PickRequest, type Strategy } from "../Strategy.ts"
import { Pool } from "./Pool.ts"

class RandomChoice<M> implements Chooser<M> {
  readonly #pool = new Pool<M, Known>()
  readonly #weightOf: (instance: ServiceInstance<M>) => number

  constructor(weightOf: (instance: ServiceInstance<M>) => number) {
    this.#weightOf = weightOf
  }
  put(instance: ServiceInstance<M>, available: boolean): void {
    this.#pool.put(instance, available ? this.#weightOf(instance) : 0, () => ({}))
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
  inspect(): ReadonlyMap<string, Known> {
    return new Map(Array.from(this.#pool.known, ([id, { state }]) => [id, state]))
  }
}

/**
 * Each instance with the same chance, whatever its weight.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.random.pipe(Balancer.zoneAware({ zone: "eu-1a" }))
 * assert.equal(strategy.name, "zoneAware(random)")
 * ```
 */
export const random: Strategy = make(
  "random",
  <M>() => Result.succeed<Chooser<M>>(new RandomChoice<M>(() => 1))
)

/**
 * Each instance with a chance in proportion to its weight.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.weightedRandom.pipe(Balancer.slowStart("30 seconds"))
 * assert.equal(strategy.name, "slowStart(weightedRandom)")
 * ```
 */
export const weightedRandom: Strategy = make(
  "weightedRandom",
  <M>() => Result.succeed<Chooser<M>>(new RandomChoice<M>(({ weight }) => weight))
)

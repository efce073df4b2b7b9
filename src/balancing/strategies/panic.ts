/**
 * What to do when hardly any instance wants traffic.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, invalid, type Known, make, type Outcome, type PickRequest, type Strategy } from "../Strategy.ts"

class Panic<M> implements Chooser<M> {
  readonly #threshold: number
  readonly #chooser: Chooser<M>
  /** Those with a weight that are not available. */
  readonly #away = new Map<string, ServiceInstance<M>>()
  readonly #available = new Set<string>()
  #panicking = false
  #changedAt = 0

  constructor(threshold: number, chooser: Chooser<M>) {
    this.#threshold = threshold
    this.#chooser = chooser
  }
  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    const away = !available && instance.weight > 0
    if (available) this.#available.add(instance.id)
    else this.#available.delete(instance.id)
    if (away) this.#away.set(instance.id, instance)
    else this.#away.delete(instance.id)
    this.#changedAt = now
    this.#chooser.put(instance, available || away && this.#panicking, now)
  }
  remove(id: string, now: number): void {
    this.#available.delete(id)
    this.#away.delete(id)
    this.#changedAt = now
    this.#chooser.remove(id, now)
  }
  pick(request: PickRequest): ServiceInstance<M> | undefined {
    this.#settle()
    return this.#chooser.pick(request)
  }
  begin(id: string, now: number): (outcome: Outcome) => void {
    return this.#chooser.begin(id, now)
  }
  inspect(now: number): ReadonlyMap<string, Known> {
    return this.#chooser.inspect(now)
  }
  /** Decides once for all changes of a set. */
  #settle(): void {
    const panicking = this.#available.size < this.#threshold * (this.#available.size + this.#away.size)
    if (panicking === this.#panicking) return
    this.#panicking = panicking
    for (const instance of this.#away.values()) this.#chooser.put(instance, panicking, this.#changedAt)
  }
}

/**
 * While the available instances are fewer than a fraction (0 to 1) of those with a weight above 0, all of the latter are
 * chosen from, whatever their status: so many cannot be ill at once, more likely the checks are; and if they are ill, the
 * few that are left would break under the load of all. As Envoy's panic threshold, which is 0.5 unless told otherwise.
 *
 * It goes by the status in the set. Instances that a caller excludes stay excluded.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * const strategy = Balancer.roundRobin.pipe(Balancer.panic(0.5))
 * assert.equal(strategy.name, "panic(roundRobin)")
 * ```
 */
export const panic = (threshold: number) => <M>(strategy: Strategy<M>): Strategy<M> =>
  make<M>(
    `panic(${strategy.name})`,
    <N extends M>() =>
      threshold >= 0 && threshold <= 1 ?
        Result.map(strategy.make<N>(), (chooser): Chooser<N> => new Panic<N>(threshold, chooser)) :
        invalid("panic", "threshold", threshold, "it must be a fraction from 0 to 1")
  )

/**
 * A custom wrapper for the case that hardly any instance is available.
 *
 * @module
 */
import { Result } from "effect"
import { InvalidOption, type ServiceInstance } from "../../mod.ts"
import { Balancer } from "../../src/balancing/mod.ts"

class Panic<M> implements Balancer.Picker<M> {
  readonly #threshold: number
  readonly #picker: Balancer.Picker<M>
  /** Instances that have a weight but are not available. */
  readonly #unavailable = new Map<string, ServiceInstance<M>>()
  readonly #available = new Set<string>()
  #isPanicking = false
  #changedAt = 0

  constructor(threshold: number, picker: Balancer.Picker<M>) {
    this.#threshold = threshold
    this.#picker = picker
  }

  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    const isUnavailable = !available && instance.weight > 0
    if (available) this.#available.add(instance.id)
    else this.#available.delete(instance.id)
    if (isUnavailable) this.#unavailable.set(instance.id, instance)
    else this.#unavailable.delete(instance.id)
    this.#changedAt = now
    this.#picker.put(instance, available || isUnavailable && this.#isPanicking, now)
  }

  remove(id: string, now: number): void {
    this.#available.delete(id)
    this.#unavailable.delete(id)
    this.#changedAt = now
    this.#picker.remove(id, now)
  }

  pick(request: Balancer.PickRequest): ServiceInstance<M> | undefined {
    this.#decide()
    return this.#picker.pick(request)
  }

  begin(id: string, now: number): (outcome: Balancer.Outcome) => void {
    return this.#picker.begin(id, now)
  }

  inspect(now: number): ReadonlyMap<string, Balancer.Inspection> {
    return this.#picker.inspect(now)
  }

  /** Once for all changes of a set. */
  #decide(): void {
    const isPanicking = this.#available.size < this.#threshold * (this.#available.size + this.#unavailable.size)
    if (isPanicking === this.#isPanicking) return
    this.#isPanicking = isPanicking
    for (const instance of this.#unavailable.values()) this.#picker.put(instance, isPanicking, this.#changedAt)
  }
}

/**
 * Ignores the status of instances while fewer than a fraction (0 to 1) of those with a weight are available.
 *
 * So many instances rarely fail at once: more likely the health checks do. And if the instances have really failed, the
 * few others would not survive the load of all. Envoy calls this the panic threshold, by default 0.5.
 */
export const panic = (threshold: number) => <M>(strategy: Balancer.Strategy<M>): Balancer.Strategy<M> =>
  Balancer.strategy<M>(
    `panic(${strategy.name})`,
    <N extends M>() =>
      threshold >= 0 && threshold <= 1 ?
        Result.map(strategy.make<N>(), (picker): Balancer.Picker<N> => new Panic<N>(threshold, picker)) :
        Result.fail(
          new InvalidOption({ of: "panic", option: "threshold", value: threshold, rule: "it must be from 0 to 1" })
        )
  )

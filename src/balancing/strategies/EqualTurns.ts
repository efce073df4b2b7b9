/**
 * Round robin among instances of equal weight: an array and a position.
 *
 * @module
 */
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type { PickRequest } from "../Strategy.ts"

/** Picks one instance after the other in constant time. */
export class EqualTurns<M> {
  readonly #places = new Map<string, number>()
  readonly #instances: Array<ServiceInstance<M>> = []
  #next: number | undefined

  put(instance: ServiceInstance<M>): void {
    const place = this.#places.get(instance.id) ?? this.#instances.length
    this.#places.set(instance.id, place)
    this.#instances[place] = instance
  }

  /** Removes an instance. The last one moves into the gap. */
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
    // A random start, so that clients that start together pick different instances first.
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
}

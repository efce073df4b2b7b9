/**
 * Instances that are drawn at random in proportion to their weights. Each has its own state.
 *
 * A draw takes constant time while all weights are equal. Otherwise it descends a tree of sums. Exclusions cost nothing
 * unless a draw hits one. Each sum is recomputed from its two parts, so rounding errors do not accumulate.
 *
 * @module
 */
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { clampWeight, Weights } from "./Weights.ts"

/** An instance of a {@link Pool}. */
export interface Member<M, S> {
  instance: ServiceInstance<M>
  /** 0 if the instance is not available. */
  weight: number
  /** The index among the available instances. -1 if the instance is not available. */
  place: number
  readonly state: S
}

/** Sums of weights. The leaves are the weights; the parts of `sums[i]` are `sums[2 * i]` and `sums[2 * i + 1]`. */
class SumTree {
  #leaves = 1
  #sums = new Float64Array(2)

  get total(): number {
    return this.#sums[1] ?? 0
  }

  /** Grows to hold this many places, and shrinks if three quarters of them are unused. */
  fit(places: number): void {
    let leaves = this.#leaves
    while (leaves < places) leaves *= 2
    while (leaves > 4 * places && leaves > 1) leaves /= 2
    if (leaves === this.#leaves) return
    const weights = this.#sums.slice(this.#leaves, this.#leaves + Math.min(leaves, this.#leaves))
    this.#leaves = leaves
    this.#sums = new Float64Array(2 * leaves)
    this.#sums.set(weights, leaves)
    for (let i = leaves - 1; i > 0; i--) this.#add(i)
  }

  set(place: number, weight: number): void {
    let i = this.#leaves + place
    this.#sums[i] = weight
    while ((i >>= 1) > 0) this.#add(i)
  }

  /** The place at `at` (0 to the total). Its weight is never 0, unless all weights are 0. */
  find(at: number): number {
    let i = 1
    while (i < this.#leaves) {
      const left = this.#sums[i *= 2] ?? 0
      // Rounding may leave `at` a little too large: never descend into an empty part.
      if (at < left || this.#sums[i + 1] === 0) continue
      at -= left
      i++
    }
    return i - this.#leaves
  }

  #add(i: number): void {
    this.#sums[i] = (this.#sums[2 * i] ?? 0) + (this.#sums[2 * i + 1] ?? 0)
  }
}

/** Instances that are drawn at random in proportion to their weights. */
export class Pool<M, S> {
  readonly #members = new Map<string, Member<M, S>>()
  /** The available instances, in no particular order. */
  readonly #available: Array<Member<M, S>> = []
  readonly #sums = new SumTree()
  readonly #weights = new Weights()

  /** All instances, by id. */
  get members(): ReadonlyMap<string, Member<M, S>> {
    return this.#members
  }

  /** The mean weight of the available instances. */
  get meanWeight(): number {
    return this.#weights.mean
  }

  /** Adds or replaces an instance. A known one keeps its state. */
  put(instance: ServiceInstance<M>, available: boolean, initialState: () => S): void {
    const known = this.#members.get(instance.id)
    const member = known ?? { instance, weight: 0, place: -1, state: initialState() }
    if (known === undefined) this.#members.set(instance.id, member)
    member.instance = instance
    this.#setWeight(member, available ? clampWeight(instance.weight) : 0)
  }

  /** Removes an instance and its state. */
  remove(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    this.#setWeight(member, 0)
    this.#members.delete(id)
  }

  /** Draws one available instance that is not excluded, or `undefined` if there is none. */
  draw(random: () => number, isExcluded: (member: Member<M, S>) => boolean): Member<M, S> | undefined {
    const place = this.#weights.uniform ?
      Math.floor(random() * this.#available.length) :
      this.#sums.find(random() * this.#sums.total)
    const member = this.#available[place]
    return member === undefined || !isExcluded(member) ? member : this.#drawOthers(member, random, isExcluded)
  }

  /**
   * Sets the weight of each drawn excluded instance to 0 for the rest of the draw. That keeps the distribution exact.
   */
  #drawOthers(
    first: Member<M, S>,
    random: () => number,
    isExcluded: (member: Member<M, S>) => boolean
  ): Member<M, S> | undefined {
    const excluded = [first]
    try {
      this.#sums.set(first.place, 0)
      while (this.#sums.total > 0) {
        const member = this.#available[this.#sums.find(random() * this.#sums.total)]
        if (member === undefined || !isExcluded(member)) return member
        excluded.push(member)
        this.#sums.set(member.place, 0)
      }
      return undefined
    } finally {
      for (const { place, weight } of excluded) this.#sums.set(place, weight)
    }
  }

  #setWeight(member: Member<M, S>, weight: number): void {
    if (member.weight === weight) return
    this.#weights.change(member.weight, weight)
    member.weight = weight
    if (weight === 0) return this.#leave(member)
    if (member.place < 0) {
      member.place = this.#available.push(member) - 1
      this.#sums.fit(this.#available.length)
    }
    this.#sums.set(member.place, weight)
  }

  /** Removes a member from the available ones. The last one fills the gap. */
  #leave(member: Member<M, S>): void {
    const { place } = member
    member.place = -1
    this.#sums.set(this.#available.length - 1, 0)
    const last = this.#available.pop()
    if (last !== undefined && last !== member) {
      this.#available[place] = last
      last.place = place
      this.#sums.set(place, last.weight)
    }
    this.#sums.fit(this.#available.length)
  }
}

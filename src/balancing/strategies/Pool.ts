/**
 * Instances that are drawn at random, in proportion to weights, each with a state of its own.
 *
 * A draw takes constant time while all weights are equal, and otherwise steps down a tree of sums; either way it costs
 * nothing to leave some out, unless the draw falls on one of them. A sum is always made anew from its two parts, so
 * nothing drifts, however often weights change.
 *
 * @module
 */
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { Weights } from "./Weights.ts"

/** An instance that is known. */
export interface Member<M, S> {
  instance: ServiceInstance<M>
  /** 0: it is known, and not drawn. */
  weight: number
  /** Where it stands among those that are drawn; -1 when it is not. */
  place: number
  readonly state: S
}

/** Sums of weights by place: the parts of `sums[i]` are `sums[2 * i]` and `sums[2 * i + 1]`, the weights are the leaves. */
class SumTree {
  #leaves = 1
  #sums = new Float64Array(2)

  get total(): number {
    return this.#sums[1] ?? 0
  }
  /** Makes room for so many places, and gives room back that is not needed by far. */
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
  /** The place that `at`, from 0 to the total, falls on: never one of weight 0, unless all are. */
  find(at: number): number {
    let i = 1
    while (i < this.#leaves) {
      const left = this.#sums[i *= 2] ?? 0
      // What is left of `at` may come out a little too large: never step to where nothing is.
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
  readonly #known = new Map<string, Member<M, S>>()
  /** Those with a weight, in no order. */
  readonly #drawn: Array<Member<M, S>> = []
  readonly #sums = new SumTree()
  readonly #weights = new Weights()

  /** All that are known, by id. */
  get known(): ReadonlyMap<string, Member<M, S>> {
    return this.#known
  }
  /** The mean weight of those that are drawn. */
  get meanWeight(): number {
    return this.#weights.mean
  }
  /** Adds or changes an instance; one that is known keeps its state. With weight 0 it is not drawn. */
  put(instance: ServiceInstance<M>, weight: number, state: () => S): void {
    const known = this.#known.get(instance.id)
    const member = known ?? { instance, weight: 0, place: -1, state: state() }
    if (known === undefined) this.#known.set(instance.id, member)
    member.instance = instance
    this.#reweigh(member, weight)
  }
  /** Forgets an instance. */
  remove(id: string): void {
    const member = this.#known.get(id)
    if (member === undefined) return
    this.#reweigh(member, 0)
    this.#known.delete(id)
  }
  /** One at random, in proportion to the weights, of those that are not left out; `undefined` when there is none. */
  draw(random: () => number, leftOut: (member: Member<M, S>) => boolean): Member<M, S> | undefined {
    const place = this.#weights.uniform ?
      Math.floor(random() * this.#drawn.length) :
      this.#sums.find(random() * this.#sums.total)
    const member = this.#drawn[place]
    return member === undefined || !leftOut(member) ? member : this.#drawOthers(member, random, leftOut)
  }
  /** Each one that was drawn in vain gets no weight for the rest of the draw: as exact as if they were not there. */
  #drawOthers(
    first: Member<M, S>,
    random: () => number,
    leftOut: (member: Member<M, S>) => boolean
  ): Member<M, S> | undefined {
    const out = [first]
    try {
      this.#sums.set(first.place, 0)
      while (this.#sums.total > 0) {
        const member = this.#drawn[this.#sums.find(random() * this.#sums.total)]
        if (member === undefined || !leftOut(member)) return member
        out.push(member)
        this.#sums.set(member.place, 0)
      }
      return undefined
    } finally {
      for (const { place, weight } of out) this.#sums.set(place, weight)
    }
  }
  #reweigh(member: Member<M, S>, weight: number): void {
    if (member.weight === weight) return
    this.#weights.change(member.weight, weight)
    member.weight = weight
    if (weight === 0) return this.#leave(member)
    if (member.place < 0) {
      member.place = this.#drawn.push(member) - 1
      this.#sums.fit(this.#drawn.length)
    }
    this.#sums.set(member.place, weight)
  }
  /** The last one moves into the gap. */
  #leave(member: Member<M, S>): void {
    const { place } = member
    member.place = -1
    this.#sums.set(this.#drawn.length - 1, 0)
    const last = this.#drawn.pop()
    if (last !== undefined && last !== member) {
      this.#drawn[place] = last
      last.place = place
      this.#sums.set(place, last.weight)
    }
    this.#sums.fit(this.#drawn.length)
  }
}

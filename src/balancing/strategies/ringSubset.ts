/**
 * A part of a large service for each client, so that connections do not grow with clients times instances.
 *
 * The instances stand on a ring in the order of the hashes of their ids; client number c starts at the fraction
 * c · 0.618… (the golden ratio) of the way around and takes the next `size`. Those starting points are spread as evenly
 * as a sequence can be that never moves a client when another one comes (D. Knuth, TAOCP 3, 6.4, theorem S): how many
 * clients an instance has differs by two or three at most from the mean. When an instance comes or goes, each client
 * changes at most two members of its subset.
 *
 * Dealing from shuffled lists, as in B. Beyer et al., "Site Reliability Engineering", chapter 20, is as even but deals
 * anew with each change of the number of instances; P. Ward, P. Wankadia, K. Guliani, "Reinventing Backend Subsetting at
 * Google", ACM Queue 20(5), 2022, weighs both.
 *
 * @module
 */
import { Result } from "effect"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Chooser, invalid, type Known, make, type Outcome, type PickRequest, type Strategy } from "../Strategy.ts"
import { hash } from "./hash.ts"
import { leastRequests } from "./twoChoices.ts"

/** Which part of a service a client uses. */
export interface RingSubsetOptions<in M = unknown> {
  /** Instances in a subset, a whole number above 0. Fewer are used only when there are fewer. */
  readonly size: number
  /**
   * The number of this client among its peers: 0, 1, 2, … Any range will do that has few gaps. A text is hashed to a
   * number: that needs no numbering, but spreads clients only as evenly as chance does.
   */
  readonly clientId: number | string
  /** How to choose within the subset. Default: {@link leastRequests}. */
  readonly within?: Strategy<M>
}

interface Placed<M> {
  readonly at: number
  readonly instance: ServiceInstance<M>
}

const goldenRatio = (Math.sqrt(5) - 1) / 2

class RingSubset<M> implements Chooser<M> {
  readonly #size: number
  /** How far around the ring its subset starts, from 0 to 1. */
  readonly #start: number
  readonly #within: Chooser<M>
  /** The available instances, by hash. */
  readonly #ring: Array<Placed<M>> = []
  readonly #known = new Map<string, Placed<M>>()
  #subset: ReadonlyMap<string, ServiceInstance<M>> = new Map()
  #changedAt: number | undefined

  constructor(size: number, client: number, within: Chooser<M>) {
    this.#size = size
    this.#start = client * goldenRatio % 1
    this.#within = within
  }
  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    if (!available) return this.remove(instance.id, now)
    const placed = { at: hash(instance.id), instance }
    const index = this.#indexOf(placed)
    this.#ring.splice(index, this.#known.has(instance.id) ? 1 : 0, placed)
    this.#known.set(instance.id, placed)
    this.#changedAt = now
  }
  remove(id: string, now: number): void {
    const placed = this.#known.get(id)
    if (placed === undefined) return
    this.#ring.splice(this.#indexOf(placed), 1)
    this.#known.delete(id)
    this.#changedAt = now
  }
  pick(request: PickRequest): ServiceInstance<M> | undefined {
    this.#settle()
    return this.#within.pick(request)
  }
  begin(id: string, now: number): (outcome: Outcome) => void {
    this.#settle()
    return this.#within.begin(id, now)
  }
  inspect(now: number): ReadonlyMap<string, Known> {
    this.#settle()
    return this.#within.inspect(now)
  }
  /** Once for all changes of a set: what is in the subset before and after it never leaves in between. */
  #settle(): void {
    const now = this.#changedAt
    if (now === undefined) return
    this.#changedAt = undefined
    const before = this.#subset
    const subset = new Map<string, ServiceInstance<M>>()
    const start = Math.floor(this.#start * this.#ring.length)
    for (let step = 0; step < Math.min(this.#size, this.#ring.length); step++) {
      const placed = this.#ring[(start + step) % this.#ring.length]
      if (placed !== undefined) subset.set(placed.instance.id, placed.instance)
    }
    this.#subset = subset
    for (const id of before.keys()) {
      if (!subset.has(id)) this.#within.remove(id, now)
    }
    for (const [id, instance] of subset) {
      if (before.get(id) !== instance) this.#within.put(instance, true, now)
    }
  }
  /** Where it stands or would stand. */
  #indexOf({ at, instance: { id } }: Placed<M>): number {
    let [low, high] = [0, this.#ring.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const placed = this.#ring[middle]
      if (placed !== undefined && (placed.at < at || placed.at === at && placed.instance.id < id)) low = middle + 1
      else high = middle
    }
    return low
  }
}

/**
 * A subset of the available instances, the same for the same client as long as the set stays, and another for each
 * client; every instance gets its fair share of clients. Nothing outside of the subset is ever chosen, also when all of
 * it is excluded: choose `size` above the number of attempts.
 *
 * @example
 * ```ts
 * import { Balancer } from "@effect-etcd/discovery/balancing"
 * import assert from "node:assert/strict"
 *
 * // The ordinal of a replica, as a StatefulSet of Kubernetes has it in the name of the host.
 * const strategy = Balancer.ringSubset({ size: 20, clientId: 3, within: Balancer.peakEwma })
 * assert.equal(strategy.name, "ringSubset(peakEwma)")
 * ```
 */
export const ringSubset = <M = unknown>(
  { clientId, size, within = leastRequests }: RingSubsetOptions<M>
): Strategy<M> =>
  make<M>(`ringSubset(${within.name})`, <N extends M>() => {
    if (!Number.isInteger(size) || size < 1) {
      return invalid("ringSubset", "size", size, "it must be a whole number above 0")
    }
    const client = typeof clientId === "string" ? hash(clientId) : clientId
    if (!Number.isInteger(client) || client < 0 || client >= 2 ** 32 || clientId === "") {
      return invalid("ringSubset", "clientId", clientId, "it must be a whole number from 0 to 2³² - 1, or a text")
    }
    return Result.map(within.make<N>(), (chooser): Chooser<N> => new RingSubset<N>(size, client, chooser))
  })

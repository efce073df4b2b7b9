/**
 * A custom strategy: each client uses a part of a large service, so that the number of connections does not grow with
 * clients times instances.
 *
 * The instances are on a ring in the order of the hashes of their ids. Client number c starts at the fraction
 * c · 0.618… (the golden ratio) of the ring and takes the next `size` instances. These starting points are spread as
 * evenly as those of a sequence can be that never moves a client when another one is added (D. Knuth, TAOCP 3, 6.4,
 * theorem S): the number of clients of an instance differs by two or three at most from the mean. When an instance comes
 * or goes, at most two members of each subset change.
 *
 * Deterministic subsetting, as in B. Beyer et al., "Site Reliability Engineering", chapter 20, is as even but deals all
 * subsets again if the number of instances changes; P. Ward, P. Wankadia, K. Guliani, "Reinventing Backend Subsetting at
 * Google", ACM Queue 20(5), 2022, compares both.
 *
 * @module
 */
import { Result } from "effect"
import { InvalidOption, type ServiceInstance } from "../../mod.ts"
import { Balancer } from "../../src/balancing/mod.ts"

export interface RingSubsetOptions<in M = unknown> {
  /** The number of instances in a subset: 1 or more. */
  readonly size: number
  /**
   * The number of this client among its peers, such as the ordinal of a StatefulSet: 0, 1, 2, …. Any range with few gaps
   * is spread evenly. A text is hashed to a number, which is spread at random only.
   */
  readonly clientId: number | string
  /** The strategy within the subset. Default: `leastRequests`. */
  readonly within?: Balancer.Strategy<M>
}

interface Placed<M> {
  readonly at: number
  readonly instance: ServiceInstance<M>
}

const goldenRatio = (Math.sqrt(5) - 1) / 2

/** FNV-1a and MurmurHash3's finalizer: all clients must agree. */
const hash = (text: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return (h ^ h >>> 16) >>> 0
}

class RingSubset<M> implements Balancer.Picker<M> {
  readonly #size: number
  /** The start of the subset on the ring, from 0 to 1. */
  readonly #start: number
  readonly #within: Balancer.Picker<M>
  /** The available instances, by hash. */
  readonly #ring: Array<Placed<M>> = []
  readonly #placed = new Map<string, Placed<M>>()
  #subset: ReadonlyMap<string, ServiceInstance<M>> = new Map()
  #changedAt: number | undefined

  constructor(size: number, client: number, within: Balancer.Picker<M>) {
    this.#size = size
    this.#start = client * goldenRatio % 1
    this.#within = within
  }

  put(instance: ServiceInstance<M>, available: boolean, now: number): void {
    if (!available) return this.remove(instance.id, now)
    const placed = { at: hash(instance.id), instance }
    this.#ring.splice(this.#indexOf(placed), this.#placed.has(instance.id) ? 1 : 0, placed)
    this.#placed.set(instance.id, placed)
    this.#changedAt = now
  }

  remove(id: string, now: number): void {
    const placed = this.#placed.get(id)
    if (placed === undefined) return
    this.#ring.splice(this.#indexOf(placed), 1)
    this.#placed.delete(id)
    this.#changedAt = now
  }

  pick(request: Balancer.PickRequest): ServiceInstance<M> | undefined {
    this.#deal()
    return this.#within.pick(request)
  }

  begin(id: string, now: number): (outcome: Balancer.Outcome) => void {
    this.#deal()
    return this.#within.begin(id, now)
  }

  inspect(now: number): ReadonlyMap<string, Balancer.Inspection> {
    this.#deal()
    return this.#within.inspect(now)
  }

  /** Once for all changes of a set, so that a member that stays keeps its state. */
  #deal(): void {
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

  /** The index that a placed instance has or would have. */
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
 * Uses a subset of the available instances. A client keeps its subset while the set stays the same. Each instance gets
 * its fair share of clients. No other instance is picked, even if the whole subset is excluded, so `size` should exceed
 * the number of attempts of a call.
 */
export const ringSubset = <M = unknown>(
  { clientId, size, within = Balancer.leastRequests }: RingSubsetOptions<M>
): Balancer.Strategy<M> =>
  Balancer.strategy<M>(`ringSubset(${within.name})`, <N extends M>() => {
    const client = typeof clientId === "string" ? hash(clientId) : clientId
    const invalid = (option: string, value: unknown, rule: string) =>
      Result.fail(new InvalidOption({ of: "ringSubset", option, value, rule }))
    if (!Number.isInteger(size) || size < 1) return invalid("size", size, "it must be a whole number of at least 1")
    if (!Number.isInteger(client) || client < 0 || client >= 2 ** 32 || clientId === "") {
      return invalid("clientId", clientId, "it must be a whole number from 0 to 2³² - 1, or a text")
    }
    return Result.map(within.make<N>(), (picker): Balancer.Picker<N> => new RingSubset<N>(size, client, picker))
  })

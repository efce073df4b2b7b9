import { HashMap, Result } from "effect"
import assert from "node:assert/strict"
import * as Balancer from "../../src/balancing/Balancer.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import * as InstanceSet from "../../src/registry/model/InstanceSet.ts"
import { Freshness } from "../../src/etcd/Freshness.ts"

/** Numbers from 0 to 1 that only depend on the seed (T. Ettinger, mulberry32). */
export const seeded = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = state + 0x6d2b79f5 >>> 0
    let t = Math.imul(state ^ state >>> 15, state | 1)
    t ^= t + Math.imul(t ^ t >>> 7, t | 61)
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32
  }
}

export const instance = (id: string, members: Partial<ServiceInstance> = {}): ServiceInstance => ({
  id,
  name: "orders",
  metadata: {},
  endpoints: [`http://${id}:1`],
  weight: 1,
  status: "up",
  ...members
})

/** `i0`, `i1`, … with these weights. */
export const weighted = (...weights: ReadonlyArray<number>): ReadonlyArray<ServiceInstance> =>
  weights.map((weight, index) => instance(`i${index}`, { weight }))

/** So many instances of weight 1. */
export const equal = (count: number): ReadonlyArray<ServiceInstance> => weighted(...Array(count).fill(1))

export const setOf = InstanceSet.fromInstances

/** The sets of one watch: consecutive ones share their history. */
export class Watched {
  readonly #history = new InstanceSet.History()
  #members: HashMap.HashMap<string, ServiceInstance> = HashMap.empty()
  set = this.#next([])

  put(...instances: ReadonlyArray<ServiceInstance>): InstanceSet.InstanceSet {
    for (const one of instances) this.#members = HashMap.set(this.#members, one.id, one)
    return this.set = this.#next(instances.map(({ id }) => id))
  }
  remove(...ids: ReadonlyArray<string>): InstanceSet.InstanceSet {
    for (const id of ids) this.#members = HashMap.remove(this.#members, id)
    return this.set = this.#next(ids)
  }
  #next(changed: ReadonlyArray<string>): InstanceSet.InstanceSet {
    const sequence = this.#history.append(changed)
    return InstanceSet.make({
      byId: this.#members,
      revision: BigInt(sequence),
      freshness: Freshness.Live(),
      rejected: HashMap.empty(),
      held: new Map(),
      history: this.#history,
      sequence
    })
  }
}

/** A balancer of these instances. */
export const balancerOf = (
  strategy: Balancer.Strategy,
  instances: Iterable<ServiceInstance> = [],
  now = 0
): Balancer.Balancer<ServiceInstance["metadata"]> => {
  const balancer = Result.getOrThrow(Balancer.make(strategy))
  balancer.update(setOf(instances), now)
  return balancer
}

/** Ids of so many picks, each call over before the next begins. */
export const picks = (
  balancer: Balancer.Balancer<ServiceInstance["metadata"]>,
  count: number,
  request: Balancer.PickRequest
): Array<string> => {
  const ids: Array<string> = []
  for (let i = 0; i < count; i++) {
    const picked = balancer.pick(request)
    if (picked === undefined) continue
    balancer.begin(picked.id, request.now)({ now: request.now, ok: true })
    ids.push(picked.id)
  }
  return ids
}

/** How often each id occurs. */
export const counted = (ids: Iterable<string>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1)
  return counts
}

/** Pearson's statistic of counts that should be in proportion to the weights. */
export const chiSquare = (
  counts: ReadonlyMap<string, number>,
  instances: ReadonlyArray<ServiceInstance>
): number => {
  const weights = instances.reduce((sum, { weight }) => sum + weight, 0)
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0)
  return instances.reduce((sum, { id, weight }) => {
    const expected = all * weight / weights
    return sum + ((counts.get(id) ?? 0) - expected) ** 2 / expected
  }, 0)
}

/** What chi-square exceeds by chance once in a thousand (Wilson and Hilferty's approximation). */
export const critical = (instances: ReadonlyArray<ServiceInstance>): number => {
  const freedom = instances.length - 1
  return freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3
}

export const assertProportional = (ids: Iterable<string>, instances: ReadonlyArray<ServiceInstance>): void => {
  const counts = counted(ids)
  const [found, limit] = [chiSquare(counts, instances), critical(instances)]
  assert.ok(
    found < limit,
    `chi-square ${found.toFixed(1)} is not below ${limit.toFixed(1)}: ${JSON.stringify([...counts])}`
  )
}

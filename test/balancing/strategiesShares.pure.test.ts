import { Arbitrary, Effect } from "effect"
import assert from "node:assert/strict"
import * as Balancer from "../../src/balancing/Balancer.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import { describe, live } from "../harness/it.ts"
import { int, property } from "../registry/model/property.ts"
import {
  assertProportional,
  balancerOf,
  chiSquare,
  counted,
  critical,
  equal,
  instance,
  picks,
  seeded,
  setOf,
  weighted
} from "./strategiesSupport.ts"

const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))

const uneven = weighted(1, 2, 3, 4, 0.5, 10, 7, 1, 0.25, 20)
const many = 100_000

const shares = (strategy: Balancer.Strategy, seed: number) =>
  test(`${strategy.name} shares 100,000 picks in proportion to weights (seed ${seed})`, () => {
    const balancer = balancerOf(strategy, uneven)
    const random = seeded(seed)
    const ids = picks(balancer, many, { now: 0, random })
    assert.equal(ids.length, many)
    assertProportional(ids, uneven)
    const others = uneven.filter(({ id }) => id !== "i9" && id !== "i2")
    const rest = picks(balancer, many, { now: 0, random, exclude: (id) => id === "i9" || id === "i2" })
    // roundRobin gives the turns of the excluded to those that come after them.
    if (strategy === Balancer.roundRobin) return
    assertProportional(rest, others)
  })

describe("random", () => {
  shares(Balancer.random, 11)

  test("random with equal weights gives all instances the same share (seed 12)", () => {
    const ids = picks(balancerOf(Balancer.random, equal(10)), many, { now: 0, random: seeded(12) })
    assertProportional(ids, equal(10))
    // The statistic distinguishes equal from unequal shares.
    assert.ok(chiSquare(counted(ids), uneven) > 100 * critical(uneven))
  })
})

describe("leastRequests", () => shares(Balancer.leastRequests, 14))

/** The longest run of each id. */
const runs = (ids: ReadonlyArray<string>): ReadonlyMap<string, number> => {
  const longest = new Map<string, number>()
  let run = 0
  ids.forEach((id, index) => {
    run = id === ids[index - 1] ? run + 1 : 1
    longest.set(id, Math.max(run, longest.get(id) ?? 0))
  })
  return longest
}

/** How often one instance must follow itself: its calls in the gaps that the calls of all others leave. */
const mustRun = (one: ServiceInstance, all: ReadonlyArray<ServiceInstance>): number => {
  const others = all.reduce((sum, { weight }) => sum + weight, 0) - one.weight
  return others === 0 ? Infinity : Math.ceil(one.weight / others)
}

/** nginx's algorithm (ngx_http_upstream_round_robin.c, "smooth weighted round-robin"), to compare with. */
const nginx = (instances: ReadonlyArray<ServiceInstance>, count: number): ReadonlyArray<string> => {
  const all = instances.reduce((sum, { weight }) => sum + weight, 0)
  const current = new Map(instances.map((one) => [one, 0]))
  return Array.from({ length: count }, () => {
    for (const one of instances) current.set(one, (current.get(one) ?? 0) + one.weight)
    const [best] = [...current].reduce((self, that) => that[1] > self[1] ? that : self)
    current.set(best, (current.get(best) ?? 0) - all)
    return best.id
  })
}

const fromTheStart = { now: 0, random: () => 0 }

const weights = Arbitrary.array(int(1, 12), { minLength: 2, maxLength: 9 })

describe("roundRobin", () => {
  shares(Balancer.roundRobin, 15)

  test("roundRobin gives weights 1 and 9 exactly 100 and 900 of 1,000 picks", () => {
    const ids = picks(balancerOf(Balancer.roundRobin, weighted(1, 9)), 1000, { now: 0, random: seeded(10) })
    assert.deepEqual(Object.fromEntries(counted(ids)), { i0: 100, i1: 900 })
  })

  test("roundRobin switches between equal and unequal weights as the set changes", () => {
    const balancer = balancerOf(Balancer.roundRobin, equal(2))
    const shareOf = (weights: ReadonlyArray<number>) => {
      balancer.update(setOf(weighted(...weights)), 1)
      return Object.fromEntries(counted(picks(balancer, 120, fromTheStart)))
    }
    assert.deepEqual(shareOf([1, 1]), { i0: 60, i1: 60 })
    assert.deepEqual(shareOf([1, 2]), { i0: 40, i1: 80 })
    assert.deepEqual(shareOf([5, 1, 0]), { i0: 100, i1: 20 })
    assert.deepEqual(shareOf([3, 3, 3]), { i0: 40, i1: 40, i2: 40 })
    assert.deepEqual(shareOf([3, 3]), { i0: 60, i1: 60 })
  })

  test("roundRobin mixes weights 5, 1, 1 evenly", () => {
    const balancer = balancerOf(Balancer.roundRobin, weighted(5, 1, 1))
    const names = new Map([["i0", "a"], ["i1", "b"], ["i2", "c"]])
    assert.equal(picks(balancer, 14, fromTheStart).map((id) => names.get(id)).join(""), "abaacaaabaacaa")
  })

  property("roundRobin keeps every instance within one call of its exact share", weights, (given) => {
    const instances = weighted(...given)
    const all = given.reduce((sum, weight) => sum + weight, 0)
    const counts = new Map(instances.map(({ id }) => [id, 0]))
    const ids = picks(balancerOf(Balancer.roundRobin, instances), 3 * all, fromTheStart)
    ids.forEach((picked, index) => {
      counts.set(picked, (counts.get(picked) ?? 0) + 1)
      for (const { id, weight } of instances) {
        const ahead = (counts.get(id) ?? 0) - (index + 1) * weight / all
        assert.ok(Math.abs(ahead) < 1, `${id} is ${ahead} ahead after ${index + 1} picks`)
      }
    })
  }, 200)

  property(
    "roundRobin has runs at most one longer than necessary, wherever it starts",
    Arbitrary.all([weights, int(0, 2 ** 31)]),
    ([given, seed]) => {
      const instances = weighted(...given)
      const all = given.reduce((sum, weight) => sum + weight, 0)
      const longest = runs(
        picks(balancerOf(Balancer.roundRobin, instances), 3 * all, { now: 0, random: seeded(seed) })
      )
      for (const one of instances) {
        const run = longest.get(one.id) ?? 0
        assert.ok(run >= 1 && run <= mustRun(one, instances) + 1, `${one.id} runs ${run} times`)
      }
    },
    200
  )

  for (const given of [[5, 1, 1], [10, 1, 1, 1], [100, 1], [7, 3], [1, 1, 1, 1], [2, 1], [4, 2, 1], [8, 4, 2, 1]]) {
    test(`roundRobin has no run longer than necessary with weights ${given.join(", ")}, and none longer than nginx`, () => {
      const instances = weighted(...given)
      const count = 5 * given.reduce((sum, weight) => sum + weight, 0)
      const longest = runs(picks(balancerOf(Balancer.roundRobin, instances), count, fromTheStart))
      const theirs = runs(nginx(instances, count))
      for (const one of instances) {
        assert.equal(longest.get(one.id), mustRun(one, instances))
        assert.ok((longest.get(one.id) ?? 0) <= (theirs.get(one.id) ?? 0))
      }
    })
  }

  test("roundRobin keeps exact shares over a million picks with fractional weights", () => {
    const instances = weighted(0.1, 0.7, 1.3)
    const balancer = balancerOf(Balancer.roundRobin, instances)
    const counts = new Map<string, number>()
    const total = 1_000_000
    for (let i = 0; i < total; i++) {
      const id = balancer.pick(fromTheStart)?.id ?? "none"
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    for (const { id, weight } of instances) {
      const ahead = (counts.get(id) ?? 0) - total * weight / 2.1
      assert.ok(Math.abs(ahead) < 1, `${id} is ${ahead} ahead`)
    }
  })

  test("roundRobin gives an instance no burst after it was excluded for long", () => {
    const balancer = balancerOf(Balancer.roundRobin, equal(4))
    picks(balancer, 1000, { ...fromTheStart, exclude: (id) => id === "i2" })
    const after = picks(balancer, 40, fromTheStart)
    assert.equal(counted(after).get("i2"), 10)
    assert.equal(runs(after).get("i2"), 1)
  })

  test("roundRobin starts at a random point of the schedule (seed 16)", () => {
    const random = seeded(16)
    const first = counted(
      Array.from({ length: 700 }, () =>
        picks(balancerOf(Balancer.roundRobin, weighted(5, 1, 1)), 1, {
          now: 0,
          random
        })).flat()
    )
    assert.ok((first.get("i0") ?? 0) < 600 && (first.get("i1") ?? 0) > 40 && (first.get("i2") ?? 0) > 40)
  })
})

const keys = Array.from({ length: 10_000 }, (_, i) => `${i}@user-${i % 7}`)

const owners = (balancer: Balancer.Balancer<ServiceInstance["metadata"]>, exclude?: (id: string) => boolean) =>
  keys.map((key) =>
    balancer.pick({ now: 0, random: () => 0, key, ...(exclude === undefined ? {} : { exclude }) })?.id ?? "none"
  )

const addresses = Array.from({ length: 10 }, (_, i) => instance(`10.0.0.${i}:8080`))

describe("consistentHash", () => {
  test("consistentHash moves only the keys of an instance that leaves, 1/n of all within 20 %", () => {
    const balancer = balancerOf(Balancer.consistentHash(), addresses)
    const before = owners(balancer)
    for (const gone of addresses) {
      const after = owners(balancerOf(Balancer.consistentHash(), addresses.filter((one) => one !== gone)))
      const moved = before.flatMap((owner, index) => owner === after[index] ? [] : [owner])
      assert.deepEqual(new Set(moved), new Set([gone.id]))
      const share = moved.length / keys.length * addresses.length
      assert.ok(share > 0.8 && share < 1.2, `${gone.id} had ${share.toFixed(2)} of a fair share`)
    }
  })

  test("consistentHash gives keys in proportion to weights within 20 %, at any scale", () => {
    for (const scale of [0.01, 1, 100]) {
      const instances = addresses.map((one, index) => ({ ...one, weight: scale * (1 + index % 4) }))
      const all = instances.reduce((sum, { weight }) => sum + weight, 0)
      const counts = counted(owners(balancerOf(Balancer.consistentHash(), instances)))
      for (const { id, weight } of instances) {
        const share = (counts.get(id) ?? 0) / keys.length * all / weight
        assert.ok(share > 0.8 && share < 1.2, `${id} had ${share.toFixed(2)} of its share`)
      }
    }
  })

  test("consistentHash agrees with other clients, whatever sets they had before", () => {
    const fresh = balancerOf(Balancer.consistentHash(), addresses)
    // So heavy that all others have fewer points while it is there.
    const heavy = instance("heavy", { weight: 300 })
    const other = balancerOf(Balancer.consistentHash(), [...addresses, heavy, ...equal(3)])
    picks(other, 1, { now: 0, random: () => 0.5 })
    for (const one of [...addresses].reverse()) {
      other.update(setOf(addresses.filter((another) => another !== one)), 0)
      picks(other, 1, { now: 0, random: () => 0.5 })
    }
    other.update(setOf([...addresses, heavy]), 0)
    picks(other, 1, { now: 0, random: () => 0.5 })
    other.update(setOf(addresses), 0)
    assert.deepEqual(owners(other), owners(fresh))
  })

  test("consistentHash spreads the keys of an excluded instance over all others, each always to the same", () => {
    const balancer = balancerOf(Balancer.consistentHash(), addresses)
    const before = owners(balancer)
    const away = addresses[3]?.id ?? ""
    const during = owners(balancer, (id) => id === away)
    assert.deepEqual(owners(balancer, (id) => id === away), during)
    const moved = during.filter((owner, index) => owner !== before[index])
    assert.equal(moved.length, counted(before).get(away))
    const others = addresses.filter(({ id }) => id !== away)
    assert.deepEqual([...counted(moved).keys()].sort(), others.map(({ id }) => id))
    for (const count of counted(moved).values()) assert.ok(count < 2 * moved.length / others.length)
    const last = addresses[7]?.id ?? ""
    assert.deepEqual(new Set(owners(balancer, (id) => id !== last)), new Set([last]))
  })

  test("consistentHash uses the key of the call, then its own, then a random one", () => {
    const balancer = balancerOf(Balancer.consistentHash("client-7"), addresses)
    const own = balancer.pick({ now: 0, random: () => 0.3 })
    assert.deepEqual(new Set(picks(balancer, 20, { now: 0, random: seeded(17) })), new Set([own?.id]))
    assert.equal(
      balancerOf(Balancer.consistentHash(), addresses).pick({ now: 0, random: () => 0, key: "client-7" }),
      own
    )
    assert.equal(new Set(keys.map((key) => balancer.pick({ now: 0, random: () => 0, key })?.id)).size, 10)
    const chance = picks(balancerOf(Balancer.consistentHash(), addresses), 2000, { now: 0, random: seeded(18) })
    assert.equal(new Set(chance).size, 10)
  })
})

describe("slowStart", () => {
  for (const strategy of [Balancer.random, Balancer.leastRequests, Balancer.roundRobin]) {
    test(`slowStart grows the share of a new instance with ${strategy.name} (seed 20)`, () => {
      const balancer = balancerOf(strategy.pipe(Balancer.slowStart("10 seconds")), equal(10), 1_000)
      const random = seeded(20)
      const shareAt = (now: number) => (counted(picks(balancer, 20_000, { now, random })).get("new") ?? 0) / 20_000 * 11
      assert.equal(new Set(picks(balancer, 1000, { now: 1_000, random })).size, 10)
      balancer.update(setOf([...equal(10), instance("new")]), 5_000)
      const found = [5_000, 10_000, 12_500, 15_000, 100_000].map((now) => shareAt(now))
      const expected = [0.1, 0.5, 0.75, 1, 1]
      found.forEach((share, index) =>
        assert.ok(Math.abs(share - (expected[index] ?? 0)) < 0.12, `${found} is not ${expected}`)
      )
    })
  }

  test("slowStart gives full shares if most are new, and starts again when an instance comes back up", () => {
    const balancer = balancerOf(Balancer.random.pipe(Balancer.slowStart("10 seconds")), [instance("old")], 0)
    balancer.update(setOf(equal(10)), 1)
    assertProportional(picks(balancer, 20_000, { now: 2, random: seeded(21) }), equal(10))
    const warm = (id: string, now: number) => balancer.inspect(now).get(id)?.["slowStart"]
    assert.equal(warm("i3", 20_000), 1)
    balancer.update(setOf(equal(10).map((one) => one.id === "i3" ? { ...one, status: "down" as const } : one)), 20_000)
    balancer.update(setOf(equal(10)), 30_000)
    assert.deepEqual([warm("i3", 30_000), warm("i3", 35_000), warm("i4", 30_000)], [0.1, 0.5, 1])
  })
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import { panic } from "../../examples/strategies/panic.ts"
import { ringSubset } from "../../examples/strategies/ringSubset.ts"
import * as Balancer from "../../src/balancing/Balancer.ts"
import type { ServiceInstance } from "../../src/registry/model/Instance.ts"
import { describe, live } from "../harness/it.ts"
import { balancerOf, counted, equal, instance, picks, seeded, setOf } from "./strategiesSupport.ts"

const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))

const subsetOf = (instances: ReadonlyArray<ServiceInstance>, size: number, clientId: number | string) =>
  new Set(balancerOf(ringSubset({ size, clientId }), instances).inspect(0).keys())

describe("ringSubset", () => {
  for (const [clients, count] of [[100, 30], [100, 29], [100, 31], [250, 40]] as const) {
    test(`ringSubset spreads ${clients} clients over ${count} instances within 10 % of the mean`, () => {
      const instances = equal(count)
      const spreads = [7, 10, 15].map((size) => {
        const loads = new Map(instances.map(({ id }) => [id, 0]))
        for (let clientId = 0; clientId < clients; clientId++) {
          const balancer = balancerOf(ringSubset({ size, clientId, within: Balancer.roundRobin }), instances)
          for (const id of picks(balancer, 3 * size, { now: 0, random: () => 0 })) {
            loads.set(id, (loads.get(id) ?? 0) + 1)
          }
        }
        const mean = 3 * size * clients / count
        return [Math.min(...loads.values()) / mean, Math.max(...loads.values()) / mean]
      })
      console.log(
        `${clients} clients, ${count} instances, subsets of 7, 10, 15: ${
          spreads.map((spread) => spread.map((x) => x.toFixed(3)).join(" to ")).join(", ")
        } of the mean`
      )
      assert.ok(spreads.flat().every((load) => load >= 0.9 && load <= 1.1))
    })
  }

  test("ringSubset spreads any range of client numbers evenly", () => {
    const instances = equal(30)
    const loads = counted(Array.from({ length: 100 }, (_, i) => [...subsetOf(instances, 10, 5_000 + i)]).flat())
    assert.equal(loads.size, 30)
    for (const load of loads.values()) assert.ok(load >= 30 && load <= 36.7, `${load} clients`)
  })

  /** How many clients each of 30 instances has, relative to the mean, when clients have names and no numbers. */
  const spreadOfNamed = (clients: number, size: number) => {
    const instances = equal(30)
    const loads = counted(
      Array.from({ length: clients }, (_, i) => [...subsetOf(instances, size, `orders-${i}`)]).flat()
    )
    const mean = clients * size / 30
    return instances.map(({ id }) => (loads.get(id) ?? 0) / mean)
  }

  for (const size of [7, 10, 15]) {
    test(`ringSubset spreads 100 named clients at random over 30 instances with ${size} each`, () => {
      const spread = spreadOfNamed(100, size)
      // Three standard deviations of how many of 100 pick one with the chance of size / 30: 30 to 54 % of the mean.
      const chance = 3 * Math.sqrt((30 / size - 1) / 100)
      console.log(
        `100 named clients: ${Math.min(...spread).toFixed(2)} to ${Math.max(...spread).toFixed(2)} of the mean`
      )
      assert.ok(spread.every((load) => Math.abs(load - 1) < chance))
    })
  }

  test("ringSubset spreads 20,000 named clients over 30 instances within 10 % of the mean", () => {
    assert.ok(spreadOfNamed(20_000, 10).every((load) => load >= 0.9 && load <= 1.1))
  })

  test("ringSubset gives a client the same `size` instances again, or all if there are fewer", () => {
    const instances = equal(30)
    for (const clientId of [0, 1, 77, "orders-7f3c"]) {
      const subset = subsetOf(instances, 8, clientId)
      assert.equal(subset.size, 8)
      assert.deepEqual(subsetOf([...instances].reverse(), 8, clientId), subset)
      assert.equal(subsetOf(equal(5), 8, clientId).size, 5)
    }
    assert.notDeepEqual(subsetOf(instances, 8, 0), subsetOf(instances, 8, 1))
  })

  test("ringSubset changes at most two members of a subset when an instance leaves", () => {
    const instances = equal(30)
    for (let clientId = 0; clientId < 100; clientId++) {
      const before = subsetOf(instances, 8, clientId)
      for (const gone of instances) {
        const after = subsetOf(instances.filter((one) => one !== gone), 8, clientId)
        assert.equal(after.size, 8)
        assert.ok(before.difference(after).size <= 2, `client ${clientId} without ${gone.id}`)
      }
    }
  })

  test("ringSubset replaces an unavailable instance, and picks only in its subset", () => {
    const instances = equal(30)
    const balancer = balancerOf(ringSubset({ size: 3, clientId: 4 }), instances)
    const subset = [...balancer.inspect(0).keys()]
    assert.equal(balancer.pick({ now: 0, random: () => 0, exclude: (id) => subset.includes(id) }), undefined)
    balancer.update(
      setOf(instances.map((one) => one.id === subset[0] ? { ...one, status: "draining" as const } : one)),
      1
    )
    const after = new Set(picks(balancer, 200, { now: 0, random: seeded(19) }))
    assert.equal(after.size, 3)
    assert.ok(!after.has(subset[0] ?? ""))
  })
})

describe("panic", () => {
  const withDown = (down: number) =>
    setOf([
      ...equal(4).map((one, i) => i < down ? { ...one, status: "down" as const } : one),
      instance("idle", { weight: 0 })
    ])

  test("panic picks all instances with a weight while fewer than the threshold are available", () => {
    const balancer = balancerOf(Balancer.roundRobin.pipe(panic(0.5)))
    const chosen = (down: number) => {
      balancer.update(withDown(down), down)
      return [...counted(picks(balancer, 40, { now: 0, random: () => 0 })).keys()].sort()
    }
    assert.deepEqual(chosen(1), ["i1", "i2", "i3"])
    assert.deepEqual(chosen(2), ["i2", "i3"])
    assert.deepEqual(chosen(3), ["i0", "i1", "i2", "i3"])
    assert.deepEqual(chosen(4), ["i0", "i1", "i2", "i3"])
    assert.deepEqual(chosen(0), ["i0", "i1", "i2", "i3"])
    assert.deepEqual(chosen(2), ["i2", "i3"])
  })

  test("panic never panics with threshold 0, and always panics with threshold 1 if any instance is unavailable", () => {
    for (const [threshold, expected] of [[0, 0], [1, 4]] as const) {
      const balancer = balancerOf(Balancer.random.pipe(panic(threshold)))
      balancer.update(withDown(4), 0)
      assert.equal(counted(picks(balancer, 200, { now: 0, random: seeded(36) })).size, expected)
    }
  })
})

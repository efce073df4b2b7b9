import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { spread } from "../../src/grpc/spread.ts"

const spreadOf = (weights: Readonly<Record<string, number>>) =>
  spread(Object.entries(weights).map(([value, weight]) => ({ value, weight })))

const countsOf = (weights: Readonly<Record<string, number>>) => {
  const counts: Record<string, number> = {}
  for (const value of spreadOf(weights)) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

describe("spread", () => {
  it("spread lists each value once if weights are equal, whatever they are", () => {
    for (const weight of [1, 7, 0.1, 1_000_000]) {
      assert.deepEqual(spreadOf({ a: weight, b: weight, c: weight }), ["a", "b", "c"])
    }
    assert.deepEqual(spreadOf({}), [])
  })

  it("spread is exact for weights with a small sum after they are reduced, and mixes them", () => {
    assert.deepEqual(spreadOf({ a: 3, b: 1 }), ["a", "a", "b", "a"])
    assert.deepEqual(countsOf({ a: 300, b: 100 }), { a: 3, b: 1 })
    assert.deepEqual(countsOf({ a: 0.5, b: 1.5 }), { a: 1, b: 3 })
    assert.deepEqual(countsOf({ a: 6, b: 4, c: 2 }), { a: 3, b: 2, c: 1 })
  })

  it("spread rounds other weights, lists each value, and stays short", () => {
    const counts = countsOf({ a: 101, b: 53, c: 1 })
    assert.deepEqual(Object.keys(counts).sort(), ["a", "b", "c"])
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
    assert.ok(total <= 66, `${total} entries`)
    assert.ok(Math.abs((counts["a"] ?? 0) / total - 101 / 155) < 0.02)
    assert.ok(Math.abs((counts["b"] ?? 0) / total - 53 / 155) < 0.02)
  })

  it("spread lists many values with unequal weights in at most three times their number", () => {
    const weights = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`i${index}`, 1 + index % 97]))
    const entries = spreadOf(weights)
    assert.equal(new Set(entries).size, 500)
    assert.ok(entries.length <= 1500, `${entries.length} entries`)
  })
})

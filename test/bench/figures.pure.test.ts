import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { type Lane, median, type Result, verdicts } from "../../bench/figures.ts"
import { type Limit, ours, raw } from "../../bench/scenario.ts"

const lane = (contender: string, runtime: Lane["runtime"], ...ms: ReadonlyArray<number>): Lane => ({
  contender,
  runtime,
  figures: { ms }
})

const resultOf = (limits: ReadonlyArray<Limit>, lanes: ReadonlyArray<Lane>, name = "one-10"): Result => ({
  scenario: { name, about: "", program: "", contenders: [ours, raw], limits },
  lanes
})

const holds = (result: Result, others: ReadonlyArray<Result> = [], smoke = false) =>
  verdicts(result, [result, ...others], smoke).map(({ holds, runtime }) => [runtime, holds])

describe("verdicts", () => {
  it("verdicts compares the ratio of medians with the limit, separately for each runtime", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", comparedWith: { contender: "raw" }, atMost: 1.2 }]
    const lanes = [
      lane("ours", "deno", 1, 12, 900),
      lane("raw", "deno", 1, 10, 11),
      lane("ours", "node", 13, 13, 13),
      lane("raw", "node", 10, 10, 10)
    ]
    assert.deepEqual(holds(resultOf(limits, lanes)), [["deno", true], ["node", false]])
  })

  it("verdicts applies a limit per runtime", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", atMost: { deno: 2, node: 1, bun: 1 } }]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 2), lane("ours", "node", 2)])), [
      ["deno", true],
      ["node", false]
    ])
  })

  it("verdicts compares differences, and contenders other than ours", () => {
    const limits: ReadonlyArray<Limit> = [
      { figure: "ms", of: "raw", atMost: 3, comparedWith: { contender: "floor", as: "difference" } }
    ]
    assert.deepEqual(holds(resultOf(limits, [lane("raw", "bun", 8), lane("floor", "bun", 5)])), [["bun", true]])
    assert.deepEqual(holds(resultOf(limits, [lane("raw", "bun", 9), lane("floor", "bun", 5)])), [["bun", false]])
  })

  it("verdicts compares with our own figure of another scenario, if that scenario was run", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", comparedWith: { scenario: "one-1" }, atMost: 1.2 }]
    const small = resultOf([], [lane("ours", "deno", 10)], "one-1")
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 12)]), [small]), [["deno", true]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 13)]), [small]), [["deno", false]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 13)])), [])
  })

  it("verdicts misses a limit without reported figures", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", atMost: 10, comparedWith: { contender: "raw" } }]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno")])), [["deno", false]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 1)])), [["deno", false]])
  })

  it("verdicts checks only limits with `always` in a smoke run", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", atMost: 1 }, { figure: "ms", atMost: 1, always: true }]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 2)]), [], true), [["deno", false]])
  })
})

describe("median", () => {
  it("median is the middle value, or the mean of the two middle values", () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3]), median([])], [2, 2.5, NaN])
  })
})

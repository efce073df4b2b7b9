import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { predict } from "../../bench/model.ts"
import { type MeasuredLane, median, type Result, verdicts } from "../../bench/report.ts"
import type { Contender, Limit } from "../../bench/scenario.ts"

const lane = (contender: Contender, runtime: MeasuredLane["runtime"], ...ms: ReadonlyArray<number>): MeasuredLane => ({
  contender,
  runtime,
  figures: { ms }
})

const resultOf = (limits: ReadonlyArray<Limit>, lanes: ReadonlyArray<MeasuredLane>, name = "one-10"): Result => ({
  scenario: {
    name,
    about: "",
    program: "",
    contenders: [...new Set(lanes.map(({ contender }) => contender))],
    parameters: {},
    limits
  },
  lanes
})

const holds = (result: Result, others: ReadonlyArray<Result> = [], smoke = false) =>
  verdicts(result, [result, ...others], smoke).map(({ holds, runtime }) => [runtime, holds])

describe("verdicts", () => {
  it("hold the ratio of medians to the limit, on each runtime by itself", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", comparedWith: { contender: "raw" }, atMost: 1.2 }]
    const lanes = [
      lane("ours", "deno", 1, 12, 900),
      lane("raw", "deno", 1, 10, 11),
      lane("ours", "node", 13, 13, 13),
      lane("raw", "node", 10, 10, 10)
    ]
    assert.deepEqual(holds(resultOf(limits, lanes)), [["deno", true], ["node", false]])
  })

  it("compare with Go's contender on every runtime, and with nobody who did not take part", () => {
    const limits: ReadonlyArray<Limit> = [
      { figure: "ms", comparedWith: { contender: "go-kit" }, atMost: 1 / 30 },
      { figure: "ms", comparedWith: { contender: "naive" }, atMost: 0 }
    ]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "bun", 1), lane("go-kit", "go", 30)])), [["bun", true]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "bun", 1), lane("go-kit", "go", 29)])), [["bun", false]])
  })

  it("compare with ourselves in another scenario", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", comparedWith: { scenario: "one-1" }, atMost: 1.2 }]
    const small = resultOf([], [lane("ours", "deno", 10)], "one-1")
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 12)]), [small]), [["deno", true]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 13)]), [small]), [["deno", false]])
  })

  it("want a count to be right in every turn, in a smoke run, too, and to be there", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", exactly: 1 }]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 1, 1, 1)]), [], true), [["deno", true]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno", 1, 2, 1)]), [], true), [["deno", false]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno")]), [], true), [["deno", false]])
  })

  it("fail a figure that no turn has told", () => {
    const limits: ReadonlyArray<Limit> = [{ figure: "ms", atMost: 10 }]
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno")])), [["deno", false]])
    assert.deepEqual(holds(resultOf(limits, [lane("ours", "deno")]), [], true), [])
  })
})

describe("median", () => {
  it("is the middle one, or the mean of the two in the middle", () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3]), median([])], [2, 2.5, NaN])
  })
})

describe("predict", () => {
  it("counts renewals, watchers and events as MODEL.md says", () => {
    const unit = {
      baseCores: 0,
      baseMegabytes: 10,
      microsPerRenewal: 100,
      bytesPerRenewal: 40,
      microsPerEvent: 10,
      bytesPerEvent: 300,
      microsPerAsk: 0,
      bytesPerAsk: 0,
      microsPerWrite: 1000,
      microsPerRegistration: 0,
      kilobytesPerLease: 5,
      kilobytesPerWatcher: 1,
      kilobytesPerConnection: 40
    }
    const fleet = { processes: 100, registrants: 1000, ttl: 15, consumers: 200, followed: 5, services: 10, changes: 4 }
    const { asks, ...load } = predict(fleet, unit)
    assert.deepEqual(load, {
      renewals: 200,
      requests: 204 + asks,
      watchers: 2000,
      events: 404,
      kilobytesOut: 129.2,
      cores: (200 * 100 + 404 * 10 + 4 * 1000) / 1e6,
      megabytes: 10 + 5 + 2 + 4
    })
    assert.equal(predict({ ...fleet, changes: 0 }, unit).asks, 10)
  })
})

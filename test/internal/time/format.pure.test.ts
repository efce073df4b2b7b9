import { Duration } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { formatDuration } from "../../../src/internal/time/format.ts"

describe("formatDuration", () => {
  const cases: ReadonlyArray<readonly [Duration.Input, string]> = [
    [0, "0 ms"],
    [Duration.nanos(1n), "0.000001 ms"],
    [Duration.nanos(5_005_487_879n), "5.005 s"],
    [999, "999 ms"],
    [1000, "1 s"],
    [7500, "7.5 s"],
    ["90 seconds", "1 min 30 s"],
    ["5 minutes", "5 min"],
    ["3600 seconds", "1 h"],
    ["26 hours", "1 d 2 h"],
    [Duration.infinity, "Infinity"],
    [-1500, "-1.5 s"]
  ]
  for (const [duration, expected] of cases) {
    it(`formatDuration writes ${expected}`, () => assert.equal(formatDuration(duration), expected))
  }
})

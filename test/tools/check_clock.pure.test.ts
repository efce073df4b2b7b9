import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { check } from "../../tools/check_clock.ts"

const problems = (modules: Record<string, string>) =>
  check(new Map(Object.entries(modules)), new Map([["src/shown.ts", "shown to people"]]))

const shown = { "src/shown.ts": "const at = Date.now()" }

describe("check_clock", () => {
  it("check reports each use of the wall clock", () => {
    for (
      const use of [
        "Date.now()",
        "new Date()",
        "Clock.currentTimeMillis",
        "clock.currentTimeNanosUnsafe()",
        "DateTime.now"
      ]
    ) {
      assert.deepEqual(problems({ ...shown, "src/a.ts": `\nconst now = ${use}` }), [
        "src/a.ts:2: uses the wall clock; use internal/time/monotonic.ts"
      ])
    }
  })

  it("check allows the monotonic clock, comments, and the files of its table", () => {
    const source = "/** Not Date.now(). */\nconst a = clock.monotonicTimeNanosUnsafe() // Date.now()\nnew Date(0)"
    assert.deepEqual(problems({ ...shown, "src/a.ts": source }), [])
  })

  it("check reports a row of its table without a use", () => {
    assert.deepEqual(problems({ "src/shown.ts": "" }), [
      "src/shown.ts: does not use the wall clock; remove its row in tools/check_clock.ts"
    ])
  })
})

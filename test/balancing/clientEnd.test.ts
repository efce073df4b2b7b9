import { Effect } from "effect"
import assert from "node:assert/strict"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"

describe("ServiceClient in a process", () => {
  live(
    "ServiceClient leaves no timer, fiber or socket behind: the process ends by itself (D11)",
    () =>
      Effect.gen(function* () {
        const program = yield* runProgram({ file: new URL("programs/clientEnd.ts", import.meta.url) })
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
        const said = (yield* program.stdout).trim().split("\n")
        assert.deepEqual(said.filter((line) => !/ (?:INFO|WARN) /.test(line)), [
          "CallFailed",
          "CallFailed",
          "45",
          "ok",
          "done"
        ])
      })
  )
})

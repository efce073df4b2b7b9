import { Effect } from "effect"
import assert from "node:assert/strict"
import { describe, live } from "../harness/it.ts"
import { currentRuntime, runProgram } from "../harness/program.ts"

describe(`a program with the embedded engine on ${currentRuntime}`, () => {
  live(
    "a program with configuration and declarations needs no permission and exits by itself",
    () =>
      Effect.gen(function* () {
        const program = yield* runProgram({
          file: new URL("programs/alone.ts", import.meta.url),
          runtimeArgs: currentRuntime === "deno" ?
            ["--no-prompt", "--deny-env", "--deny-read", "--deny-net", "--deny-sys"] :
            []
        })
        const exit = yield* program.exit
        assert.deepEqual(
          [exit, yield* program.stdout, yield* program.stderr],
          [{ code: 0, signal: null }, `[7,7,["http://10.0.0.5:8080"]]\n`, ""]
        )
      })
  )
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"

const fleet = new URL("../../examples/fleet/main.ts", import.meta.url)

describe("the fleet", () => {
  live(
    "fleet answers through its gateway without a failed request, shows its console, and ends by itself",
    () =>
      Effect.gen(function* () {
        const program = yield* runProgram({
          file: fleet,
          args: ["--port", "0", "--console", "0", "--seconds", "12"]
        })
        const urlOf = (line: string) => /http:\S+/.exec(line)?.[0] ?? ""
        const gateway = urlOf(yield* program.awaitLine(/^gateway: /))
        const site = urlOf(yield* program.awaitLine(/^console: /))
        const text = (url: string) => Effect.promise(async () => (await fetch(url)).text())

        assert.match(yield* text(gateway), /^orders-\d: paid by payments-\d, reserved by inventory-\d$/)
        assert.match(yield* text(`${site}services`), /payments/)
        assert.match(yield* program.awaitLine(/^in 5 s: /), /^in 5 s: [1-9]\d* requests succeeded, 0 failed$/)
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      }).pipe(Effect.scoped)
  )
})

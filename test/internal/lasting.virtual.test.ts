import { Effect, Exit } from "effect"
import assert from "node:assert/strict"
import { AsyncLocalStorage } from "node:async_hooks"
import { lasting } from "../../src/internal/lasting.ts"
import { describe } from "../harness/it.ts"
import { elapse, settle, start, verify } from "../harness/virtual.ts"

describe("lasting", () => {
  verify("lasting repeats a step until it fails, also a step that never waits", () =>
    Effect.gen(function* () {
      let steps = 0
      const step = Effect.suspend(() => ++steps < 100_000 ? Effect.void : Effect.fail("enough"))
      assert.deepEqual([yield* Effect.flip(lasting(step)), steps], ["enough", 100_000])
    }))

  verify("an interrupted lasting loop ends its step first, and no other follows", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const step = Effect.andThen(
        Effect.sync(() => log.push("begin")),
        Effect.onInterrupt(Effect.sleep("1 second"), () => Effect.sync(() => log.push("interrupted")))
      )
      const loop = yield* start(lasting(step))
      yield* elapse("1500 millis")
      yield* loop.interrupt
      yield* elapse("10 seconds")
      assert.deepEqual(log, ["begin", "begin", "interrupted"])
      assert.equal(Exit.hasInterrupts(loop.exit() ?? Exit.void), true)
    }))

  verify(
    "each step of a lasting loop starts in the same async scope, so that no chain of scopes grows",
    () =>
      Effect.gen(function* () {
        const storage = new AsyncLocalStorage<number>()
        const found: Array<number | undefined> = []
        const step = Effect.andThen(
          Effect.sync(() => {
            found.push(storage.getStore())
            storage.enterWith(found.length)
          }),
          Effect.sleep("1 second")
        )
        yield* start(lasting(step))
        yield* elapse("3 seconds")
        yield* settle
        assert.deepEqual(found, [undefined, undefined, undefined, undefined])
      })
  )
})

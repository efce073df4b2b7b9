import { Effect, Exit } from "effect"
import assert from "node:assert/strict"
import { Timers } from "../../../src/internal/time/Timers.ts"
import { withLimit } from "../../../src/internal/time/withLimit.ts"
import { describe } from "../../harness/it.ts"
import { elapse, start, verify } from "../../harness/virtual.ts"

const limited = Effect.fnUntraced(function* <A, E>(self: Effect.Effect<A, E>) {
  return withLimit(self, new Timers(yield* Effect.context<never>()), 1000, () => Exit.fail("late"))
})

describe("withLimit", () => {
  verify("withLimit returns the result of an effect that ends in time", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* Effect.exit(yield* limited(Effect.succeed(1))), Exit.succeed(1))
      assert.deepEqual(yield* Effect.exit(yield* limited(Effect.fail(2))), Exit.fail(2))
      const delayed = yield* start(yield* limited(Effect.as(Effect.sleep(999), 3)))
      yield* elapse(999)
      assert.deepEqual(delayed.exit(), Exit.succeed(3))
    }))

  verify("withLimit interrupts an effect at the limit, and ends after it", () =>
    Effect.gen(function* () {
      const slow = Effect.onInterrupt(Effect.never, () => Effect.sleep(500))
      const late = yield* start(yield* limited(slow))
      yield* elapse(1499)
      assert.equal(late.exit(), undefined)
      yield* elapse(1)
      assert.deepEqual(late.exit(), Exit.fail("late"))
    }))

  verify(
    "withLimit interrupts its effect when it is interrupted, and then no deadline is left",
    () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const logged = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void log.push("interrupted")))
        const late = yield* start(yield* limited(logged))
        yield* elapse(500)
        yield* late.interrupt
        yield* elapse(1000)
        assert.deepEqual(log, ["interrupted"])
        assert.equal(Exit.hasInterrupts(late.exit() ?? Exit.void), true)
      })
  )
})

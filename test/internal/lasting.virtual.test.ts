import { Effect, Exit, Schedule } from "effect"
import assert from "node:assert/strict"
import { AsyncLocalStorage } from "node:async_hooks"
import { lasting, lastingRetry } from "../../src/internal/lasting.ts"
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

  verify("a lasting loop that a step interrupts before the step waits ends that step", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      let interrupt = () => {}
      let steps = 0
      const step = Effect.gen(function* () {
        const number = ++steps
        log.push(`begin ${number}`)
        if (number === 2) interrupt()
        yield* Effect.sleep("1 second")
        log.push(`end ${number}`)
      })
      const loop = yield* Effect.forkScoped(Effect.onExit(lasting(step), () => Effect.sync(() => log.push("ended"))))
      interrupt = () => loop.interruptUnsafe()
      yield* elapse("10 seconds")
      assert.deepEqual(log, ["begin 1", "end 1", "begin 2", "ended"])
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

  verify(
    "lastingRetry repeats as its schedule says, until success or an error that is final",
    () =>
      Effect.gen(function* () {
        let attempts = 0
        const attempt = Effect.suspend(() => ++attempts % 4 === 0 ? Effect.succeed(attempts) : Effect.fail(attempts))
        const retry = (times: number, last = Infinity) =>
          lastingRetry(attempt, {
            schedule: Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(times)]),
            while: (error) => error < last
          })
        const succeeds = yield* start(retry(10))
        yield* elapse("2999 millis")
        assert.deepEqual([attempts, succeeds.exit()], [3, undefined])
        yield* elapse(1)
        assert.deepEqual(succeeds.exit(), Exit.succeed(4))
        const runsOut = yield* start(retry(1))
        yield* elapse("1 second")
        assert.deepEqual(runsOut.exit(), Exit.fail(6))
        const isFinal = yield* start(retry(10, 7))
        assert.deepEqual(isFinal.exit(), Exit.fail(7))
      })
  )

  verify("each attempt of lastingRetry after the first starts in the same async scope", () =>
    Effect.gen(function* () {
      const storage = new AsyncLocalStorage<number>()
      const found: Array<number | undefined> = []
      const attempt = Effect.suspend(() => {
        found.push(storage.getStore())
        storage.enterWith(found.length)
        return found.length === 5 ? Effect.void : Effect.fail("again")
      })
      yield* start(lastingRetry(attempt, { schedule: Schedule.spaced("1 second"), while: () => true }))
      yield* elapse("10 seconds")
      assert.deepEqual(found, [undefined, undefined, undefined, undefined, undefined])
    }))
})

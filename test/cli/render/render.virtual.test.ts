// Quiescence of `render`, on virtual time.
import { Effect, Queue } from "effect"
import assert from "node:assert/strict"
import { awaitQuiet } from "../../../src/cli/render/quiescence.ts"
import { describe } from "../../harness/it.ts"
import { elapse, start, verify } from "../../harness/virtual.ts"

const wait = { minMillis: 200, maxMillis: 2000 }

describe("render: quiescence on virtual time", () => {
  verify("awaitQuiet waits for a first change, then until nothing has changed for min", () =>
    Effect.gen(function* () {
      const changes = yield* Queue.sliding<void>(1)
      const quiet = yield* start(awaitQuiet(changes, wait))
      yield* elapse("1 hour")
      assert.equal(quiet.exit(), undefined)
      yield* Queue.offer(changes, undefined)
      yield* elapse("150 millis")
      yield* Queue.offer(changes, undefined)
      yield* elapse("199 millis")
      assert.equal(quiet.exit(), undefined)
      yield* elapse("1 millis")
      assert.notEqual(quiet.exit(), undefined)
    }))

  verify("awaitQuiet waits at most max under changes that never end", () =>
    Effect.gen(function* () {
      const changes = yield* Queue.sliding<void>(1)
      const quiet = yield* start(awaitQuiet(changes, wait))
      yield* Queue.offer(changes, undefined)
      for (let millis = 0; millis < 1900; millis += 100) {
        yield* elapse("100 millis")
        yield* Queue.offer(changes, undefined)
      }
      yield* elapse("99 millis")
      assert.equal(quiet.exit(), undefined)
      yield* elapse("1 millis")
      assert.notEqual(quiet.exit(), undefined)
    }))
})

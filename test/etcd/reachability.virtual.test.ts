import { Clock, Effect, FiberSet } from "effect"
import assert from "node:assert/strict"
import * as Reachability from "../../src/etcd/Reachability.ts"
import { describe } from "../harness/it.ts"
import { elapse, start, verify, withDraw } from "../harness/virtual.ts"

describe("Reachability", () => {
  verify(
    "recovered does not end the backoff again and again if a server answers probes and fails all else at once (R4)",
    () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        const now = () => Math.round(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
        const run = yield* FiberSet.makeRuntime<never, void, never>()
        const reachability: Reachability.Reachability = Reachability.make({
          now,
          probe: () => Effect.sync(() => reachability.answered()),
          run
        })
        const waits: Array<number> = []
        const failingCall = Effect.gen(function* () {
          const failedAt = now()
          reachability.failed()
          yield* reachability.recovered
          waits.push(now() - failedAt)
        })
        yield* start(Effect.repeat(failingCall, { times: 4 }))
        yield* elapse("5 seconds")
        assert.deepEqual(waits, [0, 100, 105, 110, 116])
        yield* elapse("10 seconds")
        yield* start(Effect.repeat(failingCall, { times: 1 }))
        yield* elapse("1 second")
        // More than 10 seconds have passed since the last return, so the delays start afresh.
        assert.deepEqual(waits.slice(5), [0, 100])
      }).pipe(withDraw(1))
  )
})

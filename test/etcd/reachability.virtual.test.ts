import { Clock, Effect, Fiber, FiberSet } from "effect"
import assert from "node:assert/strict"
import * as Reachability from "../../src/etcd/Reachability.ts"
import { describe } from "../harness/it.ts"
import { elapse, start, verify, withDraw } from "../harness/virtual.ts"

const setUp = Effect.fnUntraced(function* (probe: (reachability: Reachability.Reachability) => void) {
  const clock = yield* Clock.Clock
  const now = () => Math.round(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const reachability: Reachability.Reachability = Reachability.make({
    now,
    probe: () => Effect.sync(() => probe(reachability)),
    run
  })
  return { now, reachability }
})

/** An outage that something waits for, and the times of its probes. */
const outage = Effect.gen(function* () {
  const probes: Array<number> = []
  const { now, reachability } = yield* setUp(() => probes.push(now()))
  reachability.failed()
  yield* Effect.forkScoped(reachability.recovered, { startImmediately: true })
  return { now, probes, reachability }
})

describe("Reachability", () => {
  verify(
    "recovered does not end the backoff again and again if a server answers probes and fails all else at once (R4)",
    () =>
      Effect.gen(function* () {
        const { now, reachability } = yield* setUp(({ answered }) => answered())
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

  verify(
    "a probe follows the one before within 100 ms and 3 % of the outage so far (D12)",
    () =>
      Effect.gen(function* () {
        const { now, probes } = yield* outage
        const startedAt = now()
        yield* elapse("1 minute")
        assert.ok(probes.length > 50 && probes.length < 200, `${probes.length} probes`)
        for (const [index, at] of [...probes.slice(1), now()].entries()) {
          const before = probes[index] ?? 0
          const limit = 100 + 0.03 * (before - startedAt) + 1
          assert.ok(at - before <= limit, `${at - before} ms between probes, ${at - startedAt} ms after the start`)
        }
      })
  )

  verify(
    "an outage that begins during the last pause of a long one is probed as a new one (D12)",
    () =>
      Effect.gen(function* () {
        const { now, probes, reachability } = yield* outage
        yield* elapse("3 minutes")
        const long = probes.length
        while (probes.length === long) yield* elapse(1)
        reachability.answered()
        yield* Effect.forkScoped(reachability.recovered, { startImmediately: true })
        const [failedAt, before] = [now(), probes.length]
        reachability.failed()
        yield* elapse(250)
        assert.deepEqual(probes.slice(before).map((at) => at - failedAt), [0, 100, 203])
      }).pipe(withDraw(0))
  )

  verify(
    "recovered completes at the end of an outage of 100 ms or more, however soon it follows the last one (D12)",
    () =>
      Effect.gen(function* () {
        const { now, reachability } = yield* setUp(() => {})
        const waits: Array<number> = []
        const outage = Effect.gen(function* () {
          reachability.failed()
          const back = yield* Effect.forkChild(Effect.map(reachability.recovered, now))
          yield* Effect.sleep("100 millis")
          const answeredAt = now()
          reachability.answered()
          waits.push((yield* Fiber.join(back)) - answeredAt)
        })
        yield* start(Effect.repeat(outage, { times: 4 }))
        yield* elapse("10 seconds")
        assert.deepEqual(waits, [0, 0, 0, 0, 0])
      }).pipe(withDraw(1))
  )
})

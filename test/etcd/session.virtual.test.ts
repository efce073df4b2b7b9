import { Clock, Effect, Latch } from "effect"
import assert from "node:assert/strict"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import {
  a,
  counted,
  elapse,
  keyOfA,
  keysIn,
  leasesIn,
  register,
  statusOf,
  timesOf,
  verify,
  withDraw,
  world
} from "../harness/virtual.ts"

describe("heartbeats", () => {
  verify("R9: heartbeats go out every third of the TTL, and only they keep the lease", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const { registration } = yield* register(one, { ...a, ttl: "15 seconds" })
      const lease = yield* registration.leaseId
      yield* elapse("60 seconds")
      assert.deepEqual(
        yield* timesOf(one, "leaseKeepAlive"),
        [5000, 10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000, 45_000, 50_000, 55_000, 60_000]
      )
      assert.deepEqual(yield* registration.leaseId, lease)
      assert.deepEqual(yield* timesOf(one, "leaseGrant"), [0])
      assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      assert.equal(yield* counted("etcd_discovery_heartbeats"), 12)
    }))

  verify(
    "R9: an explicit heartbeat is kept to, and counts from when the last one was sent",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* register(one, { ...a, ttl: "10 seconds", heartbeat: "4 seconds" })
        yield* one.faults.set([{ method: "leaseKeepAlive", nth: 1, fault: FaultyEtcd.slow("1 second") }])
        yield* elapse("13 seconds")
        assert.deepEqual(yield* timesOf(one, "leaseKeepAlive"), [4000, 8000, 12_000])
      })
  )

  verify("R9: a heartbeat without an answer is repeated while the lease still runs", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      const before = yield* keysIn(operator)
      yield* one.faults.set([{ method: "leaseKeepAlive", times: 1, fault: FaultyEtcd.hung }])
      yield* elapse("30 seconds").pipe(withDraw(1))
      const [first = 0, second = 0] = yield* timesOf(one, "leaseKeepAlive")
      assert.equal(first, 5000)
      // The answer is waited for 3 seconds, and then comes a backoff of up to 50 ms.
      assert.ok(second >= 8000 && second <= 8050, String(second))
      assert.deepEqual(yield* keysIn(operator), before)
      assert.deepEqual(kept.statuses, [[0, "Registered"]])
    }))

  verify(
    "R9: a lease is lost one TTL after the last acknowledged heartbeat was sent, not earlier, not later",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        // Sent at 10 s, in etcd at 12 s: etcd would keep the lease until 27 s.
        yield* one.faults.set([
          { method: "leaseKeepAlive", nth: 2, fault: FaultyEtcd.slow("2 seconds") },
          { method: "leaseKeepAlive", nth: 3, times: 1000, fault: FaultyEtcd.hung },
          { method: "leaseGrant", fault: FaultyEtcd.hung }
        ])
        yield* elapse(24_999)
        assert.equal(yield* statusOf(kept), "Registered")
        // Timers know whole milliseconds.
        yield* elapse(2)
        assert.equal(yield* statusOf(kept), "Recovering")
      })
  )

  verify(
    "R9: a lease is lost at that moment, too, when etcd refuses connections instead of staying silent",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* elapse("10 seconds")
        yield* one.faults.outage
        yield* elapse("30 seconds")
        const [, [lostAt, status] = [0, ""]] = kept.statuses
        assert.equal(status, "Recovering")
        assert.ok(lostAt >= 25_000 && lostAt <= 25_001, String(lostAt))
      })
  )

  verify("R9: a lease is lost at once when etcd says that it is gone", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      const [lease = 0n] = yield* leasesIn(operator)
      // The watch of the own key is deaf, so that the heartbeat is what finds out.
      yield* one.faults.silenceWatches
      yield* operator.leaseRevoke(lease)
      yield* elapse(4999)
      assert.equal(yield* statusOf(kept), "Registered")
      yield* elapse("1 second")
      assert.deepEqual(kept.statuses.slice(0, 2), [[0, "Registered"], [5000, "Recovering"]])
      assert.equal(yield* statusOf(kept), "Registered")
    }))

  for (
    const { title, expired } of [
      { title: "finds the lease alive, the registration never left", expired: false },
      { title: "finds the lease gone, it registers again", expired: true }
    ]
  ) {
    verify(
      `R9: waking after a pause longer than the TTL asks etcd before anything is written; when it ${title}`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const pause = yield* pausable
          const one = yield* process().pipe(Effect.provideService(Clock.Clock, pause.clock))
          const kept = yield* register(one).pipe(Effect.provideService(Clock.Clock, pause.clock))
          const [lease = 0n] = yield* leasesIn(operator)
          yield* elapse("12 seconds")
          yield* pause.begin
          // Its connections do not survive the pause either: nobody tells it what happened.
          yield* one.faults.silenceWatches
          // Leader changes keep a lease alive that nobody renews; here the operator does.
          if (!expired) {
            yield* operator.leaseKeepAlive({ id: lease }).pipe(Effect.delay("12 seconds"), Effect.forkScoped)
          }
          yield* elapse("20 seconds")
          const before = (yield* one.faults.calls()).length
          yield* pause.end
          yield* elapse("10 seconds")
          const [first] = (yield* one.faults.calls()).slice(before).filter(({ method }) => method !== "watch")
          assert.equal(first?.method, "leaseKeepAlive")
          assert.equal(yield* statusOf(kept), "Registered")
          const [after] = Object.values(yield* keysIn(operator))
          assert.equal(after === lease, !expired)
          assert.deepEqual(
            kept.statuses.map(([, tag]) => tag),
            expired ? ["Registered", "Recovering", "Registered"] : ["Registered"]
          )
        })
    )
  }
})

/** A clock whose sleepers, like those of a process that is held up, wake late. */
const pausable = Effect.gen(function* () {
  const inner = yield* Clock.Clock
  const gate = yield* Latch.make(true)
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe(),
    currentTimeMillis: inner.currentTimeMillis,
    currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe(),
    currentTimeNanos: inner.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: inner.monotonicTimeNanos,
    sleep: (duration) => Effect.andThen(inner.sleep(duration), gate.await)
  }
  return { clock, begin: gate.close, end: gate.open }
})

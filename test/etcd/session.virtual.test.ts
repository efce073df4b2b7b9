import { Clock, Effect, Exit, Latch, Layer } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { Etcd, EtcdMemory } from "../../src/etcd/mod.ts"
import { Lease } from "../../src/kv/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { clockWith } from "../harness/clock.ts"
import { describe } from "../harness/it.ts"
import {
  a,
  counted,
  elapse,
  failureOf,
  keyOfA,
  keysIn,
  leasesIn,
  register,
  start,
  statusOf,
  timesOf,
  verify,
  withDraw,
  world
} from "../harness/virtual.ts"

describe("heartbeats", () => {
  verify(
    "a session sends heartbeats every third of the TTL, and only they keep the lease (R9)",
    () =>
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
        assert.equal(yield* counted("etcd_discovery_heartbeats_total"), 12)
      })
  )

  verify(
    "a session respects an explicit heartbeat, counted from the last send (R9)",
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

  verify("a session repeats an unanswered heartbeat while the lease runs (R9)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      const before = yield* keysIn(operator)
      yield* one.faults.set([{ method: "leaseKeepAlive", times: 1, fault: FaultyEtcd.hung }])
      yield* elapse("30 seconds").pipe(withDraw(1))
      const [first = 0, second = 0] = yield* timesOf(one, "leaseKeepAlive")
      assert.equal(first, 5000)
      // The call waits 3 seconds for its answer. A backoff of up to 50 ms follows.
      assert.ok(second >= 8000 && second <= 8050, String(second))
      assert.deepEqual(yield* keysIn(operator), before)
      assert.deepEqual(kept.statuses, [[0, "Registered"]])
    }))

  verify(
    "a lease is lost exactly one TTL after the send time of the last acknowledged heartbeat (R9)",
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
    "a lease is lost at the same time if etcd refuses connections (R9)",
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

  verify("a lease is lost at once if etcd reports that it does not exist (R9)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      const [lease = 0n] = yield* leasesIn(operator)
      // The watch of the own key drops events, so that only the heartbeat detects the loss.
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
      { title: "finds the lease, the registration never left", expired: false },
      { title: "does not find it, it registers again", expired: true }
    ]
  ) {
    verify(
      `a session checks with etcd after a pause longer than the TTL before it writes; if etcd ${title} (R9)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const pause = yield* pausable
          const one = yield* process().pipe(Effect.provideService(Clock.Clock, pause.clock))
          const kept = yield* register(one).pipe(Effect.provideService(Clock.Clock, pause.clock))
          const [lease = 0n] = yield* leasesIn(operator)
          yield* elapse("12 seconds")
          yield* pause.begin
          // Its connections do not survive the pause either, so it receives no events.
          yield* one.faults.silenceWatches
          // A leader change can keep a lease alive without heartbeats. Here the operator renews it.
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

describe("the deadline of a lease", () => {
  /** An etcd whose calls never return once `stuck`, even after their timeouts. */
  const stuckEtcd = Effect.gen(function* () {
    const etcd = yield* EtcdMemory.make()
    const state = { stuck: false }
    const stuck: Etcd = {
      ...etcd,
      leaseKeepAlive: (request) => Effect.suspend(() => state.stuck ? Effect.never : etcd.leaseKeepAlive(request)),
      leaseGrant: (request) => Effect.suspend(() => state.stuck ? Effect.never : etcd.leaseGrant(request)),
      leaseRevoke: (id) => Effect.suspend(() => state.stuck ? Effect.never : etcd.leaseRevoke(id))
    }
    return { state, etcd: stuck }
  })

  verify(
    "each of ten leases is reported lost at its own deadline, though no call returns (R9)",
    () =>
      Effect.gen(function* () {
        const { etcd, state } = yield* stuckEtcd
        const leases: Array<Lease.Lease> = []
        const grantedAt: Array<number> = []
        for (let index = 0; index < 10; index++) {
          grantedAt.push(yield* Clock.currentTimeMillis)
          leases.push(yield* Effect.provideService(Lease.make("3 seconds"), Etcd, etcd))
          yield* elapse("50 millis")
        }
        state.stuck = true
        const losses = yield* Effect.forEach(leases, ({ lost }) => start(Effect.andThen(lost, Clock.currentTimeMillis)))
        yield* elapse("10 seconds")
        const times = losses.map(({ exit }) => {
          const ended = exit()
          return ended !== undefined && Exit.isSuccess(ended) ? Math.round(ended.value) : -1
        })
        assert.deepEqual(times, grantedAt.map((at) => Math.round(at) + 3000))
      })
  )

  verify(
    "200 registrations whose calls never return are all Recovering one TTL after their last heartbeat (R9)",
    () =>
      Effect.gen(function* () {
        const { etcd, state } = yield* stuckEtcd
        const layer = Registry.layer().pipe(Layer.provide(Layer.succeed(Etcd, etcd)))
        const context = yield* Layer.build(layer)
        const all = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, index) => `i${index}`),
          (id) => registerService("orders", { ...a, id, ttl: "3 seconds", releaseTimeout: "1 second" })
        ).pipe(Effect.provide(context))
        state.stuck = true
        const tags = Effect.map(
          Effect.forEach(all, ({ status }) => status.get),
          (statuses) => new Set(statuses.map(({ _tag }) => _tag))
        )
        yield* elapse(2999)
        assert.deepEqual(yield* tags, new Set(["Registered"]))
        yield* elapse(2)
        assert.deepEqual(yield* tags, new Set(["Recovering"]))
      })
  )

  for (
    const [title, grantTtl, heartbeatTtl] of [
      ["heartbeats", 3, 9e9],
      ["the grant and heartbeats", 9e9, 9e9]
    ] as const
  ) {
    verify(
      `a time to live of 285 years in the responses to ${title} delays no lost lease (R9)`,
      () =>
        Effect.gen(function* () {
          const { etcd, state } = yield* stuckEtcd
          const lying: Etcd = {
            ...etcd,
            leaseGrant: (request) => Effect.map(etcd.leaseGrant(request), (granted) => ({ ...granted, ttl: grantTtl })),
            leaseKeepAlive: (request) =>
              Effect.map(etcd.leaseKeepAlive(request), (answer) => ({ ...answer, ttl: heartbeatTtl }))
          }
          const { lost } = yield* Effect.provideService(Lease.make("3 seconds"), Etcd, lying)
          yield* elapse("10 seconds")
          state.stuck = true
          const loss = yield* start(lost)
          yield* elapse(grantTtl === 3 ? "3 seconds" : "75 seconds")
          assert.notEqual(loss.exit(), undefined)
        })
    )
  }

  verify("a grant that is not answered is given up after a third of the TTL (R9)", () =>
    Effect.gen(function* () {
      const { etcd, state } = yield* stuckEtcd
      state.stuck = true
      const granting = yield* start(Effect.provideService(Lease.make("3 seconds"), Etcd, etcd))
      yield* elapse(999)
      assert.equal(granting.exit(), undefined)
      yield* elapse(2)
      const failure = failureOf(granting)
      assert.ok(failure?._tag === "EtcdError" && failure.reason._tag === "DeadlineExceeded")
    }))

  verify(
    "release waits at most 3 seconds for a grant without an answer, whatever the TTL and the client allow (R5)",
    () =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        let grants = 0
        const silent: Etcd = {
          ...etcd,
          leaseGrant: () => Effect.andThen(Effect.sync(() => grants += 1), Effect.never)
        }
        const registry = Registry.layer().pipe(Layer.provide(Layer.succeed(Etcd, silent)))
        const registering = registerService("orders", { ...a, ttl: "10 minutes", startup: "background" })
        const started = yield* start(
          Effect.scoped(Effect.andThen(registering, Effect.never)).pipe(Effect.provide(registry))
        )
        // The limit of a grant grows with each attempt without an answer.
        yield* elapse("60 seconds")
        assert.ok(grants > 2)
        const released = yield* start(started.interrupt)
        yield* elapse("3 seconds")
        assert.deepEqual(released.exit(), Exit.void)
      }).pipe(Effect.provide(EtcdMemory.layer()))
  )

  verify(
    "release waits at most 3 seconds for a repeated grant that its heartbeat does not confirm, whatever the TTL (R5)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* one.faults.set([
          { method: "leaseGrant", nth: 1, fault: FaultyEtcd.answerLost },
          { method: "leaseKeepAlive", times: 1000, fault: FaultyEtcd.hung }
        ])
        const started = yield* start(
          Effect.scoped(Effect.andThen(register(one, { ...a, ttl: "10 minutes", startup: "background" }), Effect.never))
        )
        // The limit of a grant grows with each attempt without an answer.
        yield* elapse("60 seconds")
        assert.ok((yield* timesOf(one, "leaseKeepAlive")).length > 1)
        const released = yield* start(started.interrupt)
        yield* elapse("3 seconds")
        assert.deepEqual(released.exit(), Exit.void)
      })
  )

  verify("an interrupted grant revokes its lease although the first revoke fails (R6)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.set([
        { method: "leaseGrant", fault: FaultyEtcd.answerLost },
        { method: "leaseRevoke", times: 3, fault: FaultyEtcd.unavailable }
      ])
      const started = yield* start(Effect.scoped(Effect.andThen(register(one), Effect.never)))
      yield* elapse("500 millis")
      yield* start(started.interrupt)
      yield* elapse("8 seconds")
      assert.deepEqual(yield* leasesIn(operator), [])
    }))
})

/** A clock whose sleepers, like those of a process that is held up, wake late. */
const pausable = Effect.gen(function* () {
  const inner = yield* Clock.Clock
  const gate = yield* Latch.make(true)
  const clock = clockWith(inner, {
    sleep: (duration) => Effect.andThen(inner.sleep(duration), gate.await)
  })
  return { clock, begin: gate.close, end: gate.open }
})

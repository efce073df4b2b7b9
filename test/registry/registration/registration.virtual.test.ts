import { Effect, Exit, Fiber, Option, Schedule, Stream } from "effect"
import assert from "node:assert/strict"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  collect,
  counted,
  elapse,
  failureOf,
  keyOfA,
  keysIn,
  leasesIn,
  orders,
  putInstance,
  register,
  settle,
  start,
  statusOf,
  steps,
  timesOf,
  valueOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

describe("registerService", () => {
  verify(
    "registerService completes when a linearizable read returns the key under its lease (R1)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { registration } = yield* register(yield* process())
        const [lease = 0n] = yield* leasesIn(operator)
        assert.deepEqual(yield* keysIn(operator), { [keyOfA]: lease })
        assert.deepEqual(yield* registration.leaseId, Option.some(lease))
        const { kvs } = yield* operator.range({ key: keyOfA })
        assert.deepEqual(
          yield* registration.status.get,
          RegistrationStatus.Registered({ leaseId: lease, revision: kvs[0]?.modRevision ?? 0n })
        )
        assert.equal(registration.key, keyOfA)
      })
  )

  verify(
    "registerService does not complete before the put (R1)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "txn", times: 2, fault: FaultyEtcd.hung }])
        const started = yield* start(register(one))
        yield* elapse("2 seconds")
        assert.equal(started.exit(), undefined)
        assert.deepEqual(yield* keysIn(operator), {})
        yield* elapse("10 seconds")
        assert.equal(started.exit()?._tag, "Success")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      })
  )

  verify(
    "the key is never missing while etcd answers within the TTL: no leader, broken streams, update (R2)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { registration, statuses } = yield* register(one)
        const { kvs: [before] } = yield* operator.range({ key: keyOfA })
        const changes = yield* collect(operator.watch({ key: keyOfA, filters: ["noPut"] }))
        for (let spell = 0; spell < 5; spell++) {
          yield* one.faults.set([{ fault: FaultyEtcd.noLeader }])
          yield* one.faults.breakWatches()
          yield* elapse("9 seconds")
          yield* one.faults.clear
          yield* elapse("1 second")
          yield* registration.update({ weight: spell })
        }
        assert.deepEqual(changes.seen.filter(({ _tag }) => _tag === "Events"), [])
        const { kvs: [after] } = yield* operator.range({ key: keyOfA })
        assert.deepEqual(
          [after?.createRevision, after?.lease, after?.version],
          [before?.createRevision, before?.lease, 6n]
        )
        assert.deepEqual(statuses, [[0, "Registered"]])
      })
  )

  for (
    const { title, lose } of [
      { title: "the lease was revoked", lose: "revoke" },
      { title: "the key was deleted", lose: "delete" },
      { title: "the data was wiped", lose: "wipe" }
    ] as const
  ) {
    verify(
      `a registration is back within one backoff step after ${title}, not at the next heartbeat (R3, R10)`,
      () =>
        Effect.gen(function* () {
          const { operator, process, replace } = yield* world
          const one = yield* process()
          const kept = yield* register(one)
          yield* elapse("1 second")
          const [lease = 0n] = yield* leasesIn(operator)
          if (lose === "revoke") yield* operator.leaseRevoke(lease)
          else if (lose === "delete") yield* operator.deleteRange({ key: keyOfA })
          else yield* replace({ clusterId: 7n })
          yield* settle
          // A wiped cluster breaks the streams, so one backoff step of the watch comes first.
          yield* elapse(lose === "wipe" ? 200 : 100)
          assert.equal(yield* statusOf(kept), "Registered")
          const [after = 0n] = yield* leasesIn(operator)
          assert.notEqual(after, lease)
          assert.deepEqual(yield* keysIn(operator), { [keyOfA]: after })
          assert.equal(yield* counted("etcd_discovery_registrations_lost_total"), 1)
          assert.equal(yield* counted("etcd_discovery_claims_total"), 2)
        }).pipe(withDraw(1))
    )
  }

  for (const hours of [0.1, 5]) {
    verify(
      `a registration is back within one backoff step after ${hours} hours without etcd (R3)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process()
          const kept = yield* register(one)
          yield* one.faults.outage
          yield* elapse(`${hours} hours`)
          assert.equal(yield* statusOf(kept), "Recovering")
          assert.deepEqual(yield* keysIn(operator), {})
          yield* one.faults.clear
          yield* elapse("5 seconds")
          assert.equal(yield* statusOf(kept), "Registered")
          assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
        }).pipe(withDraw(1))
    )
  }

  verify(
    "a registration is back within one backoff step after an hour of silence (R3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* one.faults.blackhole
        yield* elapse("1 hour")
        yield* one.faults.clear
        // A pending call ends at its deadline, after 3 seconds at most.
        yield* elapse("8 seconds")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      }).pipe(withDraw(1))
  )

  verify(
    "a registration ends in Failed and in awaitFailure if a finite retry ends, and leaves nothing (R3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const retry = Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(3)])
        const kept = yield* register(one, { ...a, retry })
        const failed = yield* start(kept.registration.awaitFailure)
        yield* elapse("1 minute")
        assert.equal(failed.exit(), undefined)
        yield* one.faults.outage
        yield* elapse("1 minute")
        const status = yield* kept.registration.status.get
        const failure = failureOf(failed)
        assert.ok(failure?._tag === "RegistrationRefused" && failure.cause._tag === "EtcdError")
        assert.deepEqual(status, RegistrationStatus.Failed({ error: failure }))
        assert.equal(failure.cause.reason._tag, "Unavailable")
        yield* one.faults.clear
        yield* elapse("1 minute")
        assert.deepEqual(yield* keysIn(operator), {})
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify(
    "a registration retries after 100 ms growing by 6 % up to 5 s, with full jitter (R4)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        for (const draw of [1, 0.5]) {
          const one = yield* process()
          yield* one.faults.set([{ method: "leaseGrant", fault: FaultyEtcd.unavailable }])
          const kept = yield* register(one, { ...a, startup: "background" }).pipe(withDraw(draw))
          yield* elapse("2 minutes")
          const delays = steps(yield* timesOf(one, "leaseGrant"))
          for (const [index, delay] of delays.entries()) {
            const expected = Math.min(5000, 100 * 1.06 ** index) * draw
            assert.ok(Math.abs(delay - expected) <= 2, `delay ${index} is ${delay} ms, not ${expected}`)
          }
          assert.ok(delays.length > 70, `${delays.length} delays`)
          yield* kept.release
        }
      })
  )

  verify(
    "the backoff of a registration resets after a healthy period only (R4)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "leaseGrant", times: 30, fault: FaultyEtcd.unavailable }])
        const kept = yield* register(one)
          .pipe(
            Effect.forkScoped({ startImmediately: true }),
            Effect.tap(elapse("10 seconds")),
            Effect.flatMap(Fiber.join)
          )
        const lose = Effect.gen(function* () {
          yield* operator.deleteRange({ key: keyOfA })
          yield* settle
          const lostAt = kept.statuses.at(-1)?.[0] ?? 0
          yield* elapse("6 seconds")
          return ((yield* timesOf(one, "leaseGrant")).at(-1) ?? 0) - lostAt
        })
        // Thirty delays are behind it: the next one is 100 ms times 1.06 ** 30.
        assert.ok(Math.abs((yield* lose) - 574) <= 2)
        yield* elapse("20 seconds")
        assert.equal(yield* lose, 100)
      }).pipe(withDraw(1))
  )

  verify(
    "registerService fails after startupTimeout with the last failure, and leaves nothing",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const fault of [FaultyEtcd.unavailable, FaultyEtcd.hung]) {
          const one = yield* process()
          yield* one.faults.set([{ method: ["txn", "leaseRevoke"], fault }])
          const started = yield* start(register(one, { ...a, startupTimeout: "4 seconds", drain: "10 seconds" }))
          yield* elapse(3999)
          assert.equal(started.exit(), undefined)
          yield* elapse(6001)
          const failure = failureOf(started)
          assert.equal(failure?._tag, "StartupTimeout")
          assert.match(failure?.message ?? "", /not in etcd after 4 s \(startupTimeout\)/)
          yield* elapse("15 seconds")
          assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        }
      })
  )

  verify(
    "startup: with background it completes at once, whatever etcd does, and registers when it can",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.outage
        const kept = yield* register(one, { ...a, startup: "background", startupTimeout: "1 second" })
        yield* elapse("1 minute")
        assert.equal(yield* statusOf(kept), "Registering")
        yield* one.faults.clear
        yield* elapse("5 seconds")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      })
  )

  verify(
    "registerService fails at once if permission is denied, without a retry",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "txn", fault: FaultyEtcd.permissionDenied }])
        const failure = yield* Effect.flip(register(one))
        assert.ok(failure._tag === "RegistrationRefused" && failure.cause._tag === "EtcdError")
        assert.equal(failure.cause.reason._tag, "PermissionDenied")
        assert.equal((yield* timesOf(one, "txn")).length, 1)
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify(
    "a role that is revoked for a while ends neither the registration nor the watch of its key (R3, R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* one.faults.set([{ fault: FaultyEtcd.permissionDenied }])
        yield* one.faults.breakWatches()
        yield* elapse("2 seconds")
        yield* one.faults.clear
        yield* elapse("20 seconds")
        assert.equal(yield* statusOf(kept), "Registered")
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("1 second")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      })
  )

  verify(
    "a claim that etcd refuses after a loss is retried slowly until a role is back (R3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* one.faults.set([{ method: "txn", fault: FaultyEtcd.permissionDenied }])
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("1 minute")
        assert.equal(yield* statusOf(kept), "Recovering")
        const claims = (yield* timesOf(one, "txn")).length
        assert.ok(claims > 5 && claims < 62, `${claims} claims in a minute`)
        yield* one.faults.clear
        yield* elapse("6 seconds")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      })
  )

  verify("a claim whose Txns never succeed backs off (R4)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      // Another program creates the key before each Txn that expects none, and deletes it before each other one.
      let exists = false
      const fault = FaultyEtcd.meanwhile((etcd) => {
        exists = !exists
        return exists ? etcd.put({ key: keyOfA, value: "{}" }) : etcd.deleteRange({ key: keyOfA })
      })
      yield* one.faults.set([{ method: "txn", fault }])
      const started = yield* start(register(one, { ...a, claim: "overwrite", startupTimeout: "1 hour" }))
      yield* elapse("10 seconds")
      assert.equal(started.exit(), undefined)
      let rounds = 0
      for (let at = 0, delay = 100; at <= 10_000; delay *= 1.06) {
        rounds += 1
        at += delay
      }
      // Four Txns at once, and then the backoff.
      assert.equal((yield* timesOf(one, "txn")).length, 4 * rounds)
      yield* one.faults.clear
      yield* operator.deleteRange({ key: keyOfA })
      yield* elapse("6 seconds")
      assert.equal(started.exit()?._tag, "Success")
    }).pipe(withDraw(1)))

  verify(
    "registerService leaves no lease and no key if it is interrupted at any step (R6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        yield* putInstance(operator, "taken")
        const held = [yield* keysIn(operator), yield* leasesIn(operator)]
        const faults = {
          hung: FaultyEtcd.hung,
          slow: FaultyEtcd.slow("2 seconds"),
          answerLost: FaultyEtcd.answerLost,
          unavailable: FaultyEtcd.unavailable
        }
        for (const method of ["leaseGrant", "txn", "watch"] as const) {
          for (const [name, fault] of Object.entries(faults)) {
            for (const after of [0, 1000, 2000, 3100]) {
              const one = yield* process()
              yield* one.faults.set([{ method, fault, times: 1 }])
              // The id is taken by another process, so that the claim has to wait with a watch, too.
              const options = { ...a, id: method === "watch" ? "taken" : "a", startupTimeout: "1 hour" } as const
              const started = yield* start(
                Effect.scoped(Effect.andThen(one.registry.register(orders, options), Effect.never))
              )
              yield* elapse(after)
              const interrupted = yield* start(started.interrupt)
              yield* elapse("5 seconds")
              const situation = `${method} ${name}, interrupted after ${after} ms`
              assert.notEqual(interrupted.exit(), undefined, situation)
              assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], held, situation)
            }
          }
        }
      })
  )

  verify(
    "registerService leaves no lease and no key if it is interrupted between any two fiber steps (R6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        // The engine answers at once; a server does not.
        const fault = FaultyEtcd.meanwhile(() => Effect.repeat(Effect.yieldNow, { times: 9 }))
        let completed = 0
        for (let yields = 0; yields < 60; yields++) {
          const one = yield* process()
          yield* one.faults.set((["leaseGrant", "txn", "watch"] as const).map((method) => ({ method, fault })))
          const fiber = yield* Effect.forkScoped(Effect.scoped(Effect.andThen(register(one), Effect.never)), {
            startImmediately: true
          })
          if (yields > 0) yield* Effect.repeat(Effect.yieldNow, { times: yields - 1 })
          if (Object.keys(yield* keysIn(operator)).length > 0) completed++
          yield* Fiber.interrupt(fiber)
          yield* settle
          assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []], `after ${yields} yields`)
        }
        assert.ok(completed > 20 && completed < 55, String(completed))
      })
  )

  verify("registerService revokes a lease whose put failed (R6)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ method: "txn", fault: FaultyEtcd.permissionDenied }])
      yield* Effect.flip(register(one))
      const calls = yield* one.faults.calls()
      assert.deepEqual(calls.map(({ method }) => method), ["leaseGrant", "txn", "leaseRevoke"])
      assert.equal(calls[0]?.leaseId, calls[2]?.leaseId)
      assert.deepEqual(yield* leasesIn(operator), [])
    }))

  verify("a killed process disappears when its lease expires, not earlier (R7)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const killed = yield* process()
      yield* register(killed)
      yield* elapse("7 seconds")
      yield* killed.faults.outage
      // The last heartbeat was at 5 seconds.
      yield* elapse(12_999)
      assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOfA])
      yield* elapse(1)
      assert.deepEqual(yield* keysIn(operator), {})
    }))
})

describe("what a registration logs", () => {
  verify(
    "registration, loss, recovery and release are logged, and supersession with its holder (R3, R8)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const kept = yield* register(yield* process())
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("5 seconds")
        yield* kept.release
        const other = yield* register(yield* process())
        const lease = yield* putInstance(operator, "a")
        yield* settle
        assert.equal(yield* statusOf(other), "Superseded")
        const [first, loss, again, released, second, taken, ...more] = log
        assert.match(first ?? "", /^Info registered "\/services\/orders\/a" under lease [0-9a-f]+$/)
        assert.match(loss ?? "", /^Warn lost the registration of "\/services\/orders\/a"; registering again$/)
        assert.match(
          again ?? "",
          /^Info registered "\/services\/orders\/a" under lease [0-9a-f]+ again, \d+ ms after the loss$/
        )
        assert.equal(released, `Info released "${keyOfA}"`)
        assert.match(second ?? "", /^Info registered/)
        assert.match(taken ?? "", new RegExp(`^Error .*${lease.toString(16)}`))
        assert.deepEqual(more, [])
        assert.deepEqual(kept.statuses.map(([, tag]) => tag), ["Registered", "Recovering", "Registered", "Released"])
      })
  )

  verify("no release is logged for what was never registered", (log) =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      yield* one.faults.outage
      yield* Effect.flip(register(one, { ...a, startupTimeout: "1 second" }).pipe(Effect.tapError(() => settle))).pipe(
        Effect.raceFirst(Effect.andThen(elapse("1 minute"), Effect.never))
      )
      yield* elapse("1 minute")
      assert.deepEqual(log.filter((line) => line.includes("released")), [])
    }))
})

describe("a write whose answer is lost", () => {
  verify(
    "registerService recognises a grant whose answer was lost by its id",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "leaseGrant", nth: 1, fault: FaultyEtcd.answerLost }])
        const started = yield* start(register(one))
        yield* elapse("5 seconds")
        assert.equal(started.exit()?._tag, "Success")
        const grants = yield* one.faults.calls("leaseGrant")
        assert.equal(grants.length, 2)
        assert.deepEqual(yield* leasesIn(operator), [grants[0]?.leaseId])
        assert.deepEqual(yield* keysIn(operator), { [keyOfA]: grants[0]?.leaseId })
      })
  )

  verify(
    "registerService recognises a claim whose answer was lost, even an exclusive one",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const claim of ["restart", "exclusive", "overwrite"] as const) {
          const one = yield* process()
          yield* one.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.answerLost }])
          const started = yield* start(register(one, { ...a, claim }))
          yield* elapse("5 seconds")
          const exit = started.exit()
          assert.ok(exit !== undefined && Exit.isSuccess(exit), claim)
          const { kvs: [kv] } = yield* operator.range({ key: keyOfA })
          // The lost answer is recognised; the key is not put again.
          assert.equal(kv?.version, 1n)
          assert.deepEqual(
            yield* exit.value.registration.status.get,
            RegistrationStatus.Registered({ leaseId: kv?.lease ?? 0n, revision: kv?.modRevision ?? 0n })
          )
          yield* exit.value.release
          assert.deepEqual(yield* leasesIn(operator), [])
        }
      })
  )

  verify("Registration.update repeats an update whose answer was lost, and completes", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const { registration, statuses } = yield* register(one)
      yield* one.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.answerLost }])
      const updated = yield* start(registration.update({ weight: 7 }))
      yield* elapse("5 seconds")
      assert.deepEqual(updated.exit(), Exit.void)
      assert.deepEqual(statuses, [[0, "Registered"]])
      assert.equal(registration.instance.weight, 7)
      assert.equal((yield* valueOf(operator) as Effect.Effect<{ weight: number }>).weight, 7)
    }))

  verify(
    "release repeats a revoke whose answer was lost, without a warning",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { release } = yield* register(one)
        yield* one.faults.set([{ method: "leaseRevoke", nth: 1, fault: FaultyEtcd.answerLost }])
        const released = yield* start(release)
        yield* elapse("4 seconds")
        assert.deepEqual(released.exit(), Exit.void)
        assert.deepEqual(yield* leasesIn(operator), [])
        assert.deepEqual(log.filter((line) => !line.startsWith("Info")), [])
      })
  )
})

describe("Registration.update", () => {
  verify(
    "Registration.update is one transaction under the same lease, and keeps the status (R2)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { registration, statuses } = yield* register(one)
        yield* registration.update({ weight: 3, version: "2", metadata: { shard: "7" } })
        assert.deepEqual(yield* valueOf(operator), {
          id: "a",
          name: "orders",
          version: "2",
          metadata: { shard: "7" },
          endpoints: ["http://10.0.0.1:80"],
          weight: 3,
          status: "up"
        })
        assert.equal((yield* timesOf(one, "txn")).length, 2)
        assert.deepEqual(statuses, [[0, "Registered"]])
      })
  )

  verify(
    "Registration.update during an outage completes after it",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const minutes of [0.1, 5]) {
          const one = yield* process()
          const { registration, release } = yield* register(one)
          yield* one.faults.outage
          yield* elapse("1 second")
          const first = yield* start(registration.update({ weight: 5 }))
          const second = yield* start(registration.update({ version: "9" }))
          yield* elapse(`${minutes} minutes`)
          assert.deepEqual([first.exit(), second.exit()], [undefined, undefined])
          yield* one.faults.clear
          yield* elapse("10 seconds")
          assert.deepEqual([first.exit(), second.exit()], [Exit.void, Exit.void])
          const value = yield* valueOf(operator)
          assert.deepEqual(value, {
            id: "a",
            name: "orders",
            version: "9",
            metadata: {},
            endpoints: ["http://10.0.0.1:80"],
            weight: 5,
            status: "up"
          })
          yield* release
        }
      })
  )

  verify("an update that etcd refuses fails, and the instance stays as it was", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const { registration, statuses } = yield* register(one)
      const before = yield* valueOf(operator)
      yield* one.faults.set([{ method: "txn", fault: FaultyEtcd.permissionDenied }])
      const failure = yield* Effect.flip(registration.update({ weight: 5 }))
      assert.equal(failure._tag, "RegistrationRefused")
      assert.equal(registration.instance.weight, 1)
      yield* one.faults.clear
      yield* elapse("1 minute")
      assert.deepEqual(yield* valueOf(operator), before)
      assert.deepEqual(statuses, [[0, "Registered"]])
    }))

  verify("Registration.update with an invalid weight fails before any I/O", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      const { registration } = yield* register(one)
      const before = (yield* one.faults.calls()).length
      for (const weight of [-1, NaN, Infinity]) {
        const failure = yield* Effect.flip(registration.update({ weight }))
        assert.equal(failure._tag, "InvalidOption")
      }
      assert.equal((yield* one.faults.calls()).length, before)
    }))

  verify(
    "a registration replaces a foreign value under its own lease at once (R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { statuses } = yield* register(one)
        const before = yield* valueOf(operator)
        const [lease = 0n] = yield* leasesIn(operator)
        yield* operator.put({ key: keyOfA, value: "nonsense", lease })
        yield* settle
        assert.deepEqual(yield* valueOf(operator), before)
        assert.deepEqual(statuses, [[0, "Registered"]])
      })
  )

  verify(
    "Registration.status.changes gives a late reader the newest status, and ends with Released",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const { registration, release } = yield* register(one)
        const slow: Array<string> = []
        yield* registration.status.changes.pipe(
          Stream.runForEach(({ _tag }) => Effect.delay(Effect.sync(() => slow.push(_tag)), "1 minute")),
          Effect.andThen(Effect.sync(() => slow.push("end"))),
          Effect.forkScoped({ startImmediately: true })
        )
        yield* elapse("1 second")
        yield* registration.drain
        yield* release
        yield* elapse("10 minutes")
        assert.deepEqual(slow, ["Registered", "Released", "end"])
      })
  )
})

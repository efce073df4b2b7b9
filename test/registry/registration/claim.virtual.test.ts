import { Clock, Effect, Exit } from "effect"
import type { RegisterOptions } from "../../../mod.ts"
import assert from "node:assert/strict"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { InstanceIdTaken } from "../../../src/registry/registration/RegistrationError.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { clockWith } from "../../harness/clock.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  elapse,
  failureOf,
  keyOfA,
  keysIn,
  leasesIn,
  orders,
  type Process,
  putInstance,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const elsewhere = { ...a, endpoints: ["http://10.0.0.9:80"] } as const

describe("claim", () => {
  verify(
    "a claim whose Txn is not answered is repeated after a third of the TTL (R9)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const fault of [FaultyEtcd.hung, FaultyEtcd.slow("2500 millis")]) {
          const one = yield* process()
          yield* one.faults.set([{ method: "txn", times: 1, fault }])
          const from = yield* Clock.currentTimeMillis
          const started = yield* start(register(one, { ...a, ttl: "6 seconds" }))
          yield* elapse("3 seconds")
          assert.deepEqual((yield* timesOf(one, "txn")).map((at) => at - Math.round(from)), [0, 2000])
          assert.equal(started.exit()?._tag, "Success")
          assert.equal(Object.keys(yield* keysIn(operator)).length, 1)
          yield* one.exit
        }
      }).pipe(withDraw(0))
  )

  for (const method of ["leaseGrant", "txn"] as const) {
    verify(
      `a registration gets in although each ${method} takes longer than a third of the TTL (R9)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process()
          yield* one.faults.set([{ method, fault: FaultyEtcd.slow("1500 millis") }])
          const started = yield* start(register(one, { ...a, ttl: "3 seconds" }))
          yield* elapse("5 seconds")
          assert.equal(started.exit()?._tag, "Success")
          assert.equal(Object.keys(yield* keysIn(operator)).length, 1)
          // One attempt of a second, and one of up to two.
          assert.deepEqual(yield* timesOf(one, method), [0, 1000])
        }).pipe(withDraw(0))
    )
  }

  verify(
    "claim restart with the same endpoints takes over at once, and the earlier run is Superseded (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const [old, young] = [yield* process(), yield* process()]
        const first = yield* register(old, { ...a, endpoints: ["http://10.0.0.1:80", "http://10.0.0.2:80"] })
        const failed = yield* start(first.registration.awaitFailure)
        const second = yield* register(young, { ...a, endpoints: ["http://10.0.0.2:80", "http://10.0.0.1:80"] })
        const { kvs: [kv] } = yield* operator.range({ key: keyOfA })
        const endpoints = ["http://10.0.0.2:80", "http://10.0.0.1:80"]
        const by = { leaseId: kv?.lease ?? 0n, revision: kv?.modRevision ?? 0n, endpoints }
        assert.deepEqual(yield* first.registration.status.get, RegistrationStatus.Superseded({ by }))
        assert.deepEqual(failureOf(failed), new InstanceIdTaken({ key: keyOfA, by }))
        assert.deepEqual(yield* leasesIn(operator), [by.leaseId])
        const heartbeats = yield* timesOf(old, "leaseKeepAlive")
        yield* elapse("5 minutes")
        assert.deepEqual(yield* timesOf(old, "leaseKeepAlive"), heartbeats)
        assert.equal(yield* statusOf(second), "Registered")
        yield* first.release
        assert.deepEqual(yield* keysIn(operator), { [keyOfA]: by.leaseId })
        assert.equal((yield* Effect.flip(first.registration.update({ weight: 2 })))._tag, "InstanceIdTaken")
      })
  )

  verify(
    "claim restart with other endpoints waits for the old lease, then takes the id (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const [old, young] = [yield* process(), yield* process()]
        yield* register(old, { ...a, ttl: "15 seconds" })
        yield* elapse("7 seconds")
        yield* old.faults.outage
        // startupTimeout does not include the wait for another process's lease.
        const second = yield* start(register(young, { ...elsewhere, startupTimeout: "1 second" }))
        yield* elapse(12_999)
        assert.equal(second.exit(), undefined)
        yield* elapse(1)
        assert.equal(second.exit()?._tag, "Success")
        const [lease] = yield* leasesIn(operator)
        assert.deepEqual(yield* keysIn(operator), { [keyOfA]: lease })
      })
  )

  verify(
    "claim restart with other endpoints fails with InstanceIdTaken if the holder keeps its lease (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const [old, young] = [yield* process(), yield* process()]
        const first = yield* register(old)
        const before = [yield* keysIn(operator), yield* leasesIn(operator)]
        const { kvs: [kv] } = yield* operator.range({ key: keyOfA })
        const second = yield* start(register(young, { ...elsewhere, ttl: "6 seconds" }))
        yield* elapse("6 seconds")
        assert.equal(second.exit(), undefined)
        // etcd may take up to a second to end an expired lease.
        yield* elapse("1 second")
        assert.deepEqual(
          failureOf(second),
          new InstanceIdTaken({
            key: keyOfA,
            by: { leaseId: kv?.lease ?? 0n, revision: kv?.modRevision ?? 0n, endpoints: a.endpoints }
          })
        )
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], before)
        assert.equal(yield* statusOf(first), "Registered")
      })
  )

  verify(
    "claim exclusive fails at once if the id exists, whatever the endpoints (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const [old, young] = [yield* process(), yield* process()]
        const first = yield* register(old, { ...a, claim: "exclusive" })
        const before = [yield* keysIn(operator), yield* leasesIn(operator)]
        assert.equal((yield* Effect.flip(register(young, { ...a, claim: "exclusive" })))._tag, "InstanceIdTaken")
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], before)
        yield* first.release
        assert.equal(yield* statusOf(yield* register(young, { ...a, claim: "exclusive" })), "Registered")
      })
  )

  verify("claim overwrite takes the id from any holder (R8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const [old, young] = [yield* process(), yield* process()]
      const first = yield* register(old)
      const second = yield* register(young, { ...elsewhere, claim: "overwrite" })
      assert.deepEqual([yield* statusOf(first), yield* statusOf(second)], ["Superseded", "Registered"])
      assert.equal((yield* leasesIn(operator)).length, 1)
    }))

  for (const claim of ["restart", "exclusive", "overwrite"] as const) {
    verify(`claim ${claim} never lets two concurrent claimants win (R8)`, () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const delay of [0, 1, 2, 3, 5]) {
          const [one, two] = [yield* process(), yield* process()]
          // Both have read nothing yet: their Txns reach etcd at nearly the same moment.
          yield* one.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.slow(3) }])
          yield* two.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.slow(delay) }])
          const options = { ...elsewhere, claim, ttl: "2 seconds" } as const
          const left = yield* start(register(one, { ...a, claim, ttl: "2 seconds" }))
          const right = yield* start(register(two, options))
          yield* elapse("10 seconds")
          const exits = [left.exit(), right.exit()]
          const winners = exits.flatMap((exit) => exit !== undefined && Exit.isSuccess(exit) ? [exit.value] : [])
          const statuses: Array<string> = []
          for (const winner of winners) statuses.push(yield* statusOf(winner))
          assert.equal(statuses.filter((status) => status === "Registered").length, 1, `${delay}: ${statuses}`)
          assert.equal((yield* leasesIn(operator)).length, 1)
          for (const { release } of winners) yield* release
          assert.deepEqual(yield* leasesIn(operator), [])
        }
      }))
  }

  verify(
    "a registration whose id was taken during its outage becomes Superseded and writes nothing (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        for (const claim of ["restart", "overwrite"] as const) {
          const [old, young] = [yield* process(), yield* process()]
          const first = yield* register(old, { ...a, claim })
          yield* old.faults.outage
          yield* elapse("20 seconds")
          const second = yield* register(young, { ...elsewhere, claim })
          const keys = yield* keysIn(operator)
          yield* old.faults.clear
          yield* elapse("10 seconds")
          assert.deepEqual([yield* statusOf(first), yield* statusOf(second)], ["Superseded", "Registered"])
          yield* elapse("1 minute")
          assert.deepEqual(yield* keysIn(operator), keys)
          yield* second.release
          yield* first.release
        }
      })
  )

  verify("a put of the key without a lease supersedes the owner (R8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const first = yield* register(yield* process())
      const { header } = yield* operator.put({ key: keyOfA, value: "{}" })
      yield* settle
      assert.deepEqual(
        yield* first.registration.status.get,
        RegistrationStatus.Superseded({ by: { leaseId: 0n, revision: header.revision } })
      )
      assert.deepEqual(yield* leasesIn(operator), [])
      yield* first.release
      assert.deepEqual(yield* keysIn(operator), { [keyOfA]: 0n })
    }))

  verify(
    "a registration takes its id back from its own older value in a restored snapshot (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process, replace } = yield* world
        const one = yield* process()
        const first = yield* register(one)
        for (let index = 0; index < 20; index++) yield* first.registration.update({ weight: index })
        yield* replace({ clusterId: 9n })
        yield* putInstance(operator, "a", { endpoints: a.endpoints })
        yield* elapse("2 seconds")
        assert.equal(yield* statusOf(first), "Registered")
        const lease = yield* first.registration.leaseId
        const [held] = Object.values(yield* keysIn(operator))
        assert.equal(lease._tag === "Some" && lease.value === held, true)
      })
  )

  /** A supervisor that starts the process anew, in 10 ms, whenever its registration has ended. */
  const supervised = (process: Process["registry"], options: RegisterOptions, claims: Array<number>) =>
    Effect.scoped(Effect.gen(function* () {
      const registration = yield* process.register(orders, options)
      claims.push(Math.round(yield* Clock.currentTimeMillis))
      yield* registration.awaitFailure
    })).pipe(Effect.ignore, Effect.andThen(Effect.sleep("10 millis")), Effect.forever)

  verify(
    "two processes with one id take it from each other at most once per TTL, and log it (R8)",
    (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const claims: Array<number> = []
        for (const { registry } of [yield* process(), yield* process()]) {
          yield* Effect.forkScoped(supervised(registry, { ...a, ttl: "5 seconds" }, claims))
          yield* elapse("100 millis")
        }
        yield* elapse("60 seconds")
        // The first takeover is at once. Lease ids have the time in whole seconds.
        assert.ok(claims.length >= 8 && claims.length <= 14, `${claims}`)
        assert.ok(
          log.some((line) => /^Warn "\/services\/orders\/a" has just been taken over; waiting up to \d+ s/.test(line)),
          log.join("\n")
        )
      })
  )

  verify(
    "a process that is restarted within a TTL of its first start takes its id over at once (R8)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const killed = yield* process()
        const first = yield* register(killed)
        yield* first.registration.update({ weight: 3 })
        yield* killed.faults.outage
        yield* elapse("3 seconds")
        const second = yield* register(yield* process())
        assert.equal(yield* statusOf(second), "Registered")
        assert.deepEqual(log.filter((line) => line.includes("has just been taken over")), [])
        assert.equal((yield* leasesIn(operator)).length, 2)
      })
  )

  verify(
    "a wait for another holder ends on the monotonic clock, whatever the wall clock does (R8)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const inner = yield* Clock.Clock
        let jump = 0
        const clock = clockWith(inner, {
          currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe() + jump,
          currentTimeMillis: Effect.map(inner.currentTimeMillis, (now) => now + jump)
        })
        yield* register(yield* process())
        const one = yield* process().pipe(Effect.provideService(Clock.Clock, clock))
        const second = yield* start(
          register(one, { ...elsewhere, ttl: "6 seconds", startupTimeout: "1 second" }).pipe(
            Effect.provideService(Clock.Clock, clock)
          )
        )
        yield* elapse("1 second")
        jump = -3_600_000
        // A claim that starts over after a broken wait reads the time again.
        yield* one.faults.breakWatches()
        yield* elapse("6 seconds")
        assert.equal(failureOf(second)?._tag, "InstanceIdTaken")
      })
  )
})

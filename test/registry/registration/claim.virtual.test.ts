import { Effect, Exit } from "effect"
import assert from "node:assert/strict"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { InstanceIdTaken } from "../../../src/registry/registration/RegistrationError.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  elapse,
  failureOf,
  keyOfA,
  keysIn,
  leasesIn,
  putInstance,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  verify,
  world
} from "../../harness/virtual.ts"

const elsewhere = { ...a, endpoints: ["http://10.0.0.9:80"] } as const

describe("claim", () => {
  verify(
    "R8: restart with the same endpoints takes over at once; the earlier run is Superseded and does not fight",
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
    "R8: restart with other endpoints waits for the old lease to end, and then takes the id",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const [old, young] = [yield* process(), yield* process()]
        yield* register(old, { ...a, ttl: "15 seconds" })
        yield* elapse("7 seconds")
        yield* old.faults.outage
        // startupTimeout does not count while another process's lease is waited for.
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
    "R8: restart with other endpoints fails with InstanceIdTaken when the old lease is still kept after the TTL",
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
        // etcd may take up to a second to end a lease that has run out.
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
    "R8: exclusive only creates: it fails at once, whatever the endpoints, and succeeds when the id is free",
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

  verify("R8: overwrite puts, whoever holds the id", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const [old, young] = [yield* process(), yield* process()]
      const first = yield* register(old)
      const second = yield* register(young, { ...elsewhere, claim: "overwrite" })
      assert.deepEqual([yield* statusOf(first), yield* statusOf(second)], ["Superseded", "Registered"])
      assert.equal((yield* leasesIn(operator)).length, 1)
    }))

  for (const claim of ["restart", "exclusive", "overwrite"] as const) {
    verify(`R8: of two claimants at the same moment never both win (${claim})`, () =>
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
    "R8: an owner whose id was taken while it was away becomes Superseded when it is back, and leaves it alone",
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

  verify("R8: a put of the key without any lease supersedes the owner as well", () =>
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
    "R8: an instance of an older snapshot that etcd was restored to is taken back, not yielded to",
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
})

import { Effect, Schedule } from "effect"
import assert from "node:assert/strict"
import { kratos } from "../../../src/interop/mod.ts"
import { Service } from "../../../mod.ts"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import type { LeaseId } from "../../../src/etcd/messages/lease.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  elapse,
  failureOf,
  keyOfA,
  keysIn,
  leasesIn,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  valueOf,
  verify,
  world
} from "../../harness/virtual.ts"

interface Value {
  readonly status: string
  readonly weight: number
  readonly version?: string
  readonly metadata?: Readonly<Record<string, string>>
}

/** Edits the JSON value of a key and keeps its lease, as `etcd-discovery drain` does. */
const edit = Effect.fnUntraced(function* (
  etcd: Etcd,
  patch: Readonly<Record<string, unknown>>,
  key: string = keyOfA
): Effect.fn.Return<void, EtcdError> {
  const { kvs: [kv] } = yield* etcd.range({ key })
  assert.ok(kv)
  const value = JSON.stringify({ ...JSON.parse(new TextDecoder().decode(kv.value)), ...patch })
  const { succeeded } = yield* etcd.txn({
    compare: [{ target: "mod", key, result: "equal", value: kv.modRevision }],
    then: [{ _tag: "Put", request: { key, value, lease: kv.lease } }]
  })
  assert.ok(succeeded)
})

const shown = (etcd: Etcd) =>
  Effect.map(valueOf(etcd) as Effect.Effect<Value>, ({ status, weight }) => ({ status, weight }))

describe("an operator's change of a registered instance", () => {
  verify(
    "draining is adopted at once, without another write, and lasts until the operator writes up (R12)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const kept = yield* register(one)
        yield* edit(operator, { status: "draining" })
        yield* settle
        assert.equal(yield* statusOf(kept), "Draining")
        assert.equal(kept.registration.instance.status, "draining")
        yield* elapse("1 minute")
        assert.deepEqual(yield* shown(operator), { status: "draining", weight: 1 })
        assert.equal((yield* timesOf(one, "txn")).length, 1)
        assert.ok(log.some((line) => line === `Info an operator changed "${keyOfA}": status draining, weight 1`))
        yield* edit(operator, { status: "up" })
        yield* settle
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 1 })
        assert.equal((yield* timesOf(one, "txn")).length, 1)
      })
  )

  verify(
    "a weight is adopted, and the newer of the operator's and the owner's counts (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { registration } = yield* register(yield* process())
        yield* edit(operator, { weight: 7 })
        yield* settle
        assert.equal(registration.instance.weight, 7)
        yield* registration.update({ version: "2" })
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 7 })
        yield* registration.update({ weight: 3 })
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 3 })
        yield* edit(operator, { weight: 0 })
        yield* settle
        assert.equal(registration.instance.weight, 0)
      })
  )

  verify(
    "an override lasts across the loss of the lease and of the key, but not across a restart (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const kept = yield* register(yield* process())
        yield* edit(operator, { status: "draining", weight: 5 })
        yield* settle
        const [lease = 0n] = yield* leasesIn(operator)
        yield* operator.leaseRevoke(lease)
        yield* elapse("1 second")
        assert.equal(yield* statusOf(kept), "Draining")
        assert.deepEqual(yield* shown(operator), { status: "draining", weight: 5 })
        yield* operator.deleteRange({ key: keyOfA })
        yield* elapse("1 second")
        assert.deepEqual(yield* shown(operator), { status: "draining", weight: 5 })
        yield* register(yield* process(), { ...a, claim: "overwrite" })
        yield* elapse("20 seconds")
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 1 })
      })
  )

  verify("starting and down are ignored, and every other member is put back (R12)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const { statuses } = yield* register(yield* process(), { ...a, metadata: { shard: "7" } })
      const before = yield* valueOf(operator)
      const changes: ReadonlyArray<Readonly<Record<string, unknown>>> = [
        { status: "down" },
        { status: "starting" },
        { metadata: { shard: "8" } }
      ]
      for (const patch of changes) {
        yield* edit(operator, patch)
        yield* settle
        assert.deepEqual(yield* valueOf(operator), before)
      }
      yield* edit(operator, { weight: 4, metadata: {}, endpoints: ["http://evil:1"] })
      yield* settle
      assert.deepEqual(yield* valueOf(operator), { ...(before as Value), weight: 4 })
      assert.deepEqual(statuses, [[0, "Registered"]])
    }))

  verify(
    "draining goes over health, which counts again once the operator writes up (R12, R11)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        let fails = false
        yield* register(yield* process(), {
          ...a,
          health: Effect.suspend(() => fails ? Effect.fail("unhealthy") : Effect.void),
          healthEvery: "1 second",
          healthThreshold: 1
        })
        yield* elapse("1 second")
        yield* edit(operator, { status: "draining" })
        fails = true
        yield* elapse("5 seconds")
        assert.equal((yield* shown(operator)).status, "draining")
        yield* edit(operator, { status: "up" })
        yield* settle
        assert.equal((yield* shown(operator)).status, "down")
        fails = false
        yield* elapse("2 seconds")
        assert.equal((yield* shown(operator)).status, "up")
      })
  )

  /** The operator's edit reaches etcd just before the next Txn of the owner. */
  const before = (patch: Readonly<Record<string, unknown>>) => FaultyEtcd.meanwhile((etcd) => edit(etcd, patch))

  verify("an update that meets an operator's edit adopts it and is applied again (R12)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* register(one)
      yield* one.faults.silenceWatches
      yield* one.faults.set([{ method: "txn", nth: 1, fault: before({ status: "draining", weight: 9 }) }])
      yield* kept.registration.update({ version: "2" })
      assert.deepEqual(yield* shown(operator), { status: "draining", weight: 9 })
      assert.equal((yield* valueOf(operator) as Effect.Effect<Value>).version, "2")
      assert.equal(yield* statusOf(kept), "Draining")
      yield* one.faults.set([{ method: "txn", nth: 1, fault: before({ weight: 4 }) }])
      yield* kept.registration.update({ weight: 6 })
      assert.equal((yield* shown(operator)).weight, 6)
    }))

  verify(
    "an update that fails although it was applied is put back, not taken for an operator's edit (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { registration } = yield* register(one, { ...a, retry: Schedule.recurs(0) })
        yield* one.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.answerLost }])
        const updated = yield* start(registration.update({ weight: 5 }))
        yield* elapse("5 seconds")
        assert.equal(failureOf(updated)?._tag, "RegistrationRefused")
        assert.equal(registration.instance.weight, 1)
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 1 })
      })
  )

  verify(
    "an update that is refused after it met an operator's edit keeps that edit (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const { registration } = yield* register(one)
        yield* one.faults.silenceWatches
        yield* one.faults.set([
          { method: "txn", nth: 1, fault: before({ weight: 9 }) },
          { method: "txn", nth: 2, fault: FaultyEtcd.permissionDenied }
        ])
        const failure = yield* Effect.flip(registration.update({ weight: 2 }))
        assert.equal(failure._tag, "RegistrationRefused")
        assert.equal(registration.instance.weight, 9)
        yield* registration.update({ version: "3" })
        assert.deepEqual(yield* shown(operator), { status: "up", weight: 9 })
      })
  )

  verify(
    "two programs that fight over a member cause at most one write a second after a burst (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* register(one)
        const written = (yield* timesOf(one, "txn")).length
        for (let edits = 0; edits < 1000; edits++) {
          yield* edit(operator, { version: `v${edits}` })
          yield* elapse("10 millis")
        }
        const writes = (yield* timesOf(one, "txn")).length - written
        assert.ok(writes >= 5 && writes <= 17, `${writes} writes in 10 s`)
        yield* elapse("2 seconds")
        assert.equal((yield* valueOf(operator) as Effect.Effect<Value>).version, undefined)
      })
  )

  verify("a weight in kratos' format is adopted (R12)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const registration = yield* one.registry.register(Service.make("greeter", { codec: kratos }), {
        id: "g",
        endpoints: ["http://10.0.0.1:80"]
      })
      yield* edit(operator, { metadata: { weight: "7" } }, registration.key)
      yield* settle
      assert.equal(registration.instance.weight, 7)
      const refused = yield* start(registration.update({ status: "draining" }))
      assert.equal(failureOf(refused)?._tag, "InvalidOption")
    }))

  verify("a put without the lease is no operator's edit: the owner is superseded (R8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const kept = yield* register(yield* process())
      yield* operator.put({ key: keyOfA, value: `{"endpoints":["http://10.0.0.1:80"],"status":"draining"}` })
      yield* settle
      assert.equal(yield* statusOf(kept), "Superseded")
      const none: LeaseId = 0n
      assert.deepEqual(yield* keysIn(operator), { [keyOfA]: none })
    }))
})

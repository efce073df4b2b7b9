import { Effect } from "effect"
import assert from "node:assert/strict"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  elapse,
  type Kept,
  keysIn,
  type Process,
  register,
  settle,
  statusOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const folder = "/services/orders/"

const registerMany = (one: Process, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => `i${String(index).padStart(2, "0")}`),
    (id) => register(one, { id, endpoints: ["http://10.0.0.1:80"] })
  )

const statuses = (all: ReadonlyArray<Kept>) => Effect.forEach(all, statusOf)
const changesOf = ({ statuses }: Kept) => statuses.map(([, tag]) => tag)

describe("the watch of the own key", () => {
  verify(
    "the first eight keys have a watch each, the others share one, and a deleted key comes back (R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, 12)
        const watched = (yield* one.faults.calls("watch")).map(({ key = "" }) => key)
        assert.deepEqual(watched.toSorted(), [folder, ...all.slice(0, 8).map(({ registration }) => registration.key)])
        yield* operator.deleteRange({ key: `${folder}i03` })
        yield* operator.deleteRange({ key: `${folder}i11` })
        // One step of the backoff, and a millisecond for the other one that comes back.
        yield* elapse(101)
        assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
        for (const [index, kept] of all.entries()) {
          const lost = index === 3 || index === 11
          assert.deepEqual(changesOf(kept), lost ? ["Registered", "Recovering", "Registered"] : ["Registered"])
        }
      }).pipe(withDraw(1))
  )

  verify(
    "a registration whose key another process rewrites is Superseded, and no other one is (R8, R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, 12)
        const { id } = yield* operator.leaseGrant({ ttl: 60 })
        yield* operator.put({ key: `${folder}i10`, value: "{}", lease: id })
        yield* elapse(1)
        assert.deepEqual(
          yield* statuses(all),
          all.map((_, index) => index === 10 ? "Superseded" : "Registered")
        )
      })
  )

  verify(
    "a key that was deleted while its watch was broken and history was compacted comes back (R3, R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, 12)
        yield* one.faults.set([{ method: "watch", fault: FaultyEtcd.unavailable }])
        yield* one.faults.breakWatches()
        yield* operator.deleteRange({ key: `${folder}i09` })
        const { header } = yield* operator.status
        yield* operator.compact({ revision: header.revision })
        yield* one.faults.set([])
        yield* elapse("1 second")
        assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
        assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
        assert.deepEqual(all.filter((kept) => changesOf(kept).length > 1).length, 1)
      }).pipe(withDraw(1))
  )

  verify("all registrations of a process come back after etcd's data was wiped (R3)", () =>
    Effect.gen(function* () {
      const { operator, process, replace } = yield* world
      const one = yield* process()
      const all = yield* registerMany(one, 12)
      yield* elapse("1 second")
      yield* replace({ clusterId: 7n })
      yield* elapse("1 second")
      assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
      assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
      // The new history has lower revisions than the claims. Its events count nevertheless.
      yield* operator.deleteRange({ key: `${folder}i11` })
      yield* elapse("1 second")
      assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
    }).pipe(withDraw(1)))

  verify("release ends the watch of the own key (D11)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      const [first, second] = yield* registerMany(one, 2)
      yield* first?.release ?? Effect.void
      assert.deepEqual((yield* one.faults.openWatches).map(({ key }) => key), [second?.registration.key])
    }))

  verify(
    "each key has its own watch where the service may not be watched as a whole (R10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "watch", key: folder, fault: FaultyEtcd.permissionDenied }])
        const all = yield* registerMany(one, 11)
        yield* settle
        yield* operator.deleteRange({ key: `${folder}i09` })
        yield* elapse("1 second")
        const watched = (yield* one.faults.openWatches).map(({ key = "" }) => key)
        assert.deepEqual(watched.toSorted(), all.map(({ registration }) => registration.key))
        assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
        assert.equal(Object.keys(yield* keysIn(operator)).length, 11)
      }).pipe(withDraw(1))
  )

  verify("a wipe costs one list of the shared watch, and no read of each key (R3)", () =>
    Effect.gen(function* () {
      const { process, replace } = yield* world
      const one = yield* process()
      const all = yield* registerMany(one, 40)
      yield* elapse("1 second")
      const before = (yield* one.faults.calls("range")).length
      yield* replace({ clusterId: 7n })
      yield* elapse("2 seconds")
      assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
      // A list for each of the eight single watches, and one for all the others.
      assert.equal((yield* one.faults.calls("range")).length - before, 9)
    }).pipe(withDraw(1)))

  verify(
    "the shared watch ends with the last key that needs it, and the next key opens another (D11)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, 10)
        for (const kept of all.slice(8)) yield* kept.release
        yield* settle
        assert.equal((yield* one.faults.openWatches).some(({ key }) => key === folder), false)
        const late = yield* register(one, { id: "late", endpoints: ["http://10.0.0.1:80"] })
        assert.equal((yield* one.faults.openWatches).some(({ key }) => key === folder), true)
        yield* operator.deleteRange({ key: `${folder}late` })
        yield* elapse("1 second")
        assert.deepEqual(changesOf(late), ["Registered", "Recovering", "Registered"])
      }).pipe(withDraw(1))
  )
})

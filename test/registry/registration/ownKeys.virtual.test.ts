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
  statusOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const folder = "/services/orders/"
const few = 8

const registerMany = (one: Process, count: number, from: number = 0) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => `i${String(from + index).padStart(2, "0")}`),
    (id) => register(one, { id, endpoints: ["http://10.0.0.1:80"] })
  )

const watched = (one: Process) =>
  Effect.map(one.faults.calls("watch"), (calls) => calls.map(({ key = "" }) => key.slice(folder.length)))

const statuses = (all: ReadonlyArray<Kept>) => Effect.forEach(all, statusOf)
const changesOf = ({ statuses }: Kept) => statuses.map(([, tag]) => tag)

describe("the keys of many registrations of one service", () => {
  verify(
    "R10: the first few are watched one by one, and one watch serves all the others",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, 20)
        assert.deepEqual(yield* watched(one), ["i00", "i01", "i02", "i03", "i04", "i05", "i06", "i07", ""])
        yield* operator.deleteRange({ key: `${folder}i03` })
        yield* operator.deleteRange({ key: `${folder}i15` })
        // One step of the backoff, and a millisecond for each other that comes back.
        yield* elapse(101)
        assert.deepEqual(Object.keys(yield* keysIn(operator)).length, 20)
        for (const [index, kept] of all.entries()) {
          const lost = index === 3 || index === 15
          assert.deepEqual(
            changesOf(kept).filter((tag) => tag !== "Recovering"),
            lost ? ["Registered", "Registered"] : ["Registered"],
            `${index}`
          )
        }
      }).pipe(withDraw(1))
  )

  verify("R10: a key that another process rewrites is Superseded, and no other", () =>
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
    }))

  verify(
    "R10: what was lost while the shared watch was broken and history compacted is back when it has listed",
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

  verify("R3: after the data was wiped all of them are back", () =>
    Effect.gen(function* () {
      const { operator, process, replace } = yield* world
      const one = yield* process()
      const all = yield* registerMany(one, 12)
      yield* elapse("1 second")
      yield* replace({ clusterId: 7n })
      yield* elapse("1 second")
      assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
      assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
      // The new history is younger than the claims; its events count all the same.
      yield* operator.deleteRange({ key: `${folder}i11` })
      yield* elapse("1 second")
      assert.equal(Object.keys(yield* keysIn(operator)).length, 12)
    }).pipe(withDraw(1)))

  verify(
    "R10: where the service may not be watched as a whole, each key is watched alone",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "watch", key: folder, fault: FaultyEtcd.permissionDenied }])
        const all = yield* registerMany(one, few + 3)
        yield* operator.deleteRange({ key: `${folder}i09` })
        yield* elapse(100)
        assert.deepEqual((yield* watched(one)).filter((key) => key !== "").toSorted().slice(few), [
          "i08",
          "i09",
          "i09",
          "i10"
        ])
        assert.deepEqual(yield* statuses(all), all.map(() => "Registered"))
        assert.equal(Object.keys(yield* keysIn(operator)).length, few + 3)
      }).pipe(withDraw(1))
  )

  verify(
    "D11: the shared watch ends with the last that needs it, and the next one opens another",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerMany(one, few + 2)
        for (const kept of all.slice(few)) yield* kept.release
        assert.equal((yield* watched(one)).filter((key) => key === "").length, 1)
        const [last] = yield* registerMany(one, 1, 50)
        assert.equal((yield* watched(one)).filter((key) => key === "").length, 2)
        yield* operator.deleteRange({ key: `${folder}i50` })
        yield* elapse(100)
        assert.ok(last !== undefined)
        assert.deepEqual(changesOf(last).filter((tag) => tag !== "Recovering"), ["Registered", "Registered"])
      }).pipe(withDraw(1))
  )
})

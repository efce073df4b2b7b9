import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  elapse,
  keyOfA,
  keysIn,
  leasesIn,
  type Process,
  putInstance,
  register,
  settle,
  start,
  statusOf,
  timesOf,
  valueOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const methodsOf = ({ faults }: Process) =>
  Effect.map(faults.calls(), (calls) => calls.map(({ method }) => method).filter((method) => method !== "watch"))

/** A registration whose key is deleted after its early claim, before the answer to its grant. `others` registered before. */
const deletedEarly = Effect.fnUntraced(function* (others: number, fault: FaultyEtcd.Fault) {
  const { operator, process } = yield* world
  const one = yield* process()
  yield* Effect.forEach(
    Array.from({ length: others }, (_, index) => `i${index}`),
    (id) => register(one, { ...a, id })
  )
  yield* one.faults.set([{ method: "leaseGrant", times: 1, fault }])
  const late = yield* start(register(one, { ...a, id: "late" }))
  assert.equal(Object.keys(yield* keysIn(operator)).length, others + 1)
  yield* operator.deleteRange({ key: "/services/orders/late" })
  return { late, one, operator }
})

describe("a claim that is sent with the grant of its lease", () => {
  verify(
    "registerService takes as long as the slower of grant and claim, not as long as both",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([
          { method: "leaseGrant", fault: FaultyEtcd.slow("100 millis") },
          { method: "txn", fault: FaultyEtcd.slow("120 millis") }
        ])
        const started = yield* start(register(one))
        yield* elapse(119)
        assert.deepEqual([started.exit(), yield* keysIn(operator)], [undefined, {}])
        yield* elapse(1)
        assert.equal(started.exit()?._tag, "Success")
        assert.deepEqual([yield* timesOf(one, "leaseGrant"), yield* timesOf(one, "txn")], [[0], [0]])
      })
  )

  verify("a claim that etcd handles before the grant is sent again after it", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ method: "leaseGrant", fault: FaultyEtcd.slow("100 millis") }])
      const started = yield* start(register(one))
      yield* elapse(100)
      assert.equal(started.exit()?._tag, "Success")
      assert.deepEqual(yield* timesOf(one, "txn"), [0, 100])
      assert.deepEqual(Object.values(yield* keysIn(operator)), yield* leasesIn(operator))
    }))

  verify(
    "a claim that fails while the lease is granted is sent again at once, without a backoff",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        for (const fault of [FaultyEtcd.unavailable, FaultyEtcd.noLeader]) {
          const one = yield* process()
          yield* one.faults.set([{ method: "txn", times: 1, fault }])
          const kept = yield* register(one)
          assert.deepEqual([fault, yield* statusOf(kept)], [fault, "Registered"])
          assert.deepEqual(yield* methodsOf(one), ["leaseGrant", "txn", "txn"])
          yield* one.exit
        }
      })
  )

  verify(
    "one of the registrations that start at the same time claims early, the others after their grants",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set((["leaseGrant", "txn"] as const).map((method) => ({
          method,
          fault: FaultyEtcd.slow("100 millis")
        })))
        const started = yield* start(
          Effect.forEach(["a", "b", "c"], (id) => register(one, { ...a, id }), { concurrency: "unbounded" })
        )
        yield* elapse(200)
        assert.equal(started.exit()?._tag, "Success")
        assert.deepEqual([yield* timesOf(one, "leaseGrant"), yield* timesOf(one, "txn")], [[0, 0, 0], [0, 100, 100]])
        assert.equal(Object.keys(yield* keysIn(operator)).length, 3)
      })
  )

  verify(
    "a registration claims early after others were interrupted at any step of their start",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const later = FaultyEtcd.meanwhile(() => Effect.repeat(Effect.yieldNow, { times: 9 }))
        yield* one.faults.set((["leaseGrant", "txn"] as const).map((method) => ({ method, fault: later })))
        for (let yields = 0; yields < 40; yields++) {
          const fiber = yield* Effect.forkScoped(Effect.scoped(register(one)), { startImmediately: true })
          if (yields > 0) yield* Effect.repeat(Effect.yieldNow, { times: yields - 1 })
          yield* Fiber.interrupt(fiber)
          yield* settle
        }
        const slow = FaultyEtcd.slow("100 millis")
        yield* one.faults.set((["leaseGrant", "txn"] as const).map((method) => ({ method, fault: slow })))
        const started = yield* start(register(one))
        yield* elapse(100)
        assert.equal(started.exit()?._tag, "Success")
      })
  )

  verify("an early claim finds the holder of the key: no Txn is sent in vain (R8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      yield* putInstance(operator, "a", { endpoints: a.endpoints })
      const one = yield* process()
      yield* register(one)
      assert.deepEqual(yield* methodsOf(one), ["leaseGrant", "txn", "txn"])
    }))

  verify("a claim after a loss waits for its grant, and for its turn (R4)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* register(one)
      yield* one.faults.set([{ method: "leaseGrant", fault: FaultyEtcd.slow("100 millis") }])
      yield* operator.deleteRange({ key: keyOfA })
      yield* elapse("1 second")
      assert.deepEqual(yield* methodsOf(one), ["leaseGrant", "txn", "leaseGrant", "txn", "leaseRevoke"])
    }).pipe(withDraw(0)))

  verify(
    "a result of the health check while the early claim is in flight is in etcd (R11)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "txn", times: 1, fault: FaultyEtcd.slow("100 millis") }])
        yield* register(one, { ...a, health: Effect.sleep("50 millis"), startup: "background" })
        yield* elapse(100)
        assert.equal((yield* valueOf(operator) as Effect.Effect<{ readonly status: string }>).status, "up")
      })
  )

  verify("a change of the instance while the early claim is in flight is in etcd (R2)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ method: "txn", times: 1, fault: FaultyEtcd.slow("100 millis") }])
      const kept = yield* register(one, { ...a, startup: "background" })
      const updated = yield* start(kept.registration.update({ weight: 7 }))
      yield* elapse(100)
      assert.equal(updated.exit()?._tag, "Success")
      assert.deepEqual((yield* valueOf(operator) as Effect.Effect<{ readonly weight: number }>).weight, 7)
    }))

  verify("a lease has heartbeats while the early claim is not answered (R9)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ method: "txn", times: 1, fault: FaultyEtcd.hung }])
      yield* start(register(one, { ...a, heartbeat: "1 second" }))
      yield* elapse(2500)
      assert.deepEqual([yield* timesOf(one, "leaseKeepAlive"), yield* timesOf(one, "txn")], [[1000, 2000], [0]])
    }))

  verify(
    "an early claim that was answered before its grant was repeated does not count (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const holder = yield* putInstance(operator, "a")
        const one = yield* process()
        yield* one.faults.set([{ method: "leaseGrant", times: 1, fault: FaultyEtcd.answerLost }])
        const started = yield* start(register(one, { ...a, claim: "exclusive" }))
        yield* operator.leaseRevoke(holder)
        yield* elapse("10 seconds")
        assert.equal(started.exit()?._tag, "Success")
      })
  )

  verify(
    "a key that was deleted after its early claim comes back, if the watch of the service has passed that (R3, R10)",
    () =>
      Effect.gen(function* () {
        // etcd grants the lease at once and answers a second later.
        const lateAnswer = FaultyEtcd.meanwhile((etcd, { leaseId: id = 0n }) =>
          Effect.andThen(etcd.leaseGrant({ id, ttl: 15 }), Effect.sleep("1 second"))
        )
        const { late, operator } = yield* deletedEarly(9, lateAnswer)
        yield* elapse("10 seconds")
        assert.equal(late.exit()?._tag, "Success")
        assert.equal(Object.keys(yield* keysIn(operator)).length, 10)
      }).pipe(withDraw(0))
  )

  verify(
    "a key that was deleted between its early claim and the late answer to its grant comes back (R3, R10)",
    () =>
      Effect.gen(function* () {
        const { late, one, operator } = yield* deletedEarly(8, FaultyEtcd.answerLost)
        // The watch that late would share begins after the deletion.
        yield* register(one, { ...a, id: "other" })
        yield* elapse("10 seconds")
        assert.equal(late.exit()?._tag, "Success")
        assert.equal(Object.keys(yield* keysIn(operator)).length, 10)
      }).pipe(withDraw(0))
  )
})

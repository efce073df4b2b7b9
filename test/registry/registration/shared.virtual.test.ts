import { Duration, Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import type { RegisterOptions } from "../../../mod.ts"
import { EtcdError, Unavailable } from "../../../src/etcd/EtcdError.ts"
import { Timers } from "../../../src/internal/time/Timers.ts"
import { SharedLeases } from "../../../src/registry/registration/SharedLeases.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  collect,
  elapse,
  failureOf,
  type Kept,
  keysIn,
  leasesIn,
  orders,
  type Process,
  putInstance,
  register,
  start,
  statusOf,
  timesOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const shared = (id: string, options: Partial<RegisterOptions> = {}): RegisterOptions => ({
  id,
  endpoints: [`http://${id}:80`],
  lease: "shared",
  ...options
})

const keyOf = (id: string) => `/services/orders/${id}`

const registerAll = (one: Process, ids: ReadonlyArray<string>) => Effect.forEach(ids, (id) => register(one, shared(id)))

const statuses = (all: ReadonlyArray<Kept>) => Effect.forEach(all, statusOf)

describe(`registrations with lease: "shared"`, () => {
  verify("shared registrations have one lease, one grant and one heartbeat (R13)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* registerAll(one, ["a", "b", "c"])
      yield* register(one, { id: "own", endpoints: ["http://own:80"] })
      yield* register(one, shared("d", { ttl: "30 seconds" }))
      yield* register(yield* process(), shared("e"))
      const keys = yield* keysIn(operator)
      assert.equal(new Set([keys[keyOf("a")], keys[keyOf("b")], keys[keyOf("c")]]).size, 1)
      assert.equal(new Set(Object.values(keys)).size, 4)
      assert.equal((yield* timesOf(one, "leaseGrant")).length, 3)
      yield* elapse("1 minute")
      // 12 of each lease of 15 s, and 6 of the one of 30 s.
      assert.equal((yield* timesOf(one, "leaseKeepAlive")).length, 12 + 12 + 6)
    }))

  verify(
    "release of a shared registration deletes only its own key, and the last one revokes (R13, R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const [a, b, c] = yield* registerAll(one, ["a", "b", "c"])
        yield* a?.release ?? Effect.void
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("b"), keyOf("c")])
        assert.deepEqual(yield* timesOf(one, "leaseRevoke"), [])
        yield* b?.release ?? Effect.void
        yield* elapse("1 minute")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("c")])
        yield* c?.release ?? Effect.void
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        assert.equal((yield* timesOf(one, "leaseRevoke")).length, 1)
      })
  )

  verify(
    "release of a shared registration deletes a key that an operator has edited, and no key of another lease (R13, R5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const [a, b] = yield* registerAll(one, ["a", "b", "c"])
        yield* one.faults.silenceWatches
        const lease = (yield* keysIn(operator))[keyOf("a")] ?? 0n
        yield* operator.put({ key: keyOf("a"), value: "{}", lease })
        yield* a?.release ?? Effect.void
        const other = yield* putInstance(operator, "b")
        yield* b?.release ?? Effect.void
        assert.deepEqual(yield* keysIn(operator), { [keyOf("b")]: other, [keyOf("c")]: lease })
      })
  )

  verify("a superseded shared registration leaves the others registered (R13, R8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const all = yield* registerAll(yield* process(), ["a", "b", "c"])
      const other = yield* putInstance(operator, "b")
      yield* elapse("1 minute")
      assert.deepEqual(yield* statuses(all), ["Registered", "Superseded", "Registered"])
      assert.equal((yield* keysIn(operator))[keyOf("b")], other)
      assert.equal(Object.keys(yield* keysIn(operator)).length, 3)
    }))

  verify(
    "shared registrations come back together on a new lease after a loss (R13, R3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerAll(one, ["a", "b", "c"])
        const [lease = 0n] = yield* leasesIn(operator)
        yield* operator.leaseRevoke(lease)
        yield* elapse("2 seconds")
        assert.deepEqual(yield* statuses(all), ["Registered", "Registered", "Registered"])
        const [next, ...more] = yield* leasesIn(operator)
        assert.deepEqual(more, [])
        assert.notEqual(next, lease)
        assert.deepEqual(new Set(Object.values(yield* keysIn(operator))), new Set([next]))
        yield* one.faults.outage
        yield* elapse("1 minute")
        assert.deepEqual(yield* statuses(all), ["Recovering", "Recovering", "Recovering"])
        yield* one.faults.clear
        yield* elapse("7 seconds")
        assert.deepEqual(yield* statuses(all), ["Registered", "Registered", "Registered"])
        assert.equal((yield* leasesIn(operator)).length, 1)
        assert.equal(Object.keys(yield* keysIn(operator)).length, 3)
      }).pipe(withDraw(1))
  )

  verify(
    "a heartbeat that etcd refuses moves the permitted keys to a new lease without a gap (R13, R2)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const all = yield* registerAll(one, ["a", "b", "c"])
        // The role for b is revoked: etcd refuses the lease's heartbeats and writes of b.
        yield* one.faults.set([
          { method: "leaseKeepAlive", nth: 1, fault: FaultyEtcd.permissionDenied },
          { method: "leaseRevoke", fault: FaultyEtcd.permissionDenied },
          { method: "txn", key: keyOf("b"), fault: FaultyEtcd.permissionDenied }
        ])
        const deletions = yield* collect(operator.watch({ key: keyOf("a"), filters: ["noPut"] }))
        yield* elapse("8 seconds")
        assert.deepEqual(yield* statuses(all), ["Registered", "Recovering", "Registered"])
        yield* elapse("1 minute")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("a"), keyOf("c")])
        assert.deepEqual(deletions.seen.filter(({ _tag }) => _tag === "Events"), [])
        yield* one.faults.clear
        yield* elapse("6 seconds")
        assert.deepEqual(yield* statuses(all), ["Registered", "Registered", "Registered"])
      }).pipe(withDraw(0.5))
  )

  verify(
    "a claim that is refused beside other keys is tried on a lease of its own before it fails (R13)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const [a] = yield* registerAll(one, ["a"])
        yield* one.faults.set([{ method: "txn", key: keyOf("b"), nth: 1, fault: FaultyEtcd.permissionDenied }])
        const second = yield* start(register(one, shared("b")))
        yield* elapse("3 seconds")
        assert.equal(second.exit()?._tag, "Success")
        assert.equal(new Set(Object.values(yield* keysIn(operator))).size, 2)
        yield* one.faults.set([{ method: "txn", key: keyOf("c"), fault: FaultyEtcd.permissionDenied }])
        const third = yield* start(register(one, shared("c")))
        yield* elapse("5 seconds")
        const failure = failureOf(third)
        assert.ok(failure?._tag === "RegistrationRefused")
        assert.ok(a !== undefined)
        assert.equal(yield* statusOf(a), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("a"), keyOf("b")])
      })
  )

  verify(
    "registerService refuses the same shared key twice until the first one is released (R13)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const [first] = yield* registerAll(one, ["a"])
        const error = yield* Effect.flip(register(one, shared("a")))
        assert.ok(error._tag === "InvalidOption" && error.option === "id")
        yield* first?.release ?? Effect.void
        yield* registerAll(one, ["a"])
      })
  )

  verify(
    "an interrupted first registration does not take the lease of the others (R6, R13)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "leaseGrant", nth: 1, fault: FaultyEtcd.slow("1 second") }])
        const first = yield* start(Effect.scoped(Effect.andThen(register(one, shared("a")), Effect.never)))
        const second = yield* start(register(one, shared("b")))
        yield* start(first.interrupt)
        yield* elapse("5 seconds")
        assert.equal(second.exit()?._tag, "Success")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("b")])
        assert.equal((yield* leasesIn(operator)).length, 1)
      })
  )

  verify("an interrupted claim leaves no key under the lease of the others (R6, R13)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* registerAll(one, ["b"])
      for (const fault of [FaultyEtcd.slow("1 second"), FaultyEtcd.answerLost]) {
        yield* one.faults.set([{ method: "txn", key: keyOf("a"), nth: 1, fault }])
        const first = yield* start(Effect.scoped(Effect.andThen(register(one, shared("a")), Effect.never)))
        yield* elapse("100 millis")
        yield* start(first.interrupt)
        yield* elapse("10 seconds")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [keyOf("b")])
      }
    }))

  verify(
    "a join of a shared lease that fails leaves nothing in its scope, so that retries cost no memory (R13)",
    () =>
      Effect.gen(function* () {
        const cause = new EtcdError({ reason: new Unavailable({ detail: "no connection" }), method: "leaseGrant" })
        const timers = new Timers(yield* Effect.context<never>())
        const leases = new SharedLeases({ open: () => Effect.fail(cause) }, timers)
        const scope = yield* Scope.make()
        const ttl = { seconds: 15, heartbeat: Duration.seconds(5) }
        const join = leases.join({ ttl, releaseTimeout: Duration.seconds(5) }).pipe(Scope.provide(scope))
        for (let attempt = 0; attempt < 3; attempt++) assert.equal(yield* Effect.flip(join), cause)
        assert.equal(scope.state._tag, "Empty")
      })
  )
})

describe("the registrations of one scope", () => {
  for (const lease of ["own", "shared"] as const) {
    verify(
      `registrations of one scope are released at the same time (R5, ${lease} lease)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process()
          const scope = yield* Scope.make()
          for (let index = 0; index < 100; index++) {
            yield* one.registry.register(orders, shared(`i${index}`, { lease })).pipe(Scope.provide(scope))
          }
          yield* one.faults.set([{ method: ["leaseRevoke", "txn"], fault: FaultyEtcd.slow("100 millis") }])
          const released = yield* start(Scope.close(scope, Exit.void))
          yield* elapse("200 millis")
          assert.deepEqual(released.exit(), Exit.void)
          assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
          assert.equal((yield* timesOf(one, "leaseRevoke")).length, lease === "own" ? 100 : 1)
          assert.equal((yield* timesOf(one, "txn")).length, 100)
        })
    )
  }

  verify(
    "each key is gone when its release returns, if all that share a lease leave at the same moment (R5, R13)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const ids = ["a", "b", "c", "d"]
        const all = yield* registerAll(yield* process(), ids)
        const left = yield* Effect.forEach(
          all,
          ({ release }, index) =>
            Effect.map(Effect.andThen(release, keysIn(operator)), (keys) => keyOf(ids[index] ?? "") in keys),
          { concurrency: "unbounded" }
        )
        assert.deepEqual(left, [false, false, false, false])
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify("registrations of one scope drain at the same time (R5)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const scope = yield* Scope.make()
      for (const id of ["a", "b", "c"]) {
        yield* one.registry.register(orders, shared(id, { lease: "own", drain: "10 seconds" })).pipe(
          Scope.provide(scope)
        )
      }
      const released = yield* start(Scope.close(scope, Exit.void))
      yield* elapse("9 seconds")
      assert.equal(released.exit(), undefined)
      yield* elapse("2 seconds")
      assert.deepEqual(released.exit(), Exit.void)
      assert.deepEqual(yield* keysIn(operator), {})
    }))
})

import { Clock, Deferred, Duration, Effect, Exit, Option, Ref, Scope } from "effect"
import assert from "node:assert/strict"
import { Lock, LockLost, LockTimeout, Session } from "../../src/coordination/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { Compacted } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { elapse, failureOf, keysIn, leasesIn, settle, start, verify, withDraw } from "../harness/virtual.ts"
import { hold, type Holder, lineOf, stage } from "./support.ts"

const name = "/locks/orders"

describe("Lock", () => {
  verify(
    "Lock.acquire puts <name>/<lease in lower hex> with an empty value, as Go does (L1)",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const one = yield* hold(yield* client, Lock.acquire(name))
        const held = one.held()
        assert.ok(held !== undefined)
        const { kvs } = yield* operator.range({ key: `${name}/${held.leaseId.toString(16)}` })
        assert.deepEqual(
          kvs.map(({ createRevision, lease, value }) => ({ createRevision, lease, value: value.length })),
          [{ createRevision: held.revision, lease: held.leaseId, value: 0 }]
        )
        assert.equal(held.key, `${name}/${held.leaseId.toString(16)}`)
      })
  )

  verify("Lock.acquire waits behind a key of another client, whatever its suffix (L1)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      yield* operator.put({ key: `${name}/12345 of another client`, value: "x" })
      const one = yield* hold(yield* client, Lock.acquire(name))
      yield* elapse("1 minute")
      assert.equal(one.held(), undefined)
      yield* operator.deleteRange({ key: `${name}/12345 of another client` })
      yield* settle
      assert.ok(one.held() !== undefined)
    }))

  verify("Lock.acquire is not blocked by a lock whose name only starts alike (L1)", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      yield* hold(yield* client, Lock.acquire("/locks/orders-2"))
      const one = yield* hold(yield* client, Lock.acquire(name))
      assert.ok(one.held() !== undefined)
    }))

  verify("two locks of one name on one session take turns (L1)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      const session = yield* Effect.provideService(Session.make(), Etcd, one.etcd)
      const first = yield* hold(one, Lock.acquire(name, { session }))
      const second = yield* hold(one, Lock.acquire(name, { session }))
      const busy = yield* hold(one, Lock.tryAcquire(name, { session }))
      assert.ok(first.held() !== undefined)
      assert.equal(second.held(), undefined)
      assert.deepEqual(busy.held(), Option.none())
      assert.equal((yield* lineOf(operator, name)).length, 1)
      yield* first.release
      yield* settle
      assert.ok(second.held() !== undefined)
      assert.ok((second.held()?.revision ?? 0n) > (first.held()?.revision ?? 0n))
      yield* second.release
      assert.deepEqual(yield* lineOf(operator, name), [])
      assert.deepEqual(yield* leasesIn(operator), [session.leaseId])
    }))

  verify("Lock.withLock interrupts its effect before the lease can have expired (L2)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      const interruptedAt = yield* Ref.make(0)
      const work = Effect.onInterrupt(
        Effect.never,
        () => Effect.flatMap(Clock.currentTimeMillis, (now) => Ref.set(interruptedAt, now))
      )
      const working = yield* start(
        Effect.provideService(Lock.withLock(name, { ttl: "9 seconds" })(work), Etcd, one.etcd)
      )
      const [line] = yield* lineOf(operator, name)
      // The heartbeat of 6 s is the last one that etcd acknowledges.
      yield* one.faults.set([
        { method: "leaseKeepAlive", nth: 3, times: 1000, fault: FaultyEtcd.hung },
        { method: "leaseRevoke", times: 1000, fault: FaultyEtcd.hung }
      ])
      yield* elapse("14 seconds")
      // 6 s + 9 s - a tenth of the TTL.
      assert.equal(yield* Ref.get(interruptedAt), 0)
      yield* elapse("101 millis")
      assert.ok(Math.abs((yield* Ref.get(interruptedAt)) - 14_100) <= 1)
      assert.deepEqual(yield* lineOf(operator, name), [line])
      yield* one.faults.set([])
      yield* elapse("10 seconds")
      assert.ok(failureOf(working) instanceof LockLost)
      assert.deepEqual(yield* lineOf(operator, name), [])
    }))

  verify("the deadline of a lock does not depend on the return of a heartbeat (L2)", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const one = yield* client
      const holder = yield* hold(one, Lock.acquire(name, { ttl: "2 seconds" }))
      const lost = yield* start(Effect.flip(holder.held()?.lost ?? Effect.never))
      yield* one.faults.set([{ method: "leaseKeepAlive", times: 1000, fault: FaultyEtcd.hung }])
      yield* elapse("1799 millis")
      assert.equal(lost.exit(), undefined)
      yield* elapse("2 millis")
      assert.ok(lost.exit() !== undefined)
    }))

  verify(
    "a waiter relists under a backoff while etcd answers every watch with a compaction (L4)",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const first = yield* hold(yield* client, Lock.acquire(name))
        const two = yield* client
        yield* two.faults.set([{
          method: "watch",
          times: Infinity,
          fault: FaultyEtcd.fails(new Compacted({ detail: "compacted", compactRevision: 2n }))
        }])
        const second = yield* hold(two, Lock.acquire(name))
        yield* elapse("10 seconds")
        const { length } = yield* two.faults.calls("range")
        assert.ok(length > 1 && length < 100, `${length} reads in 10 s`)
        assert.equal(second.held(), undefined)
        yield* first.release
        yield* elapse("5 seconds")
        assert.ok(second.held() !== undefined)
        assert.equal((yield* lineOf(operator, name)).length, 1)
      })
  )

  verify("Lock.acquire fails with LockLost if its key expired while it waited (L3)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const first = yield* hold(yield* client, Lock.acquire(name))
      const two = yield* client
      const second = yield* hold(two, Lock.acquire(name))
      const [, waiting] = yield* lineOf(operator, name)
      // The waiter's key is deleted. Its client does not notice, because its heartbeats are slow.
      yield* two.faults.set([{ method: "leaseKeepAlive", times: 1000, fault: FaultyEtcd.hung }])
      yield* operator.leaseRevoke(BigInt(`0x${waiting}`))
      yield* first.release
      yield* settle
      const failure = failureOf(second)
      assert.ok(failure instanceof LockLost)
      assert.equal(failure.detail, "its key disappeared while it waited")
    }))

  verify(
    "Lock.acquire fails with LockLost if another process has put its key again meanwhile (L3)",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const first = yield* hold(yield* client, Lock.acquire(name))
        const second = yield* hold(yield* client, Lock.acquire(name))
        const [, waiting] = yield* lineOf(operator, name)
        yield* operator.deleteRange({ key: `${name}/${waiting}` })
        yield* operator.put({ key: `${name}/${waiting}`, value: "" })
        yield* first.release
        yield* settle
        assert.ok(failureOf(second) instanceof LockLost)
      })
  )

  verify("waiters acquire in the order of their create revisions (L4)", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const order: Array<number> = []
      const holders: Array<Holder<Lock.Held, unknown>> = []
      for (const index of [0, 1, 2, 3, 4]) {
        const acquisition = Effect.tap(Lock.acquire(name), () => Effect.sync(() => order.push(index)))
        holders.push(yield* hold(yield* client, acquisition))
      }
      for (const holder of holders) {
        yield* holder.release
        yield* settle
      }
      assert.deepEqual(order, [0, 1, 2, 3, 4])
      const revisions = holders.map((holder) => holder.held()?.revision ?? 0n)
      assert.deepEqual(revisions, revisions.toSorted((a, b) => a < b ? -1 : 1))
    }))

  verify(
    "100 contenders: each has one watch and makes a bounded number of calls, and a release wakes one (L4)",
    () =>
      Effect.gen(function* () {
        const { client } = yield* stage
        const clients = []
        const holders: Array<Holder<Lock.Held, unknown>> = []
        for (let index = 0; index < 100; index++) {
          const one = yield* client
          clients.push(one)
          holders.push(yield* hold(one, Lock.acquire(name, { ttl: "1 hour" })))
        }
        const callsOf = Effect.map(
          Effect.forEach(
            clients,
            ({ faults }) => Effect.all([faults.calls("range"), faults.calls("txn"), faults.calls("watch")])
          ),
          (all) => all.map((calls) => calls.map(({ length }) => length))
        )
        // One Txn to enter, one range to find the predecessor; the holder reads its own key as well.
        assert.deepEqual(yield* callsOf, [[2, 1, 1], ...Array.from({ length: 99 }, () => [1, 1, 1])])
        yield* holders[0]?.release ?? Effect.void
        yield* settle
        assert.deepEqual((yield* callsOf).slice(1), [[3, 1, 2], ...Array.from({ length: 98 }, () => [1, 1, 1])])
        for (const holder of holders.slice(1)) {
          yield* holder.release
          yield* settle
        }
        assert.deepEqual((yield* callsOf).slice(1), Array.from({ length: 99 }, () => [3, 1, 2]))
      })
  )

  verify("a waiter whose predecessor gives up goes on waiting for the holder (L4)", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const first = yield* hold(yield* client, Lock.acquire(name))
      const second = yield* hold(yield* client, Lock.acquire(name))
      const third = yield* hold(yield* client, Lock.acquire(name))
      yield* second.interrupt
      yield* settle
      assert.equal(third.held(), undefined)
      yield* first.release
      yield* settle
      assert.ok(third.held() !== undefined)
    }))

  verify(
    "a lock on a shared session is released at once if its client has closed before (L5)",
    () =>
      Effect.gen(function* () {
        const client = yield* Scope.make()
        const etcd = yield* EtcdMemory.make().pipe(Scope.provide(client))
        const scope = yield* Scope.make()
        yield* Effect.gen(function* () {
          const session = yield* Session.make()
          yield* Lock.acquire(name, { session })
        }).pipe(Effect.provideService(Etcd, etcd), Scope.provide(scope))
        yield* Scope.close(client, Exit.void)
        const released = yield* start(Scope.close(scope, Exit.void))
        assert.deepEqual(released.exit(), Exit.void)
      })
  )

  verify("a closed scope removes key and lease (L5)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* hold(yield* client, Lock.acquire(name))
      yield* one.release
      assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
    }))

  for (const method of ["leaseGrant", "txn", "range", "watch"] as const) {
    verify(
      `Lock.acquire leaves no key and no lease if it is interrupted during its ${method} (L5)`,
      () =>
        Effect.gen(function* () {
          const { client, operator } = yield* stage
          const first = yield* hold(yield* client, Lock.acquire(name))
          const two = yield* client
          yield* two.faults.set([{ method, fault: FaultyEtcd.slow("1 second") }])
          const second = yield* hold(two, Lock.acquire(name))
          const interrupting = yield* start(second.interrupt)
          yield* elapse("10 seconds")
          assert.ok(interrupting.exit() !== undefined)
          assert.deepEqual(yield* leasesIn(operator), [first.held()?.leaseId])
          assert.deepEqual(Object.keys(yield* keysIn(operator)), [first.held()?.key])
        })
    )
  }

  verify("Lock.acquire gives up after its timeout and leaves nothing (L5)", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const first = yield* hold(yield* client, Lock.acquire(name))
      const second = yield* hold(yield* client, Lock.acquire(name, { timeout: "5 seconds" }))
      yield* elapse("4999 millis")
      assert.equal(second.exit(), undefined)
      yield* elapse("1 millis")
      assert.deepEqual(failureOf(second), new LockTimeout({ target: name, after: Duration.seconds(5) }))
      assert.deepEqual(yield* leasesIn(operator), [first.held()?.leaseId])
    }))

  verify("Lock.acquire waits through an outage of etcd, within its timeout", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const one = yield* client
      yield* one.faults.set([
        { method: "leaseGrant", times: 3, fault: FaultyEtcd.unavailable },
        { method: "txn", times: 3, fault: FaultyEtcd.unavailable },
        { method: "range", times: 3, fault: FaultyEtcd.unavailable }
      ])
      const holder = yield* hold(one, Lock.acquire(name, { timeout: "1 minute" }))
      yield* elapse("30 seconds")
      assert.ok(holder.held() !== undefined)
    }).pipe(withDraw(1)))

  for (const fault of ["leaseGrant", "txn", "range"] as const) {
    verify(
      `Lock.acquire continues as soon as etcd is back if ${fault} failed before (D12)`,
      () =>
        Effect.gen(function* () {
          const { client } = yield* stage
          const one = yield* client
          yield* one.faults.set([{ method: fault, fault: FaultyEtcd.unavailable }])
          const holder = yield* hold(one, Lock.acquire(name))
          yield* elapse("10 minutes")
          assert.equal(holder.held(), undefined)
          yield* one.faults.clear
          yield* settle
          assert.ok(holder.held() !== undefined)
        }).pipe(withDraw(1))
    )
  }

  verify("a lost answer of the Txn that enters the line does not make a second place", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      yield* one.faults.set([{ method: "txn", nth: 1, fault: FaultyEtcd.answerLost }])
      const holder = yield* hold(one, Lock.acquire(name))
      yield* elapse("5 seconds")
      assert.deepEqual((yield* lineOf(operator, name)).length, 1)
      const { kvs: [kv] } = yield* operator.range({ key: holder.held()?.key ?? "" })
      assert.equal(holder.held()?.revision, kv?.createRevision)
    }))

  for (
    const [what, harm] of [
      ["the lease is revoked", (etcd: Etcd, held: Lock.Held) => etcd.leaseRevoke(held.leaseId)],
      ["the key is deleted", (etcd: Etcd, held: Lock.Held) => etcd.deleteRange({ key: held.key })],
      [
        "the key is deleted and put again",
        (etcd: Etcd, { key }: Lock.Held) =>
          etcd.txn({
            then: [{ _tag: "DeleteRange", request: { key } }]
          }).pipe(Effect.andThen(etcd.put({ key, value: "" })))
      ]
    ] as const
  ) {
    verify(`held.lost fails at once if ${what} (L6)`, () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const one = yield* hold(yield* client, Lock.acquire(name))
        const held = one.held()
        assert.ok(held !== undefined)
        const lost = yield* start(held.lost)
        assert.equal(lost.exit(), undefined)
        yield* harm(operator, held)
        yield* settle
        assert.ok(failureOf(lost) instanceof LockLost)
        const fenced = yield* operator.txn({ compare: [held.fence], then: [] })
        assert.equal(fenced.succeeded, false)
      }))
  }

  verify("held.fence holds while the lock is held and belongs to a raw Txn as well", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* hold(yield* client, Lock.acquire(name))
      const fence = one.held()?.fence
      assert.ok(fence !== undefined)
      assert.equal((yield* operator.txn({ compare: [fence] })).succeeded, true)
      yield* one.release
      assert.equal((yield* operator.txn({ compare: [fence] })).succeeded, false)
    }))

  verify(
    "Lock.tryAcquire returns None without waiting if the lock is taken, and leaves nothing",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const first = yield* hold(yield* client, Lock.tryAcquire(name))
        const second = yield* hold(yield* client, Lock.tryAcquire(name))
        assert.deepEqual(second.held(), Option.none())
        const held = Option.getOrUndefined(first.held() ?? Option.none())
        assert.deepEqual(yield* leasesIn(operator), [held?.leaseId])
      })
  )

  verify(
    "Lock.withLock passes what is held to its function, and releases before it returns",
    () =>
      Effect.gen(function* () {
        const { client, operator } = yield* stage
        const one = yield* client
        const key = yield* Lock.withLock(name)((held) => Effect.succeed(held.key)).pipe(
          Effect.provideService(Etcd, one.etcd)
        )
        assert.match(key, /^\/locks\/orders\/[0-9a-f]+$/)
        assert.deepEqual(yield* leasesIn(operator), [])
      })
  )

  verify("Lock.withLock waits for the finalizers of its effect before it releases", () =>
    Effect.gen(function* () {
      const { client, operator } = yield* stage
      const one = yield* client
      const started = yield* Deferred.make<void>()
      const work = Deferred.succeed(started, undefined).pipe(
        Effect.andThen(Effect.never),
        Effect.onInterrupt(() => Effect.sleep("3 seconds"))
      )
      const working = yield* start(Effect.provideService(Lock.withLock(name)(work), Etcd, one.etcd))
      yield* start(working.interrupt)
      yield* elapse("2 seconds")
      assert.equal((yield* lineOf(operator, name)).length, 1)
      yield* elapse("2 seconds")
      assert.deepEqual(yield* lineOf(operator, name), [])
    }))

  verify("an invalid name, ttl or timeout is refused before anything is sent", () =>
    Effect.gen(function* () {
      const { client } = yield* stage
      const one = yield* client
      const refused = <A, E extends Error>(acquisition: Effect.Effect<A, E, Etcd | Scope.Scope>) =>
        acquisition.pipe(
          Effect.scoped,
          Effect.provideService(Etcd, one.etcd),
          Effect.flip,
          Effect.map((e) => e.message)
        )
      const messages = [
        yield* refused(Lock.acquire("")),
        yield* refused(Lock.acquire(name, { ttl: 10 })),
        yield* refused(Lock.acquire(name, { timeout: "-1 seconds" })),
        yield* refused(Lock.tryAcquire("\ud800"))
      ]
      assert.match(messages[0] ?? "", /^cannot call Lock\.acquire: name is ""; /)
      assert.match(messages[1] ?? "", /^cannot call Lock\.acquire: ttl is 10; .*at least 2 s/)
      assert.match(messages[2] ?? "", /^cannot call Lock\.acquire: timeout is "-1 seconds"; /)
      assert.match(messages[3] ?? "", /^cannot call Lock\.tryAcquire: name is /)
      assert.deepEqual(yield* one.faults.calls("leaseGrant"), [])
    }))
})

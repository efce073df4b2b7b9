// Sharding waits 3 seconds for each operation of these runners; the storage gives up after 2.7.
import { Effect, Exit } from "effect"
import type { ShardId } from "effect/cluster"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { DeadlineExceeded, EtcdError } from "../../src/etcd/EtcdError.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { elapse, failureOf, settle, start, verify } from "../harness/virtual.ts"
import { ids, runnerOn, shards } from "./support.ts"

/** An engine, and two runners whose connections have faults. */
const setUp = Effect.gen(function* () {
  const operator = yield* EtcdMemory.make()
  const client = FaultyEtcd.make(operator, { requestTimeout: "1 second" })
  const [a, b] = yield* Effect.all([client, client])
  const one = yield* runnerOn(a.etcd, "/c/", 1)
  const two = yield* runnerOn(b.etcd, "/c/", 2)
  yield* Effect.all([one.register, two.register])
  const keys = Effect.map(
    operator.range(prefixRange("/c/")),
    ({ kvs }) => kvs.map(({ key }) => new TextDecoder().decode(key).slice(3))
  )
  return { operator, faults: a.faults, one, two, keys }
})

const [first, second] = shards(2) as [ShardId.ShardId, ShardId.ShardId]

describe("EtcdRunnerStorage under faults", () => {
  for (
    const [what, fault] of [
      ["unreachable", FaultyEtcd.unavailable],
      ["without a leader", FaultyEtcd.noLeader],
      ["refusing", FaultyEtcd.permissionDenied]
    ] as const
  ) {
    verify(`EtcdRunnerStorage.refresh succeeds if etcd was ${what} for 2 seconds`, () =>
      Effect.gen(function* () {
        const { faults, one } = yield* setUp
        yield* one.storage.acquire(one.address, shards(3))
        yield* faults.set([{ fault }])
        const refreshed = yield* start(one.storage.refresh(one.address, shards(3)))
        yield* elapse("2 seconds")
        assert.equal(refreshed.exit(), undefined, "it waits")
        yield* faults.clear
        yield* elapse("500 millis")
        const exit = refreshed.exit()
        assert.deepEqual(exit?._tag === "Success" && ids(exit.value), [1, 2, 3])
      }))
  }

  verify(
    "EtcdRunnerStorage operations fail with etcd's error when 0.9 of Sharding's interval has passed",
    () =>
      Effect.gen(function* () {
        const { faults, one } = yield* setUp
        yield* one.storage.acquire(one.address, shards(2))
        yield* faults.set([{ fault: FaultyEtcd.unavailable }])
        const operations = yield* Effect.forEach([
          one.storage.refresh(one.address, shards(2)),
          one.storage.refresh(one.address, [first]),
          one.storage.refresh(one.address, []),
          one.storage.acquire(one.address, shards(4)),
          one.storage.release(one.address, second),
          one.storage.releaseAll(one.address),
          one.storage.getRunners,
          one.storage.setRunnerHealth(one.address, false),
          one.storage.unregister(one.address),
          one.register
        ], (operation) => start<unknown, unknown, never>(operation))
        yield* elapse(2699)
        assert.deepEqual(operations.map(({ exit }) => exit()), Array(10).fill(undefined))
        yield* elapse(1)
        for (const operation of operations) {
          const error = failureOf(operation)
          assert.match(String((error as { cause?: unknown }).cause), /Unavailable/)
        }
        yield* faults.clear
      })
  )

  verify(
    "EtcdRunnerStorage.refresh of no shard fails while etcd is unreachable, also for a runner without leases",
    () =>
      Effect.gen(function* () {
        const operator = yield* EtcdMemory.make()
        const { etcd, faults } = yield* FaultyEtcd.make(operator)
        const one = yield* runnerOn(etcd, "/c/", 1)
        assert.deepEqual(yield* one.storage.refresh(one.address, []), [])
        yield* faults.set([{ fault: FaultyEtcd.hung }])
        const probe = yield* start(one.storage.refresh(one.address, []))
        yield* elapse("2700 millis")
        assert.equal(probe.exit()?._tag, "Failure")
        yield* faults.clear
      })
  )

  verify(
    "EtcdRunnerStorage keeps shards and registration as long as it is refreshed, and no longer",
    () =>
      Effect.gen(function* () {
        const { one, operator, two, keys } = yield* setUp
        yield* one.storage.acquire(one.address, shards(3))
        for (let second = 0; second < 30; second += 3) {
          yield* elapse("3 seconds")
          assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(3))), [1, 2, 3])
          assert.deepEqual(yield* two.storage.refresh(two.address, []), [])
        }
        yield* elapse("6 seconds")
        yield* two.storage.refresh(two.address, [])
        assert.deepEqual(yield* two.storage.acquire(two.address, shards(3)), [])
        // 9 seconds after its last refresh the first runner is gone.
        yield* elapse("3 seconds")
        assert.deepEqual(yield* keys, ["machines/2", "runners/localhost:2"])
        assert.deepEqual(ids(yield* two.storage.acquire(two.address, shards(3))), [1, 2, 3])
        assert.deepEqual(yield* one.storage.refresh(one.address, shards(3)), [], "the loss is not hidden")
        assert.equal(yield* one.register, 1)
        assert.deepEqual(yield* one.storage.acquire(one.address, shards(4)).pipe(Effect.map(ids)), [4])
        assert.equal((yield* operator.leaseLeases).leases.length, 4)
      })
  )

  verify(
    "EtcdRunnerStorage sends heartbeats only for Sharding's refreshes, not for the checks of single replies",
    () =>
      Effect.gen(function* () {
        const { faults, one } = yield* setUp
        yield* one.storage.acquire(one.address, shards(3))
        const heartbeats = Effect.map(faults.calls("leaseKeepAlive"), ({ length }) => length)
        yield* elapse("2 seconds")
        assert.equal(yield* heartbeats, 0, "none in the background")
        yield* one.storage.refresh(one.address, shards(3))
        assert.equal(yield* heartbeats, 2)
        for (let reply = 0; reply < 10; reply++) {
          assert.deepEqual(yield* one.storage.refresh(one.address, [first]), [first])
        }
        assert.equal(yield* heartbeats, 2)
      })
  )

  verify("EtcdRunnerStorage.refresh reads ownership linearizably", () =>
    Effect.gen(function* () {
      const { one, operator } = yield* setUp
      let serializable = 0
      const spy = {
        ...operator,
        range: (request: Parameters<typeof operator.range>[0]) => {
          if (request.serializable === true) serializable++
          return operator.range(request)
        }
      }
      const reader = yield* runnerOn(spy, "/c/", 3)
      yield* reader.storage.acquire(reader.address, shards(2))
      yield* reader.storage.refresh(reader.address, shards(2))
      yield* reader.storage.refresh(reader.address, [first])
      assert.equal(serializable, 0)
      assert.deepEqual(yield* one.storage.refresh(one.address, shards(2)), [])
    }))

  verify(
    "EtcdRunnerStorage.refresh returns nothing when an operator has revoked the lock lease, then acquires anew",
    () =>
      Effect.gen(function* () {
        const { one, operator } = yield* setUp
        yield* one.storage.acquire(one.address, shards(3))
        const { kvs: [lock] } = yield* operator.range({ key: "/c/locks/default:1" })
        yield* operator.leaseRevoke(lock?.lease ?? 0n)
        assert.deepEqual(yield* one.storage.refresh(one.address, [first]), [])
        assert.deepEqual(yield* one.storage.refresh(one.address, shards(3)), [])
        assert.deepEqual(ids(yield* one.storage.acquire(one.address, shards(3))), [1, 2, 3])
      })
  )

  verify("EtcdRunnerStorage.acquire grants another lease if its own was lost unnoticed", () =>
    Effect.gen(function* () {
      const { one, operator } = yield* setUp
      yield* one.storage.acquire(one.address, shards(1))
      const { kvs: [lock] } = yield* operator.range({ key: "/c/locks/default:1" })
      yield* operator.leaseRevoke(lock?.lease ?? 0n)
      const acquired = yield* start(one.storage.acquire(one.address, shards(3)))
      yield* elapse("100 millis")
      const exit = acquired.exit()
      assert.deepEqual(exit?._tag === "Success" && ids(exit.value), [1, 2, 3])
    }))

  verify(
    "EtcdRunnerStorage.refresh releases shards of a failed acquire that was applied all the same",
    () =>
      Effect.gen(function* () {
        const { faults, keys, one, two } = yield* setUp
        yield* one.storage.acquire(one.address, [first])
        // Applied at etcd, but every answer is lost.
        yield* faults.set([{ method: "txn", fault: FaultyEtcd.answerLost }])
        const acquired = yield* start(one.storage.acquire(one.address, shards(3)))
        yield* elapse("2700 millis")
        assert.equal(acquired.exit()?._tag, "Failure")
        yield* faults.clear
        assert.ok((yield* keys).includes("locks/default:2"))
        assert.deepEqual(yield* one.storage.refresh(one.address, [first]), [first])
        assert.deepEqual((yield* keys).filter((key) => key.startsWith("locks/")), ["locks/default:1"])
        assert.deepEqual(ids(yield* two.storage.acquire(two.address, shards(3))), [2, 3])
      })
  )

  verify(
    "EtcdRunnerStorage.refresh keeps shards that an acquire in flight is about to return",
    () =>
      Effect.gen(function* () {
        const { faults, keys, one } = yield* setUp
        yield* one.storage.acquire(one.address, [first])
        yield* elapse("2 seconds")
        // The first attempt is applied and its answer is lost: the call goes on.
        yield* faults.set([{ method: "txn", fault: FaultyEtcd.answerLost, nth: 1 }])
        const acquired = yield* start(one.storage.acquire(one.address, shards(3)))
        assert.ok((yield* keys).includes("locks/default:2"))
        assert.deepEqual(yield* one.storage.refresh(one.address, [first]), [first])
        assert.ok((yield* keys).includes("locks/default:2"))
        yield* elapse("2700 millis")
        const exit = acquired.exit()
        assert.equal(exit?._tag, "Success")
        assert.deepEqual(exit._tag === "Success" && ids(exit.value), [1, 2, 3])
        yield* elapse("1 second")
        assert.deepEqual(ids(yield* one.storage.refresh(one.address, shards(3))), [1, 2, 3])
      })
  )

  verify("EtcdRunnerStorage.releaseAll can be repeated after a failure", () =>
    Effect.gen(function* () {
      const { faults, keys, one } = yield* setUp
      yield* one.storage.acquire(one.address, shards(3))
      yield* faults.set([{ method: "leaseRevoke", fault: FaultyEtcd.hung }])
      const released = yield* start(one.storage.releaseAll(one.address))
      yield* elapse("2700 millis")
      assert.equal(released.exit()?._tag, "Failure")
      yield* faults.clear
      yield* one.storage.releaseAll(one.address)
      assert.deepEqual((yield* keys).filter((key) => key.startsWith("locks/")), [])
    }))

  verify(
    "EtcdRunnerStorage.register takes one machine id, even if etcd applies an attempt after its repetition",
    () =>
      Effect.gen(function* () {
        const operator = yield* EtcdMemory.make()
        let late: Effect.Effect<unknown, EtcdError> | undefined
        const etcd: Etcd = {
          ...operator,
          txn: (request) =>
            Effect.suspend(() => {
              if (late !== undefined) return Effect.tap(operator.txn(request), late)
              late = operator.txn(request)
              return Effect.fail(
                new EtcdError({ reason: new DeadlineExceeded({ detail: "no response" }), method: "txn" })
              )
            })
        }
        const one = yield* runnerOn(etcd, "/c/", 1)
        const registered = yield* start(one.register)
        yield* elapse("1 second")
        assert.deepEqual(registered.exit(), Exit.succeed(1))
        const { kvs } = yield* operator.range(prefixRange("/c/"))
        assert.deepEqual(kvs.map(({ key }) => new TextDecoder().decode(key)), [
          "/c/machines/1",
          "/c/runners/localhost:1"
        ])
      })
  )

  verify("EtcdRunnerStorage.register ignores keys that are not machine ids", () =>
    Effect.gen(function* () {
      const operator = yield* EtcdMemory.make()
      for (const name of ["", "abc", "-5", "2.5", "0", "0x10", "1e400", "99999999999999999999"]) {
        yield* operator.put({ key: `/c/machines/${name}`, value: "localhost:1" })
      }
      const one = yield* runnerOn(operator, "/c/", 1)
      assert.equal(yield* one.register, 1)
    }))

  verify(
    "EtcdRunnerStorage repeats a write under a backoff while other processes are always faster",
    () =>
      Effect.gen(function* () {
        const operator = yield* EtcdMemory.make()
        const { etcd, faults } = yield* FaultyEtcd.make(operator)
        const one = yield* runnerOn(etcd, "/c/", 1)
        yield* one.register
        const before = (yield* faults.calls("txn")).length
        const write = FaultyEtcd.meanwhile((etcd, { key = "" }) =>
          Effect.gen(function* () {
            const { kvs: [kv] } = yield* etcd.range({ key })
            if (kv !== undefined) yield* etcd.put({ key, value: kv.value, ignoreLease: true })
          })
        )
        yield* faults.set([{ method: "txn", fault: write }])
        for (const operation of [one.register, one.storage.setRunnerHealth(one.address, false)]) {
          const started = yield* start(operation)
          yield* elapse("3 seconds")
          assert.equal(started.exit()?._tag, "Failure")
        }
        const { length } = yield* faults.calls("txn")
        assert.ok(length - before > 2 && length - before < 100, `${length - before} transactions in 6 s`)
      })
  )

  verify(
    "EtcdRunnerStorage logs once that another process has registered with the address",
    (log) =>
      Effect.gen(function* () {
        const { one, operator } = yield* setUp
        yield* one.storage.acquire(one.address, shards(2))
        const twin = yield* runnerOn(operator, "/c/", 1)
        yield* twin.register
        for (let times = 0; times < 3; times++) {
          yield* elapse("3 seconds")
          yield* twin.storage.refresh(twin.address, [])
          yield* one.storage.refresh(one.address, shards(2))
        }
        assert.deepEqual(log.filter((line) => line.startsWith("Error")).length, 1)
        assert.match(log.join(), /another process has registered as runner localhost:1/)
      })
  )

  verify(
    "EtcdRunnerStorage lets its leases expire if etcd does not answer when its scope closes",
    (log) =>
      Effect.gen(function* () {
        const { faults, keys, one } = yield* setUp
        yield* one.storage.acquire(one.address, shards(2))
        yield* faults.blackhole
        const closed = yield* start(one.exit)
        yield* elapse("5 seconds")
        assert.equal(closed.exit()?._tag, "Success")
        assert.match(log.join(), /left to expire/)
        yield* elapse("4 seconds")
        yield* settle
        assert.deepEqual((yield* keys).filter((key) => key.endsWith("1")), [])
      })
  )
})

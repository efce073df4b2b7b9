/**
 * etcd 3.7 leaves the leases out of reads without values. The engine has a variant that does the same.
 */
import { Effect, Stream } from "effect"
import assert from "node:assert/strict"

import { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import { Kv } from "../../../src/kv/mod.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  collect,
  counted,
  elapse,
  orders,
  putInstance,
  register,
  settle,
  show,
  verify,
  world
} from "../../harness/virtual.ts"

const newEtcd = Effect.tap(world, ({ replace }) => replace({ keysOnlyLeases: false }))

describe("etcd 3.7, whose reads without values carry no leases", () => {
  verify("the engine's variant leaves the lease out of reads without values only", () =>
    Effect.gen(function* () {
      const { operator } = yield* newEtcd
      const lease = yield* putInstance(operator, "a")
      const leases = Effect.fnUntraced(function* (keysOnly: boolean) {
        const range = { ...prefix("/services/"), keysOnly }
        const { kvs } = yield* operator.range(range)
        const { responses: [inTxn] } = yield* operator.txn({ then: [{ _tag: "Range", request: range }] })
        return [kvs[0]?.lease, inTxn?._tag === "Range" ? inTxn.response.kvs[0]?.lease : undefined]
      })
      assert.deepEqual([yield* leases(false), yield* leases(true)], [[lease, lease], [0n, 0n]])
    }))

  verify("listServices counts instances", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* newEtcd
      const one = yield* process()
      yield* putInstance(operator, "a")
      yield* putInstance(operator, "b")
      assert.deepEqual(yield* one.registry.listServices, [{ name: "orders", instances: 2 }])
    }))

  verify("reconciliation of a set and of a catalog finds nothing (D8)", (log) =>
    Effect.gen(function* () {
      const { operator, process } = yield* newEtcd
      const one = yield* process()
      yield* putInstance(operator, "a")
      yield* operator.put({ key: "/services/none", value: "" })
      const sets = yield* collect(one.registry.discover(orders))
      const catalogs = yield* collect(one.registry.discoverAll())
      yield* elapse("2 hours")
      assert.deepEqual([sets.seen.length, catalogs.seen.length], [1, 1])
      assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
      assert.equal(yield* counted("etcd_discovery_lists_total"), 2)
      assert.deepEqual(log.filter((line) => line.includes("reconciliation")), [])
    }))

  verify(
    "a reconnect resumes discover, Kv.watch and the watch of the own key without another list (D3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* newEtcd
        const one = yield* process({ reconcileEvery: "10 hours" })
        yield* register(one)
        const sets = yield* collect(one.registry.discover(orders))
        const { etcd, faults } = yield* FaultyEtcd.make(operator)
        const events = yield* collect(Stream.provideService(Kv.watch(Kv.prefix("/services/")), Etcd, etcd))
        yield* elapse("1 minute")
        for (const { breakWatches } of [one.faults, faults]) yield* breakWatches()
        yield* elapse("10 seconds")
        yield* putInstance(operator, "b")
        yield* settle
        assert.deepEqual(sets.seen.map(show), ["Live a", "Stale a", "Live a", "Live a,b"])
        assert.deepEqual(events.seen.map(({ _tag }) => _tag), ["Listed", "Put"])
        assert.equal(yield* counted("etcd_discovery_lists_total"), 1)
      })
  )

  verify("an update that overtakes a list of the own key is written once", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* newEtcd
      const one = yield* process()
      const { registration } = yield* register(one)
      yield* settle
      // The watch of the own key lists again, because its history is gone, and the list is slow.
      yield* one.faults.set([
        { method: "watch", nth: 1, fault: FaultyEtcd.compaction },
        { method: "range", fault: FaultyEtcd.slow("2 seconds") }
      ])
      for (let index = 0; index < 3; index++) yield* operator.put({ key: "elsewhere", value: String(index) })
      yield* one.faults.breakWatches()
      yield* elapse("1 second")
      yield* registration.update({ weight: 7 })
      yield* elapse("1 minute")
      const { kvs: [kv] } = yield* operator.range({ key: registration.key })
      // Claimed, and updated once.
      assert.equal(kv?.version, 2n)
    }))
})

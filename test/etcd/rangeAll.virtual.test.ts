import { Effect } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { rangeAll } from "../../src/etcd/rangeAll.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { verify } from "../harness/virtual.ts"

const fill = Effect.fnUntraced(function* (etcd: Etcd, count: number, value = "") {
  for (let index = 0; index < count; index++) {
    yield* etcd.put({ key: `/a/${String(index).padStart(5, "0")}`, value })
  }
})

describe("rangeAll", () => {
  verify("rangeAll fails on a server that returns the same page for ever", () =>
    Effect.gen(function* () {
      const inner = yield* EtcdMemory.make()
      yield* fill(inner, 10)
      let reads = 0
      const repeating: Etcd = {
        ...inner,
        range: (request) => {
          reads += 1
          return Effect.map(
            inner.range({ ...request, ...prefix("/a/"), limit: 5 }),
            (page) => ({ ...page, more: true })
          )
        }
      }
      const error = yield* Effect.flip(rangeAll(repeating, prefix("/a/")))
      assert.deepEqual([error.reason._tag, error.retryable, reads], ["Unknown", true, 2])
    }))

  verify(
    "rangeAll gives up after some restarts on a server that compacts each revision at once",
    () =>
      Effect.gen(function* () {
        const inner = yield* EtcdMemory.make()
        yield* fill(inner, 2500, "x".repeat(3000))
        const { etcd, faults } = yield* FaultyEtcd.make(inner)
        let revision = 0
        const compact = FaultyEtcd.meanwhile((etcd) =>
          Effect.gen(function* () {
            yield* etcd.put({ key: "/elsewhere", value: String(++revision) })
            const { header } = yield* etcd.status
            yield* etcd.compact({ revision: header.revision })
          })
        )
        yield* faults.set([{ method: "range", fault: compact }])
        const error = yield* Effect.flip(rangeAll(etcd, prefix("/a/")))
        const reads = (yield* faults.calls("range")).length
        assert.deepEqual([error.reason._tag, reads], ["Compacted", 12])
      })
  )

  verify(
    "rangeAll starts over if the history is replaced by a shorter one between two pages",
    () =>
      Effect.gen(function* () {
        const before = yield* EtcdMemory.make()
        yield* fill(before, 2500)
        const after = yield* EtcdMemory.make()
        yield* fill(after, 10)
        let reads = 0
        const replaced: Etcd = { ...before, range: (request) => (++reads === 1 ? before : after).range(request) }
        const { header, kvs } = yield* rangeAll(replaced, prefix("/a/"))
        assert.deepEqual([kvs.length, header.revision, reads], [10, 11n, 3])
      })
  )

  verify("rangeAll fails with Unavailable if its pages come from two clusters", () =>
    Effect.gen(function* () {
      const inner = yield* EtcdMemory.make()
      yield* fill(inner, 2500)
      let clusterId = 0n
      const balanced: Etcd = {
        ...inner,
        range: (request) =>
          Effect.map(inner.range(request), (page) => ({ ...page, header: { ...page.header, clusterId: ++clusterId } }))
      }
      const { reason } = yield* Effect.flip(rangeAll(balanced, prefix("/a/")))
      assert.deepEqual([reason._tag, reason.detail], ["Unavailable", "the pages of a range come from two clusters"])
    }))
})

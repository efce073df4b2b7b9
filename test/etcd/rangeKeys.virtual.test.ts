import { Effect } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { rangeAll } from "../../src/etcd/rangeAll.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { describe, effect } from "../harness/it.ts"

/** Fills an engine, and reads the range of another prefix for every request, as a confused proxy would. */
const confused = Effect.gen(function* () {
  const etcd = yield* EtcdMemory.make()
  for (const key of ["/a/1", "/a/2", "/b/1"]) yield* etcd.put({ key, value: "" })
  return { ...etcd, range: (request) => etcd.range({ ...request, ...prefix("/b/") }) } satisfies Etcd
})

describe("rangeAll", () => {
  effect("rangeAll fails with Unavailable if the server sends keys of another range", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(rangeAll(yield* confused, prefix("/a/")))
      assert.equal(error.reason._tag, "Unavailable")
      assert.ok(error.retryable)
      assert.equal(error.key, "/a/")
    }))

  effect("rangeAll returns the keys of the range", () =>
    Effect.gen(function* () {
      const { kvs } = yield* rangeAll(yield* confused, prefix("/b/"))
      assert.equal(kvs.length, 1)
    }))
})

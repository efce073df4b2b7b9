/**
 * Checks of `watch`.
 *
 * @module
 */
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import assert from "node:assert/strict"
import {
  all,
  assertEqual,
  assertRefused,
  type Check,
  grant,
  keysIn,
  kv,
  open,
  rawKey,
  refusal,
  tombstone
} from "./subject.ts"

/** A server has 2 seconds to answer. Silence of 2.3 seconds would end the watch. */
const quick = { progressEvery: "300 millis", progressTimeout: "2 seconds" } as const

export const watchChecks: ReadonlyArray<Check> = [
  {
    title: "watch emits Created first, at the newest revision",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: `${root}a`, value: "1" })
        assertEqual((yield* open(etcd, { key: `${root}a` })).created, header(1))
      })
  },
  {
    title: "watch of a key emits its later writes, and not those of its neighbours",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "0" })
        const watch = yield* open(etcd, { key })
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key: `${root}a\0`, value: "x" })
        yield* etcd.put({ key: root, value: "x" })
        yield* etcd.deleteRange({ key })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key, value: "2" })
        assert.deepEqual(yield* watch.events(3), [
          { type: "put", kv: kv(key, "1", { create: revision + 1n, mod: revision + 2n, version: 2n }) },
          { type: "delete", kv: tombstone(key, revision + 5n) },
          { type: "put", kv: kv(key, "2", { create: revision + 6n }) }
        ])
      })
  },
  {
    title: "watch of a range emits the writes of its keys, excluding its end",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const watch = yield* open(etcd, { key: `${root}b`, rangeEnd: `${root}d` })
        for (const name of ["a", "b", "c", "d", "b\0"]) yield* etcd.put({ key: root + name, value: name })
        assert.deepEqual(yield* watch.events(3), [
          { type: "put", kv: kv(`${root}b`, "b", { create: revision + 2n }) },
          { type: "put", kv: kv(`${root}c`, "c", { create: revision + 3n }) },
          { type: "put", kv: kv(`${root}b\0`, "b\0", { create: revision + 5n }) }
        ])
      })
  },
  {
    title: "watch of a prefix emits keys of any bytes, and with a rangeEnd of one zero byte to the end of the keyspace",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const ours = yield* open(etcd, prefix(rawKey(root, 0xff)))
        const rest = yield* open(etcd, { key: rawKey(root, 0xff), rangeEnd: "\0" })
        yield* etcd.put({ key: `${root}a`, value: "" })
        yield* etcd.put({ key: rawKey(root, 0xff, 0xff), value: "" })
        yield* etcd.put({ key: new Uint8Array([0xff, 0xff]), value: "" })
        yield* etcd.deleteRange({ key: new Uint8Array([0xff, 0xff]) })
        yield* etcd.put({ key: rawKey(root, 0xff), value: "" })
        const first = { type: "put", kv: kv(`${root}\\xff\\xff`, "", { create: revision + 2n }) }
        const last = { type: "put", kv: kv(`${root}\\xff`, "", { create: revision + 5n }) }
        assert.deepEqual(yield* ours.events(2), [first, last])
        assert.deepEqual(yield* rest.events(4), [
          first,
          { type: "put", kv: kv("\\xff\\xff", "", { create: revision + 3n }) },
          { type: "delete", kv: tombstone("\\xff\\xff", revision + 4n) },
          last
        ])
      })
  },
  {
    title: "watch with prevKv emits the previous key-value",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const watch = yield* open(etcd, { key, prevKv: true })
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key, value: "3" })
        const first = kv(key, "1", { create: revision + 1n })
        const second = kv(key, "2", { create: revision + 1n, mod: revision + 2n, version: 2n })
        assert.deepEqual(yield* watch.events(4), [
          { type: "put", kv: first },
          { type: "put", kv: second, prevKv: first },
          { type: "delete", kv: tombstone(key, revision + 3n), prevKv: second },
          { type: "put", kv: kv(key, "3", { create: revision + 4n }) }
        ])
      })
  },
  {
    title: "watch with filters omits puts or deletions",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const deletions = yield* open(etcd, { key, filters: ["noPut"] })
        const puts = yield* open(etcd, { key, filters: ["noDelete"] })
        const past = yield* open(etcd, { key, filters: ["noPut"], startRevision: revision + 1n })
        yield* etcd.put({ key, value: "1" })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.deleteRange({ key })
        const deleted = [
          { type: "delete", kv: tombstone(key, revision + 2n) },
          { type: "delete", kv: tombstone(key, revision + 4n) }
        ]
        assert.deepEqual(yield* deletions.events(2), deleted)
        assert.deepEqual(yield* past.events(2), deleted)
        assert.deepEqual(yield* puts.events(2), [
          { type: "put", kv: kv(key, "1", { create: revision + 1n }) },
          { type: "put", kv: kv(key, "2", { create: revision + 3n }) }
        ])
      })
  },
  {
    title: "watch from a past revision emits the history since then, followed by new events",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        for (const value of ["1", "2", "3"]) yield* etcd.put({ key: `${root}${value}`, value })
        const watch = yield* open(etcd, { ...all(subject), startRevision: revision + 2n })
        yield* etcd.put({ key: `${root}4`, value: "4" })
        assert.deepEqual(
          yield* watch.events(3),
          ["2", "3", "4"].map((value) => ({
            type: "put",
            kv: kv(root + value, value, { create: revision + BigInt(value) })
          }))
        )
      })
  },
  {
    title: "watch from a past revision keeps the events of a transaction together, with previous key-values",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        yield* etcd.put({ key: `${root}a`, value: "1" })
        yield* etcd.txn({
          then: [
            { _tag: "Put", request: { key: `${root}b`, value: "2" } },
            { _tag: "DeleteRange", request: { key: `${root}a` } }
          ]
        })
        yield* etcd.put({ key: `${root}b`, value: "3" })
        const watch = yield* open(etcd, { ...all(subject), startRevision: revision + 2n, prevKv: true })
        const b = kv(`${root}b`, "2", { create: revision + 2n })
        assert.deepEqual(yield* watch.events(3), [
          { type: "put", kv: b },
          {
            type: "delete",
            kv: tombstone(`${root}a`, revision + 2n),
            prevKv: kv(`${root}a`, "1", { create: revision + 1n })
          },
          {
            type: "put",
            kv: kv(`${root}b`, "3", { create: revision + 2n, mod: revision + 3n, version: 2n }),
            prevKv: b
          }
        ])
      })
  },
  {
    title: "watch that starts exactly at a deletion emits the deletion first",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.deleteRange({ key })
        const watch = yield* open(etcd, { key, startRevision: revision + 2n, prevKv: true })
        assert.deepEqual(yield* watch.events(1), [
          { type: "delete", kv: tombstone(key, revision + 2n), prevKv: kv(key, "1", { create: revision + 1n }) }
        ])
      })
  },
  {
    title: "watch from a future revision emits nothing before it, and then that revision",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const watch = yield* open(etcd, { key, startRevision: revision + 3n })
        for (const value of ["1", "2", "3", "4"]) yield* etcd.put({ key, value })
        assert.deepEqual(yield* watch.events(2), [
          { type: "put", kv: kv(key, "3", { create: revision + 1n, mod: revision + 3n, version: 3n }) },
          { type: "put", kv: kv(key, "4", { create: revision + 1n, mod: revision + 4n, version: 4n }) }
        ])
      })
  },
  {
    title: "watch from a compacted revision emits Created, then fails with Compacted and the compact revision",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        for (const value of ["1", "2", "3"]) yield* etcd.put({ key, value })
        yield* etcd.compact({ revision: revision + 3n, physical: true })
        const watch = yield* open(etcd, { key, startRevision: revision + 2n })
        const { reason, method, key: ofKey } = yield* Effect.flip(watch.next)
        assert.ok(reason._tag === "Compacted")
        assert.deepEqual([reason.compactRevision, method, ofKey], [revision + 3n, "watch", key])
      })
  },
  {
    title: "watch from the compact revision itself emits the put at that revision",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        for (const value of ["1", "2", "3"]) yield* etcd.put({ key, value })
        yield* etcd.compact({ revision: revision + 2n, physical: true })
        const watch = yield* open(etcd, { key, startRevision: revision + 2n })
        assert.deepEqual(yield* watch.events(2), [
          { type: "put", kv: kv(key, "2", { create: revision + 1n, mod: revision + 2n, version: 2n }) },
          { type: "put", kv: kv(key, "3", { create: revision + 1n, mod: revision + 3n, version: 3n }) }
        ])
      })
  },
  {
    title: "a current watch survives a compaction",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const watch = yield* open(etcd, { key })
        yield* etcd.put({ key, value: "1" })
        yield* watch.events(1)
        yield* etcd.put({ key: `${root}b`, value: "" })
        yield* etcd.compact({ revision: revision + 2n })
        yield* etcd.put({ key, value: "2" })
        assert.deepEqual(yield* watch.events(1), [
          { type: "put", kv: kv(key, "2", { create: revision + 1n, mod: revision + 3n, version: 2n }) }
        ])
      })
  },
  {
    title: "several watches of one client receive their own events, even if others end",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const first = yield* open(etcd, { key })
        const twin = yield* Effect.forkChild(Stream.runDrain(etcd.watch({ key })), { startImmediately: true })
        const other = yield* open(etcd, { key: `${root}b` })
        const range = yield* open(etcd, prefix(root))
        yield* refusal(etcd.watch({ key: "", startRevision: 1n }).pipe(Stream.runDrain))
        yield* etcd.put({ key, value: "1" })
        yield* Fiber.interrupt(twin)
        yield* etcd.put({ key: `${root}b`, value: "2" })
        const a = { type: "put", kv: kv(key, "1", { create: revision + 1n }) }
        const b = { type: "put", kv: kv(`${root}b`, "2", { create: revision + 2n }) }
        assert.deepEqual(yield* first.events(1), [a])
        assert.deepEqual(yield* other.events(1), [b])
        assert.deepEqual(yield* range.events(2), [a, b])
      })
  },
  {
    title: "watch emits the same order to every reader, even if one of them writes on an event",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        yield* etcd.watch(all(subject)).pipe(
          Stream.filter((response) => response._tag === "Events" && response.header.revision <= revision + 5n),
          Stream.runForEach(({ header }) => etcd.put({ key: `${root}${header.revision - revision}`, value: "" })),
          Effect.forkScoped({ startImmediately: true })
        )
        const readers = [yield* open(etcd, all(subject)), yield* open(etcd, prefix(root.slice(0, -1)))]
        yield* etcd.put({ key: `${root}0`, value: "" })
        const expected = Array.from({ length: 6 }, (_, i) => ({
          type: "put",
          kv: kv(`${root}${i}`, "", { create: revision + BigInt(i + 1) })
        }))
        for (const reader of readers) assert.deepEqual(yield* reader.events(6), expected)
      })
  },
  {
    title: "watch opens anew each time its stream is run",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        const watch = etcd.watch({ key, startRevision: revision + 1n })
        const tags = watch.pipe(Stream.take(2), Stream.map(({ _tag }) => _tag), Stream.runCollect)
        assert.deepEqual([yield* tags, yield* tags], [["Created", "Events"], ["Created", "Events"]])
      })
  },
  {
    title: "a watch without a reader blocks no writer, and later emits everything in order or fails with Cancelled",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        const count = 3_000
        const pull = yield* Stream.toPull(etcd.watch(all(subject)))
        assert.deepEqual((yield* pull).map(({ _tag }) => _tag), ["Created"])
        yield* Effect.forEach(
          Array.from({ length: count }, (_, i) => `${root}${i}`),
          (key) => etcd.put({ key, value: "" }),
          { concurrency: 100 }
        )
        const seen: Array<bigint> = []
        while (seen.length < count) {
          const responses = yield* Effect.result(pull)
          if (responses._tag === "Failure") {
            assert.ok(responses.failure._tag === "EtcdError")
            assert.equal(responses.failure.reason._tag, "Cancelled")
            break
          }
          for (const response of responses.success) {
            if (response._tag === "Events") seen.push(...response.events.map(({ kv }) => kv.modRevision))
          }
        }
        assert.deepEqual(seen, Array.from(seen, (_, i) => revision + BigInt(i + 1)))
      })
  },
  {
    title: "watch of history longer than one response emits all of it in order",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        const key = `${root}a`
        const count = 2_500
        yield* Effect.forEach(Array.from({ length: count }), () => etcd.put({ key, value: "" }), { concurrency: 100 })
        const watch = yield* open(etcd, { key, startRevision: revision + 1n })
        assert.deepEqual(
          yield* watch.events(count),
          Array.from({ length: count }, (_, i) => ({
            type: "put",
            kv: kv(key, "", { create: revision + 1n, mod: revision + BigInt(i + 1), version: BigInt(i + 1) })
          }))
        )
      })
  },
  {
    title: "watch stays open while nothing happens for longer than progressEvery and progressTimeout",
    body: (subject) =>
      Effect.gen(function* () {
        const { elapse, etcd, root, revision } = subject
        const watch = yield* open(etcd, { key: `${root}a`, ...quick })
        const { header } = yield* etcd.put({ key: `${root}b`, value: "" })
        const future = yield* open(etcd, { key: `${root}a`, startRevision: header.revision + 1n, ...quick })
        yield* elapse(2500)
        yield* etcd.put({ key: `${root}a`, value: "1" })
        const expected = [{ type: "put", kv: kv(`${root}a`, "1", { create: revision + 2n }) }]
        assert.deepEqual(yield* watch.events(1), expected)
        assert.deepEqual(yield* future.events(1), expected)
      })
  },
  {
    title: "watch stays open while another watch of the client is never silent",
    body: (subject) =>
      Effect.gen(function* () {
        const { elapse, etcd, root } = subject
        const idle = yield* open(etcd, { key: `${root}a`, ...quick })
        const busy = yield* open(etcd, { key: `${root}b`, ...quick })
        for (let i = 0; i < 25; i++) {
          yield* etcd.put({ key: `${root}b`, value: "" })
          yield* busy.events(1)
          yield* elapse(100)
        }
        yield* etcd.put({ key: `${root}a`, value: "" })
        assert.equal((yield* idle.events(1)).length, 1)
      })
  },
  {
    title: "watch refuses an empty key and a range whose end does not follow its start",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const watch = (key: string, rangeEnd?: string) =>
          Stream.runDrain(etcd.watch(rangeEnd === undefined ? { key } : { key, rangeEnd }))
        yield* assertRefused(watch(""), { reason: "InvalidArgument", method: "watch", key: "" })
        yield* assertRefused(watch(`${root}b`, `${root}a`), {
          reason: "InvalidArgument",
          method: "watch",
          key: `${root}b`
        })
        yield* assertRefused(watch(`${root}b`, `${root}b`), {
          reason: "InvalidArgument",
          method: "watch",
          key: `${root}b`
        })
      })
  },
  {
    title: "watch ends when it is interrupted, and its client still works",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Stream.runDrain(etcd.watch({ key: root })), { startImmediately: true })
        yield* etcd.put({ key: root, value: "1" })
        yield* Fiber.interrupt(fiber)
        yield* etcd.put({ key: root, value: "2" })
        assert.deepEqual(yield* keysIn(etcd, { key: root }), [root])
      })
  }
]

export const clientChecks: ReadonlyArray<Check> = [
  {
    title: "clients of one store share keys, leases and events",
    body: ({ connect, etcd, root, revision }) =>
      Effect.gen(function* () {
        const other = yield* connect
        const watch = yield* open(other, { key: `${root}a` })
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key: `${root}a`, value: "1" })
        yield* other.put({ key: `${root}a`, value: "2", lease: id })
        const expected = kv(`${root}a`, "2", { create: revision + 1n, mod: revision + 2n, version: 2n, lease: id })
        assertEqual((yield* etcd.range({ key: `${root}a` })).kvs, [expected])
        assert.deepEqual((yield* watch.events(2)).at(1), { type: "put", kv: expected })
      })
  },
  {
    title: "a closed client fails every operation and every watch with Cancelled, and no other client does",
    body: ({ connect, etcd, root, revision }) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const closed = yield* connect.pipe(Scope.provide(scope))
        const { id } = yield* grant(etcd, { ttl: 60 })
        const watch = yield* open(closed, { key: root })
        const survivor = yield* open(etcd, { key: root })
        yield* Scope.close(scope, Exit.void)
        assert.equal(yield* refusal(watch.next), "Cancelled")
        yield* assertRefused(closed.put({ key: root, value: "x" }), { reason: "Cancelled", method: "put", key: root })
        const operations = [
          closed.range({ key: root }),
          closed.deleteRange({ key: root }),
          closed.txn({}),
          closed.leaseGrant({ ttl: 60 }),
          closed.leaseRevoke(id),
          closed.leaseTimeToLive({ id }),
          closed.leaseLeases,
          closed.leaseKeepAlive({ id }),
          closed.compact({ revision }),
          closed.status,
          Stream.runDrain(closed.watch({ key: root }))
        ]
        for (const operation of operations) assert.equal(yield* refusal<unknown>(operation), "Cancelled")
        yield* etcd.put({ key: root, value: "1" })
        assert.deepEqual(yield* survivor.events(1), [{ type: "put", kv: kv(root, "1", { create: revision + 1n }) }])
        assert.ok((yield* etcd.leaseTimeToLive({ id })).ttl > 0)
      })
  }
]

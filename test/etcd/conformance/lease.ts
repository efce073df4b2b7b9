/**
 * Checks of the operations on leases.
 *
 * @module
 */
import { Effect, Fiber } from "effect"
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
  text,
  tombstone,
  whileElapsing
} from "./subject.ts"

/** An id that no server chooses. */
const freeId = (revision: bigint): bigint => 0x1000_0000n + revision

export const leaseChecks: ReadonlyArray<Check> = [
  {
    title: "leaseGrant grants a lease with the requested id and TTL, and creates no revision",
    body: ({ etcd, revision, header }) =>
      Effect.gen(function* () {
        const id = freeId(revision)
        assertEqual(yield* grant(etcd, { ttl: 60, id }), { header: header(), id, ttl: 60 })
      })
  },
  {
    title: "leaseGrant chooses distinct positive ids",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        const first = yield* grant(etcd, { ttl: 60 })
        const second = yield* grant(etcd, { ttl: 60, id: 0n })
        assert.ok(first.id > 0n && second.id > 0n && first.id !== second.id)
      })
  },
  {
    title: "leaseGrant of an existing id fails with LeaseExists until the lease is revoked",
    body: ({ etcd, revision }) =>
      Effect.gen(function* () {
        const id = freeId(revision)
        yield* grant(etcd, { ttl: 60, id })
        yield* assertRefused(etcd.leaseGrant({ ttl: 60, id }), {
          reason: "LeaseExists",
          method: "leaseGrant",
          key: id.toString(16)
        })
        yield* etcd.leaseRevoke(id)
        yield* grant(etcd, { ttl: 60, id })
      })
  },
  {
    title: "leaseGrant raises a TTL below the minimum to the minimum, even a negative one",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        for (const ttl of [1, 0, -5]) assert.equal((yield* grant(etcd, { ttl })).ttl, 2)
        assert.equal((yield* grant(etcd, { ttl: 3 })).ttl, 3)
      })
  },
  {
    title: "leaseGrant refuses more than 9,000,000,000 seconds",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        assert.equal((yield* grant(etcd, { ttl: 9_000_000_000 })).ttl, 9_000_000_000)
        const error = yield* Effect.flip(etcd.leaseGrant({ ttl: 9_000_000_001 }))
        assert.equal(error.reason._tag, "InvalidArgument")
      })
  },
  {
    title: "leaseRevoke deletes all keys of the lease at one revision, in key order",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision, header } = subject
        const { id } = yield* grant(etcd, { ttl: 60 })
        const names = Array.from({ length: 100 }, (_, i) => `${root}${(i * 37) % 100}`)
        yield* etcd.txn({ then: names.map((key) => ({ _tag: "Put", request: { key, value: "", lease: id } })) })
        yield* etcd.put({ key: `${root}other`, value: "" })
        const watch = yield* open(etcd, all(subject))
        assertEqual(yield* etcd.leaseRevoke(id), { header: header(3) })
        assert.deepEqual(
          yield* watch.events(100),
          [...names].sort().map((key) => ({ type: "delete", kv: tombstone(key, revision + 3n) }))
        )
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}other`])
      })
  },
  {
    title: "leaseRevoke of a lease without keys creates no revision",
    body: ({ etcd, header }) =>
      Effect.gen(function* () {
        const { id } = yield* grant(etcd, { ttl: 60 })
        assertEqual(yield* etcd.leaseRevoke(id), { header: header() })
      })
  },
  {
    title: "leaseRevoke keeps keys that were deleted and created anew without the lease",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1", lease: id })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.leaseRevoke(id)
        assert.deepEqual(yield* keysIn(etcd, { key }), [key])
      })
  },
  {
    title: "leaseRevoke and leaseKeepAlive of an unknown lease fail with LeaseNotFound",
    body: ({ etcd, revision }) =>
      Effect.gen(function* () {
        const id = freeId(revision)
        const key = id.toString(16)
        yield* assertRefused(etcd.leaseRevoke(id), { reason: "LeaseNotFound", method: "leaseRevoke", key })
        yield* assertRefused(etcd.leaseKeepAlive({ id }), { reason: "LeaseNotFound", method: "leaseKeepAlive", key })
      })
  },
  {
    title: "leaseTimeToLive returns the remaining and the granted TTL and, on request, the keys",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key: `${root}b`, value: "", lease: id })
        yield* etcd.put({ key: `${root}a`, value: "", lease: id })
        const { header: _, ttl, ...rest } = yield* etcd.leaseTimeToLive({ id })
        assert.ok(ttl > 50 && ttl <= 60)
        assertEqual(rest, { id, grantedTtl: 60, keys: [] })
        const { keys } = yield* etcd.leaseTimeToLive({ id, keys: true })
        assert.deepEqual(keys.map(text).sort(), [`${root}a`, `${root}b`])
      })
  },
  {
    title: "leaseTimeToLive of an unknown lease returns -1",
    body: ({ etcd, revision, header }) =>
      Effect.gen(function* () {
        const id = freeId(revision)
        const nothing = { header: header(), id, ttl: -1, grantedTtl: 0, keys: [] }
        assertEqual(yield* etcd.leaseTimeToLive({ id, keys: true }), nothing)
      })
  },
  {
    title: "leaseLeases lists all leases",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        const before = new Set((yield* etcd.leaseLeases).leases)
        // A lease of an earlier check may expire meanwhile.
        const added = Effect.map(
          etcd.leaseLeases,
          ({ leases }) => new Set(leases.filter((id) => !before.has(id)))
        )
        const first = yield* grant(etcd, { ttl: 60 })
        const second = yield* grant(etcd, { ttl: 30 })
        assert.deepEqual(yield* added, new Set([first.id, second.id]))
        yield* etcd.leaseRevoke(first.id)
        assert.deepEqual(yield* added, new Set([second.id]))
      })
  },
  {
    title: "leaseKeepAlive starts the TTL again and returns it",
    body: ({ etcd, header }) =>
      Effect.gen(function* () {
        const { id } = yield* grant(etcd, { ttl: 60 })
        assertEqual(yield* etcd.leaseKeepAlive({ id }), { header: header(), id, ttl: 60 })
      })
  },
  {
    title: "leaseKeepAlive of many leases at once answers each call",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        const ttls = Array.from({ length: 20 }, (_, i) => 60 + i)
        const granted = yield* Effect.forEach(ttls, (ttl) => grant(etcd, { ttl }))
        const renewed = yield* Effect.forEach(granted, ({ id }) => etcd.leaseKeepAlive({ id }), {
          concurrency: "unbounded"
        })
        assert.deepEqual(
          renewed.map(({ id, ttl }) => ({ id, ttl })),
          granted.map(({ id, ttl }) => ({ id, ttl }))
        )
      })
  },
  {
    title: "an expired lease deletes its keys at one revision and no longer exists",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        const { id } = yield* grant(etcd, { ttl: 2 })
        yield* etcd.put({ key: `${root}b`, value: "1", lease: id })
        yield* etcd.put({ key: `${root}a`, value: "1", lease: id })
        const watch = yield* open(etcd, { ...all(subject), prevKv: true })
        assert.deepEqual(yield* whileElapsing(subject, watch.events(2)), [
          {
            type: "delete",
            kv: tombstone(`${root}a`, revision + 3n),
            prevKv: kv(`${root}a`, "1", { create: revision + 2n, lease: id })
          },
          {
            type: "delete",
            kv: tombstone(`${root}b`, revision + 3n),
            prevKv: kv(`${root}b`, "1", { create: revision + 1n, lease: id })
          }
        ])
        assert.equal((yield* etcd.leaseTimeToLive({ id })).ttl, -1)
        yield* assertRefused(etcd.leaseKeepAlive({ id }), {
          reason: "LeaseNotFound",
          method: "leaseKeepAlive",
          key: id.toString(16)
        })
      })
  },
  {
    title: "leaseKeepAlive keeps a lease beyond its TTL",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root } = subject
        const kept = yield* grant(etcd, { ttl: 2 })
        yield* etcd.put({ key: `${root}kept`, value: "", lease: kept.id })
        const lost = yield* grant(etcd, { ttl: 2 })
        yield* etcd.put({ key: `${root}lost`, value: "", lease: lost.id })
        const watch = yield* open(etcd, { key: `${root}lost` })
        yield* Effect.raceFirst(
          watch.events(1),
          Effect.forever(Effect.andThen(etcd.leaseKeepAlive({ id: kept.id }), subject.elapse(250)))
        )
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}kept`])
        yield* etcd.leaseKeepAlive({ id: kept.id })
      })
  },
  {
    title: "put that moves a key to a longer lease keeps it beyond the shorter one",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root } = subject
        const short = yield* grant(etcd, { ttl: 2 })
        const long = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key: `${root}moved`, value: "", lease: short.id })
        yield* etcd.put({ key: `${root}left`, value: "", lease: short.id })
        yield* etcd.put({ key: `${root}moved`, value: "", lease: long.id })
        const watch = yield* open(etcd, { ...all(subject), filters: ["noPut"] })
        const events = yield* Effect.forkChild(watch.events(1))
        yield* whileElapsing(subject, Fiber.join(events))
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}moved`])
      })
  }
]

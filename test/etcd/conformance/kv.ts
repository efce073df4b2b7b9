/**
 * Checks of `range`, `put` and `deleteRange`.
 *
 * @module
 */
import { Effect, Stream } from "effect"
import { type Bytes, type KeyRange, prefix } from "../../../src/etcd/KeyRange.ts"
import type { RangeRequest, RequestOp } from "../../../src/etcd/messages/kv.ts"
import { rangeAll } from "../../../src/etcd/rangeAll.ts"
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
  type Subject,
  text,
  tombstone
} from "./subject.ts"

const putAll = ({ etcd, root }: Subject, ...names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => etcd.put({ key: root + name, value: name }), { discard: true })

export const kvChecks: ReadonlyArray<Check> = [
  {
    title: "range of a missing key returns nothing, at the newest revision",
    body: ({ etcd, root, header }) =>
      Effect.map(
        etcd.range({ key: `${root}a` }),
        (answer) => assertEqual(answer, { header: header(), kvs: [], more: false, count: 0n })
      )
  },
  {
    title: "put creates a key at version 1, then raises its version and keeps its create revision",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        assertEqual(yield* etcd.put({ key, value: "1" }), { header: header(1) })
        assertEqual(yield* etcd.range({ key }), {
          header: header(1),
          kvs: [kv(key, "1", { create: revision + 1n })],
          more: false,
          count: 1n
        })
        yield* etcd.put({ key, value: "2" })
        assertEqual((yield* etcd.range({ key })).kvs, [
          kv(key, "2", { create: revision + 1n, mod: revision + 2n, version: 2n })
        ])
      })
  },
  {
    title: "put of a deleted key creates it anew",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key, value: "3" })
        assertEqual((yield* etcd.range({ key })).kvs, [kv(key, "3", { create: revision + 4n })])
      })
  },
  {
    title: "put of the same value is a write with a new revision",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key, value: "1" })
        assertEqual((yield* etcd.range({ key })).kvs, [
          kv(key, "1", { create: revision + 1n, mod: revision + 2n, version: 2n })
        ])
      })
  },
  {
    title: "put accepts an empty value and any bytes",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
        const key = rawKey(root, ...bytes)
        yield* etcd.put({ key, value: bytes })
        yield* etcd.put({ key: `${root}empty`, value: "" })
        const { kvs } = yield* etcd.range(prefix(root))
        assert.deepEqual(kvs.map(({ key, value }) => [[...key], [...value]]), [
          [[...key], [...bytes]],
          [[...rawKey(`${root}empty`)], []]
        ])
      })
  },
  {
    title: "put with prevKv returns the previous key-value",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        assertEqual(yield* etcd.put({ key, value: "1", prevKv: true }), { header: header(1) })
        assertEqual(yield* etcd.put({ key, value: "2", prevKv: true }), {
          header: header(2),
          prevKv: kv(key, "1", { create: revision + 1n })
        })
      })
  },
  {
    title: "put with ignoreValue keeps the value and sets the lease",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key, value: "", ignoreValue: true, lease: id })
        assertEqual((yield* etcd.range({ key })).kvs, [
          kv(key, "1", { create: revision + 1n, mod: revision + 2n, version: 2n, lease: id })
        ])
      })
  },
  {
    title: "put with ignoreLease keeps the lease and sets the value",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1", lease: id })
        yield* etcd.put({ key, value: "2", ignoreLease: true })
        assertEqual((yield* etcd.range({ key })).kvs, [
          kv(key, "2", { create: revision + 1n, mod: revision + 2n, version: 2n, lease: id })
        ])
      })
  },
  {
    title: "put with ignoreValue or ignoreLease refuses a missing key, a value and a lease",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const expected = { reason: "InvalidArgument", method: "put", key } as const
        yield* assertRefused(etcd.put({ key, value: "", ignoreValue: true }), expected)
        yield* assertRefused(etcd.put({ key, value: "1", ignoreLease: true }), expected)
        yield* assertRefused(etcd.put({ key, value: "1", ignoreValue: true }), expected)
        yield* assertRefused(etcd.put({ key, value: "1", ignoreLease: true, lease: 1n }), expected)
        assertEqual((yield* etcd.range({ key })).header, header())
      })
  },
  {
    title: "put with an expired lease fails with LeaseNotFound and writes nothing",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.leaseRevoke(id)
        yield* assertRefused(etcd.put({ key, value: "1", lease: id }), { reason: "LeaseNotFound", method: "put", key })
        assertEqual(yield* etcd.range({ key }), { header: header(), kvs: [], more: false, count: 0n })
      })
  },
  {
    title: "put moves a key to another lease: it survives the end of the first lease, not of the second",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const first = yield* grant(etcd, { ttl: 60 })
        const second = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1", lease: first.id })
        yield* etcd.put({ key, value: "2", lease: second.id })
        assertEqual((yield* etcd.leaseTimeToLive({ id: first.id, keys: true })).keys, [])
        assertEqual((yield* etcd.leaseTimeToLive({ id: second.id, keys: true })).keys, [key])
        yield* etcd.leaseRevoke(first.id)
        assert.deepEqual(yield* keysIn(etcd, { key }), [key])
        yield* etcd.leaseRevoke(second.id)
        assert.deepEqual(yield* keysIn(etcd, { key }), [])
      })
  },
  {
    title: "put without a lease detaches the key from its lease",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1", lease: id })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.leaseRevoke(id)
        assert.deepEqual(yield* keysIn(etcd, { key }), [key])
      })
  },
  {
    title: "put of a too large value fails with TooLarge",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const expected = { reason: "TooLarge", method: "put", key } as const
        yield* assertRefused(etcd.put({ key, value: new Uint8Array(1_600_000) }), expected)
        yield* assertRefused(etcd.put({ key, value: new Uint8Array(3_000_000) }), expected)
        yield* etcd.put({ key, value: new Uint8Array(1_500_000) })
        assertEqual((yield* etcd.range({ key, keysOnly: true })).header, header(1))
        yield* etcd.deleteRange({ key })
      })
  },
  {
    title: "put copies its bytes, and range returns copies",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = new TextEncoder().encode(`${root}a`)
        const value = new Uint8Array([1])
        const put = etcd.put({ key, value })
        yield* put
        value[0] = 2
        const { kvs: [first] } = yield* etcd.range({ key })
        first?.value.fill(3)
        first?.key.fill(3)
        assert.deepEqual((yield* etcd.range({ key })).kvs.map(({ key, value }) => [text(key), [...value]]), [
          [`${root}a`, [1]]
        ])
      })
  },
  {
    title: "put gives each of many concurrent calls its own revision",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const answers = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, i) => `${root}${i}`),
          (key) => etcd.put({ key, value: "1" }),
          { concurrency: "unbounded" }
        )
        const revisions = new Set(answers.map(({ header }) => header.revision))
        assert.deepEqual(revisions, new Set(Array.from({ length: 50 }, (_, i) => revision + 1n + BigInt(i))))
      })
  },
  {
    title: "every operation on keys refuses an empty key",
    body: ({ etcd, header }) =>
      Effect.gen(function* () {
        yield* assertRefused(etcd.range({ key: "" }), { reason: "InvalidArgument", method: "range", key: "" })
        yield* assertRefused(etcd.put({ key: "", value: "1" }), { reason: "InvalidArgument", method: "put", key: "" })
        yield* assertRefused(etcd.deleteRange({ key: "", rangeEnd: "b" }), {
          reason: "InvalidArgument",
          method: "deleteRange",
          key: ""
        })
        const ops: ReadonlyArray<RequestOp> = [
          { _tag: "Range", request: { key: "" } },
          { _tag: "Put", request: { key: "", value: "" } },
          { _tag: "DeleteRange", request: { key: new Uint8Array(0) } },
          { _tag: "Txn", request: { else: [{ _tag: "Range", request: { key: "" } }] } }
        ]
        for (const op of ops) {
          assert.equal(yield* refusal(etcd.txn({ then: [op] })), "InvalidArgument")
          assert.equal(yield* refusal(etcd.txn({ else: [op] })), "InvalidArgument")
        }
        const compare = { key: "", target: "mod", result: "equal", value: 0n } as const
        yield* assertRefused(etcd.txn({ compare: [compare] }), { reason: "InvalidArgument", method: "txn" })
        assertEqual((yield* etcd.range({ key: "a" })).header, header())
      })
  },
  {
    title: "deleteRange of nothing succeeds and creates no revision",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const nothing = { header: header(), deleted: 0n, prevKvs: [] }
        assertEqual(yield* etcd.deleteRange({ key: `${root}a`, prevKv: true }), nothing)
        assertEqual(yield* etcd.deleteRange({ ...prefix(root), prevKv: true }), nothing)
        assertEqual((yield* etcd.range({ key: `${root}a` })).header, header())
      })
  },
  {
    title: "deleteRange deletes one key and returns it with prevKv",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key: `${key}a`, value: "1" })
        assertEqual(yield* etcd.deleteRange({ key, prevKv: true }), {
          header: header(3),
          deleted: 1n,
          prevKvs: [kv(key, "1", { create: revision + 1n })]
        })
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${key}a`])
      })
  },
  {
    title: "deleteRange deletes a range at one revision, in key order, and no neighbours",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision, header } = subject
        yield* putAll(subject, "d/", "d/b", "d/a", "d", "d0", "d/\u{10ffff}")
        const watch = yield* open(etcd, prefix(root))
        assertEqual(yield* etcd.deleteRange({ ...prefix(`${root}d/`), prevKv: true }), {
          header: header(7),
          deleted: 4n,
          prevKvs: [
            kv(`${root}d/`, "d/", { create: revision + 1n }),
            kv(`${root}d/a`, "d/a", { create: revision + 3n }),
            kv(`${root}d/b`, "d/b", { create: revision + 2n }),
            kv(`${root}d/\u{10ffff}`, "d/\u{10ffff}", { create: revision + 6n })
          ]
        })
        assert.deepEqual(
          yield* watch.events(4),
          ["d/", "d/a", "d/b", "d/\u{10ffff}"].map((name) => ({
            type: "delete",
            kv: tombstone(root + name, revision + 7n)
          }))
        )
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}d`, `${root}d0`])
      })
  },
  {
    title: "deleteRange without prevKv returns only the number",
    body: (subject) =>
      Effect.gen(function* () {
        yield* putAll(subject, "a", "b")
        assertEqual(yield* subject.etcd.deleteRange(all(subject)), {
          header: subject.header(3),
          deleted: 2n,
          prevKvs: []
        })
      })
  },
  {
    title: "range orders keys by bytes, not by UTF-16",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        // In UTF-16 the surrogates of U+1F600 come before U+FF5E; in UTF-8 they come after.
        const keys: ReadonlyArray<Bytes> = [
          rawKey(root, 0xff),
          `${root}\u{1f600}`,
          `${root}\uff5e`,
          rawKey(root, 0x80),
          `${root}b`,
          `${root}a\0`,
          `${root}a`,
          `${root}Z`,
          rawKey(root, 0)
        ]
        yield* Effect.forEach(keys, (key) => etcd.put({ key, value: "" }))
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [
          `${root}\0`,
          `${root}Z`,
          `${root}a`,
          `${root}a\0`,
          `${root}b`,
          `${root}\\x80`,
          `${root}\uff5e`,
          `${root}\u{1f600}`,
          `${root}\\xff`
        ])
      })
  },
  {
    title: "range of a prefix that ends in 0xff returns exactly the keys that start with it",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const inside = [rawKey(root, 1, 0xff), rawKey(root, 1, 0xff, 0), rawKey(root, 1, 0xff, 0xff, 7)]
        const outside = [rawKey(root, 1), rawKey(root, 1, 0xfe, 0xff), rawKey(root, 2)]
        yield* Effect.forEach([...inside, ...outside], (key) => etcd.put({ key, value: "" }))
        assert.deepEqual(yield* keysIn(etcd, prefix(rawKey(root, 1, 0xff))), inside.map(text))
      })
  },
  {
    title: "range of the prefix 0xff goes to the end of the keyspace",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const last = [new Uint8Array([0xff]), new Uint8Array([0xff, 0]), new Uint8Array([0xff, 0xff, 0xff])]
        yield* Effect.acquireRelease(
          Effect.forEach([...last, root], (key) => etcd.put({ key, value: "" })),
          () => Effect.ignore(etcd.deleteRange(prefix(new Uint8Array([0xff]))))
        )
        assertEqual(prefix(new Uint8Array([0xff])), { key: new Uint8Array([0xff]), rangeEnd: "\0" })
        assert.deepEqual(yield* keysIn(etcd, prefix(new Uint8Array([0xff]))), last.map(text))
        assert.deepEqual(yield* keysIn(etcd, prefix(new Uint8Array([0xff, 0xff]))), ["\\xff\\xff\\xff"])
      })
  },
  {
    title: "range with a rangeEnd of one zero byte goes to the end of the keyspace, from a zero byte to all keys",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: `${root}a`, value: "" })
        yield* etcd.put({ key: `${root}b`, value: "" })
        const zero = new Uint8Array(1)
        const isOurs = (key: string) => key.startsWith(root)
        assert.deepEqual((yield* keysIn(etcd, { key: `${root}b`, rangeEnd: zero })).filter(isOurs), [`${root}b`])
        assert.deepEqual((yield* keysIn(etcd, { key: "\0", rangeEnd: "\0" })).filter(isOurs), [`${root}a`, `${root}b`])
        assert.deepEqual((yield* keysIn(etcd, prefix(""))).filter(isOurs), [`${root}a`, `${root}b`])
      })
  },
  {
    title: "range excludes its end, and is empty if the end does not follow the start",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root } = subject
        yield* putAll(subject, "a", "b", "c")
        const range = (start: string, end: string): KeyRange => ({ key: root + start, rangeEnd: root + end })
        assert.deepEqual(yield* keysIn(etcd, range("a", "c")), [`${root}a`, `${root}b`])
        assert.deepEqual(yield* keysIn(etcd, range("b", "b")), [])
        assert.deepEqual(yield* keysIn(etcd, range("c", "a")), [])
        assert.deepEqual(yield* keysIn(etcd, { key: `${root}b`, rangeEnd: "" }), [`${root}b`])
      })
  },
  {
    title: "range with a limit returns that many keys, whether there are more, and the total count",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root } = subject
        yield* putAll(subject, "a", "b", "c")
        const outcome = (limit: number) =>
          Effect.map(etcd.range({ ...prefix(root), limit }), ({ kvs, more, count }) => [kvs.length, more, count])
        assert.deepEqual(yield* outcome(2), [2, true, 3n])
        assert.deepEqual(yield* outcome(3), [3, false, 3n])
        assert.deepEqual(yield* outcome(4), [3, false, 3n])
        assert.deepEqual(yield* outcome(0), [3, false, 3n])
        assert.deepEqual(yield* keysIn(etcd, { ...prefix(root), limit: 2 }), [`${root}a`, `${root}b`])
      })
  },
  {
    title:
      "range sorts by key, version, create revision, mod revision and value, both ways, before it applies the limit",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        for (const [name, value] of [["b", "z"], ["c", "x"], ["a", "y"], ["b", "w"], ["b", "v"], ["c", "x"]] as const) {
          yield* etcd.put({ key: root + name, value })
        }
        const sorted = (sort: NonNullable<RangeRequest["sort"]>, limit = 0) =>
          Effect.map(
            etcd.range({ ...prefix(root), sort, limit }),
            ({ kvs, more }) => kvs.map(({ key }) => text(key).slice(root.length)).join("") + (more ? "…" : "")
          )
        assert.equal(yield* sorted({ target: "key", order: "ascend" }), "abc")
        assert.equal(yield* sorted({ target: "key", order: "descend" }), "cba")
        assert.equal(yield* sorted({ target: "version", order: "ascend" }), "acb")
        assert.equal(yield* sorted({ target: "version", order: "descend" }), "bca")
        assert.equal(yield* sorted({ target: "create", order: "ascend" }), "bca")
        assert.equal(yield* sorted({ target: "create", order: "descend" }), "acb")
        assert.equal(yield* sorted({ target: "mod", order: "ascend" }), "abc")
        assert.equal(yield* sorted({ target: "mod", order: "descend" }), "cba")
        assert.equal(yield* sorted({ target: "value", order: "ascend" }), "bca")
        assert.equal(yield* sorted({ target: "value", order: "descend" }), "acb")
        assert.equal(yield* sorted({ target: "mod", order: "descend" }, 1), "c…")
      })
  },
  {
    title: "range sorts values by bytes",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: `${root}a`, value: "\u{1f600}" })
        yield* etcd.put({ key: `${root}b`, value: "\uff5e" })
        const { kvs } = yield* etcd.range({ ...prefix(root), sort: { target: "value", order: "ascend" } })
        assertEqual(kvs.map(({ key }) => key), [`${root}b`, `${root}a`])
      })
  },
  {
    title: "range with keysOnly omits values, with countOnly everything but the count",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision, header } = subject
        yield* putAll(subject, "a", "b")
        assertEqual(yield* etcd.range({ ...prefix(root), keysOnly: true }), {
          header: header(2),
          kvs: [kv(`${root}a`, "", { create: revision + 1n }), kv(`${root}b`, "", { create: revision + 2n })],
          more: false,
          count: 2n
        })
        assertEqual(yield* etcd.range({ ...prefix(root), countOnly: true, limit: 1 }), {
          header: header(2),
          kvs: [],
          more: false,
          count: 2n
        })
      })
  },
  {
    title: "range omits keys outside of the requested revisions, but counts them",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        yield* putAll(subject, "a", "b", "c", "a")
        const outcome = (request: Omit<RangeRequest, "key">) =>
          Effect.map(etcd.range({ ...prefix(root), ...request }), ({ kvs, more, count }) => ({
            keys: kvs.map(({ key }) => text(key).slice(root.length)).join(""),
            more,
            count
          }))
        const found = (keys: string, more = false) => ({ keys, more, count: 3n })
        assert.deepEqual(yield* outcome({ minModRevision: revision + 3n }), found("ac"))
        assert.deepEqual(yield* outcome({ maxModRevision: revision + 3n }), found("bc"))
        assert.deepEqual(yield* outcome({ minCreateRevision: revision + 2n }), found("bc"))
        assert.deepEqual(yield* outcome({ maxCreateRevision: revision + 2n }), found("ab"))
        assert.deepEqual(
          yield* outcome({ maxCreateRevision: revision + 1n, minModRevision: revision + 4n }),
          found("a")
        )
        assert.deepEqual(yield* outcome({ minModRevision: revision + 3n, limit: 1 }), found("a", true))
      })
  },
  {
    title: "range at a revision returns the keys at that revision",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key, value: "2" })
        yield* etcd.deleteRange({ key })
        yield* etcd.put({ key: `${root}b`, value: "3" })
        yield* etcd.put({ key, value: "4" })
        const at = (later: bigint) => etcd.range({ ...prefix(root), revision: revision + later })
        assertEqual((yield* at(1n)).kvs, [kv(key, "1", { create: revision + 1n })])
        assertEqual((yield* at(2n)).kvs, [kv(key, "2", { create: revision + 1n, mod: revision + 2n, version: 2n })])
        assertEqual(yield* at(3n), { header: header(5), kvs: [], more: false, count: 0n })
        const b = kv(`${root}b`, "3", { create: revision + 4n })
        assertEqual((yield* at(4n)).kvs, [b])
        assertEqual((yield* at(5n)).kvs, [kv(key, "4", { create: revision + 5n }), b])
        assertEqual((yield* at(-revision)).kvs, (yield* at(5n)).kvs)
      })
  },
  {
    title: "range at a revision in the future fails with InvalidArgument",
    body: ({ etcd, root, revision }) =>
      assertRefused(etcd.range({ key: root, revision: revision + 1n }), {
        reason: "InvalidArgument",
        method: "range",
        key: root
      })
  },
  {
    title: "range can be serializable",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: `${root}a`, value: "1" })
        assertEqual((yield* etcd.range({ key: `${root}a`, serializable: true })).kvs, [
          kv(`${root}a`, "1", { create: revision + 1n })
        ])
      })
  },
  {
    title: "rangeAll reads more keys than one page holds, at one revision",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const keys = Array.from({ length: 2_100 }, (_, i) => `${root}${String(i).padStart(5, "0")}`)
        for (let i = 0; i < keys.length; i += 100) {
          yield* etcd.txn({
            then: keys.slice(i, i + 100).map((key) => ({ _tag: "Put", request: { key, value: "" } }))
          })
        }
        const { kvs, ...rest } = yield* rangeAll(etcd, { ...prefix(root), keysOnly: true })
        assertEqual(rest, { header: header(21), more: false, count: 2_100n })
        assert.deepEqual(kvs.map(({ key }) => text(key)), keys)
      })
  },
  {
    title: "every operation refuses numbers that are not integers or exceed 64 bits",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const huge = 2n ** 63n
        const operations = [
          etcd.range({ key: root, limit: 0.5 }),
          etcd.range({ key: root, revision: huge }),
          etcd.range({ key: root, maxCreateRevision: huge }),
          etcd.put({ key: root, value: "", lease: huge }),
          etcd.txn({ compare: [{ key: root, target: "mod", result: "less", value: huge }] }),
          etcd.leaseGrant({ ttl: 60.5 }),
          etcd.leaseGrant({ ttl: 60, id: huge }),
          etcd.leaseRevoke(huge),
          etcd.leaseKeepAlive({ id: huge }),
          etcd.leaseTimeToLive({ id: huge }),
          etcd.compact({ revision: huge }),
          Stream.runDrain(etcd.watch({ key: root, startRevision: huge })),
          Stream.runDrain(etcd.watch({ key: root, progressEvery: 0 }))
        ]
        const reasons = yield* Effect.forEach(operations, (operation) => refusal<unknown>(operation))
        assert.deepEqual(reasons, operations.map(() => "InvalidArgument"))
      })
  },
  {
    title: "every operation refuses a missing lease id and numbers in place of bigints",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const missing = undefined as unknown as bigint
        const number = 5 as unknown as bigint
        const operations = [
          etcd.leaseRevoke(missing),
          etcd.leaseKeepAlive({ id: missing }),
          etcd.leaseTimeToLive({ id: missing }),
          etcd.leaseRevoke(number),
          etcd.leaseKeepAlive({ id: number }),
          etcd.leaseTimeToLive({ id: number }),
          etcd.leaseGrant({ ttl: 60, id: number }),
          etcd.put({ key: root, value: "", lease: number }),
          etcd.range({ key: root, revision: number })
        ]
        const reasons = yield* Effect.forEach(operations, (operation) => refusal<unknown>(operation))
        assert.deepEqual(reasons, operations.map(() => "InvalidArgument"))
      })
  }
]

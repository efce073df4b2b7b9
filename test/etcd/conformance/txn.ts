/**
 * Checks of `txn`.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { Compare, RequestOp, ResponseOp, TxnRequest } from "../../../src/etcd/messages/kv.ts"
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
  plain,
  type Subject,
  tombstone
} from "./subject.ts"

const range = (key: string, more: object = {}): RequestOp => ({ _tag: "Range", request: { key, ...more } })
const put = (key: string, value = "", more: object = {}): RequestOp => ({
  _tag: "Put",
  request: { key, value, ...more }
})
const remove = (key: string, rangeEnd?: string): RequestOp => ({
  _tag: "DeleteRange",
  request: rangeEnd === undefined ? { key } : { key, rangeEnd }
})
const nested = (request: TxnRequest): RequestOp => ({ _tag: "Txn", request })

/** Removes the headers of inner responses, which are incomplete. */
const outcome = (responses: ReadonlyArray<ResponseOp>): ReadonlyArray<unknown> =>
  responses.map(({ _tag, response }) => {
    const { header: _, ...rest } = response
    return plain({ _tag, ...rest, ...("responses" in rest ? { responses: outcome(rest.responses) } : {}) })
  })

const holds = (etcd: Etcd, ...compare: ReadonlyArray<Compare>) =>
  Effect.map(etcd.txn({ compare }), ({ succeeded }) => succeeded)

const results = ["equal", "notEqual", "greater", "less"] as const

/** The operators for which a comparison holds: `=`, `!`, `>`, `<`. */
const holding = (etcd: Etcd, compare: (result: Compare["result"]) => Compare) =>
  Effect.map(
    Effect.forEach(results, (result) => holds(etcd, compare(result))),
    (held) => held.map((one, i) => one ? "=!><".charAt(i) : "").join("")
  )

const assertRefusedTxn = ({ etcd, header, root }: Subject, request: TxnRequest, later = 0) =>
  Effect.gen(function* () {
    yield* assertRefused(etcd.txn(request), { reason: "InvalidArgument", method: "txn" })
    assertEqual((yield* etcd.range({ key: root })).header, header(later))
  })

export const txnChecks: ReadonlyArray<Check> = [
  {
    title: "txn of nothing succeeds and creates no revision",
    body: ({ etcd, header }) =>
      Effect.map(etcd.txn({}), (answer) => assertEqual(answer, { header: header(), succeeded: true, responses: [] }))
  },
  {
    title: "txn compares version, create revision, mod revision and lease with every operator",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.put({ key, value: "1" })
        yield* etcd.put({ key: `${root}b`, value: "1" })
        yield* etcd.put({ key, value: "2", lease: id })
        const actual = { version: 2n, create: revision + 1n, mod: revision + 3n, lease: id }
        for (const target of ["version", "create", "mod", "lease"] as const) {
          const with_ = (value: bigint) => holding(etcd, (result) => ({ key, target, result, value }))
          assert.equal(yield* with_(actual[target]), "=")
          assert.equal(yield* with_(actual[target] - 1n), "!>")
          assert.equal(yield* with_(actual[target] + 1n), "!<")
        }
      })
  },
  {
    title: "txn compares values by bytes",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "\uff5e" })
        const with_ = (value: string) => holding(etcd, (result) => ({ key, target: "value", result, value }))
        assert.equal(yield* with_("\uff5e"), "=")
        assert.equal(yield* with_("\u{1f600}"), "!<")
        assert.equal(yield* with_("\uff5e\0"), "!<")
        assert.equal(yield* with_("a"), "!>")
        assert.equal(yield* with_(""), "!>")
      })
  },
  {
    title: "txn compares a missing key as zeros, and no comparison of its value holds",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        yield* etcd.deleteRange({ key })
        for (const target of ["version", "create", "mod", "lease"] as const) {
          assert.equal(yield* holding(etcd, (result) => ({ key, target, result, value: 0n })), "=")
          assert.equal(yield* holding(etcd, (result) => ({ key, target, result, value: 1n })), "!<")
        }
        assert.equal(yield* holding(etcd, (result) => ({ key, target: "value", result, value: "" })), "")
      })
  },
  {
    title: "txn with a range in a comparison compares each existing key, or the absence of all",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: `${root}a`, value: "1" })
        yield* etcd.put({ key: `${root}b`, value: "2" })
        const mod = (result: Compare["result"], later: bigint): Compare => ({
          ...prefix(root),
          target: "mod",
          result,
          value: revision + later
        })
        assert.equal(yield* holds(etcd, mod("greater", 0n)), true)
        assert.equal(yield* holds(etcd, mod("greater", 1n)), false)
        assert.equal(yield* holds(etcd, mod("less", 3n)), true)
        assert.equal(yield* holds(etcd, mod("notEqual", 2n)), false)
        const missing = { ...prefix(`${root}x/`), result: "equal" } as const
        assert.equal(yield* holds(etcd, { ...missing, target: "create", value: 0n }), true)
        assert.equal(yield* holds(etcd, { ...missing, target: "create", value: 1n }), false)
        assert.equal(yield* holds(etcd, { ...missing, target: "value", value: "" }), false)
      })
  },
  {
    title: "txn runs the first branch if all comparisons hold, otherwise the other",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const absent: Compare = { key, target: "create", result: "equal", value: 0n }
        const create: TxnRequest = { compare: [absent], then: [put(key, "1")], else: [range(key)] }
        const first = yield* etcd.txn(create)
        assertEqual([first.header, first.succeeded, outcome(first.responses)], [header(1), true, [{ _tag: "Put" }]])
        const second = yield* etcd.txn(create)
        assertEqual([second.header, second.succeeded, outcome(second.responses)], [header(1), false, [
          { _tag: "Range", kvs: [kv(key, "1", { create: revision + 1n })], more: false, count: 1n }
        ]])
        const present: Compare = { ...absent, result: "greater" }
        assert.deepEqual(
          [yield* holds(etcd, present, absent), yield* holds(etcd, present, present)],
          [false, true]
        )
      })
  },
  {
    title: "txn applies all writes at one revision, and a watch receives them together in order",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision, header } = subject
        yield* etcd.put({ key: `${root}c`, value: "0" })
        yield* etcd.put({ key: `${root}d`, value: "0" })
        const watch = yield* open(etcd, all(subject))
        const answer = yield* etcd.txn({
          then: [
            put(`${root}b`, "1"),
            remove(`${root}c`, `${root}e`),
            nested({ then: [put(`${root}a`, "2")] }),
            put(`${root}f`, "3")
          ]
        })
        assertEqual([answer.header, answer.succeeded, outcome(answer.responses)], [header(3), true, [
          { _tag: "Put" },
          { _tag: "DeleteRange", deleted: 2n, prevKvs: [] },
          { _tag: "Txn", succeeded: true, responses: [{ _tag: "Put" }] },
          { _tag: "Put" }
        ]])
        const mod = revision + 3n
        assert.deepEqual(yield* watch.events(5), [
          { type: "put", kv: kv(`${root}b`, "1", { create: mod }) },
          { type: "delete", kv: tombstone(`${root}c`, mod) },
          { type: "delete", kv: tombstone(`${root}d`, mod) },
          { type: "put", kv: kv(`${root}a`, "2", { create: mod }) },
          { type: "put", kv: kv(`${root}f`, "3", { create: mod }) }
        ])
      })
  },
  {
    title: "txn reads its own earlier writes",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        const a = `${root}a`
        const b = `${root}b`
        yield* etcd.put({ key: b, value: "0" })
        const { responses } = yield* etcd.txn({
          then: [
            range(a),
            put(a, "1", { prevKv: true }),
            nested({ then: [range(a), remove(b), range(a, { rangeEnd: `${root}c` })] }),
            range(b),
            range(b, { revision: revision + 1n })
          ]
        })
        const created = kv(a, "1", { create: revision + 2n })
        const nothing = { _tag: "Range", kvs: [], more: false, count: 0n }
        const found = (...kvs: ReadonlyArray<unknown>) => ({
          _tag: "Range",
          kvs,
          more: false,
          count: BigInt(kvs.length)
        })
        assert.deepEqual(outcome(responses), [
          nothing,
          { _tag: "Put" },
          {
            _tag: "Txn",
            succeeded: true,
            responses: [found(created), { _tag: "DeleteRange", deleted: 1n, prevKvs: [] }, found(created)]
          },
          nothing,
          found(kv(b, "0", { create: revision + 1n }))
        ])
      })
  },
  {
    title: "txn chooses the branches of nested transactions before it writes anything",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        const { responses } = yield* etcd.txn({
          then: [
            put(key, "1"),
            nested({
              compare: [{ key, target: "create", result: "equal", value: 0n }],
              then: [put(`${root}then`)],
              else: [put(`${root}else`)]
            })
          ]
        })
        assert.deepEqual(outcome(responses), [
          { _tag: "Put" },
          { _tag: "Txn", succeeded: true, responses: [{ _tag: "Put" }] }
        ])
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [key, `${root}then`])
      })
  },
  {
    title: "txn runs the nested transaction's own branch, whatever the outer branch",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const never: Compare = { key: `${root}a`, target: "version", result: "greater", value: 0n }
        const answer = yield* etcd.txn({
          compare: [never],
          else: [nested({ compare: [never], then: [put(`${root}x`)], else: [put(`${root}y`), range(`${root}y`)] })]
        })
        assert.equal(answer.succeeded, false)
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}y`])
      })
  },
  {
    title: "txn that only reads, or deletes nothing, creates no revision",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const answer = yield* etcd.txn({ then: [range(`${root}a`), remove(`${root}a`), nested({ else: [put(root)] })] })
        assertEqual(answer.header, header())
        assert.deepEqual(outcome(answer.responses), [
          { _tag: "Range", kvs: [], more: false, count: 0n },
          { _tag: "DeleteRange", deleted: 0n, prevKvs: [] },
          { _tag: "Txn", succeeded: true, responses: [] }
        ])
      })
  },
  {
    title: "txn attaches keys to leases, and detaches them",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.txn({ then: [put(`${root}a`, "", { lease: id }), put(`${root}b`, "", { lease: id })] })
        yield* etcd.txn({ then: [put(`${root}a`), remove(`${root}b`), put(`${root}c`, "", { lease: id })] })
        assertEqual((yield* etcd.leaseTimeToLive({ id, keys: true })).keys, [`${root}c`])
        yield* etcd.leaseRevoke(id)
        assert.deepEqual(yield* keysIn(etcd, prefix(root)), [`${root}a`])
      })
  },
  {
    title: "txn with an expired lease fails with LeaseNotFound and writes nothing",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const { id } = yield* grant(etcd, { ttl: 60 })
        yield* etcd.leaseRevoke(id)
        const gone = put(`${root}b`, "", { lease: id })
        const expected = { reason: "LeaseNotFound", method: "txn" } as const
        yield* assertRefused(etcd.txn({ then: [put(`${root}a`), gone] }), expected)
        yield* assertRefused(etcd.txn({ then: [put(`${root}a`), nested({ then: [gone] })] }), expected)
        assertEqual(yield* etcd.range(prefix(root)), { header: header(), kvs: [], more: false, count: 0n })
        assert.equal((yield* etcd.txn({ then: [put(`${root}a`)], else: [gone] })).succeeded, true)
      })
  },
  {
    title: "txn with an invalid operation is refused and writes nothing",
    body: (subject) =>
      Effect.gen(function* () {
        const { root, revision } = subject
        const first = put(`${root}a`)
        yield* assertRefusedTxn(subject, { then: [first, put(`${root}b`, "", { ignoreValue: true })] })
        yield* assertRefusedTxn(subject, { then: [first, put(`${root}b`, "x", { ignoreValue: true })] })
        yield* assertRefusedTxn(subject, { then: [first, put(`${root}b`, "", { ignoreLease: true, lease: 1n })] })
        yield* assertRefusedTxn(subject, { then: [first, range(root, { revision: revision + 1n })] })
        yield* assertRefusedTxn(subject, {
          then: [nested({ then: [first, range(root, { revision: revision + 9n })] })]
        })
      })
  },
  {
    title: "txn accepts 128 comparisons and 128 operations in each branch",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, header } = subject
        const puts = (count: number) => Array.from({ length: count }, (_, i) => put(`${root}${i}`))
        const compares = (count: number) =>
          Array.from({ length: count }, (): Compare => ({ key: root, target: "mod", result: "equal", value: 0n }))
        yield* assertRefusedTxn(subject, { then: puts(129) })
        yield* assertRefusedTxn(subject, { else: puts(129) })
        yield* assertRefusedTxn(subject, { compare: compares(129) })
        const answer = yield* etcd.txn({ compare: compares(128), then: puts(128), else: puts(128) })
        assertEqual([answer.header, answer.responses.length], [header(1), 128])
      })
  },
  {
    title: "txn adds the operations of nested transactions to those of the outer one",
    body: (subject) =>
      Effect.gen(function* () {
        const reads = (count: number) => Array.from({ length: count }, () => range(subject.root))
        yield* assertRefusedTxn(subject, { then: [...reads(99), nested({ then: reads(29) })] })
        yield* assertRefusedTxn(subject, { then: reads(100), else: [nested({ then: reads(29) })] })
        yield* assertRefusedTxn(subject, { then: [nested({ then: [nested({ then: reads(127) })] })] })
        yield* subject.etcd.txn({
          then: [...reads(99), nested({ then: reads(28) }), nested({ else: reads(28) })].slice(1)
        })
        yield* subject.etcd.txn({ then: [nested({ then: [nested({ then: reads(126) })] })] })
      })
  },
  {
    title: "txn refuses to write one key twice",
    body: (subject) =>
      Effect.gen(function* () {
        const { root } = subject
        const a = put(`${root}a`)
        const duplicates: ReadonlyArray<ReadonlyArray<RequestOp>> = [
          [a, a],
          [a, remove(`${root}a`)],
          [remove(`${root}a`), a],
          [remove(root, `${root}b`), a],
          [a, nested({ then: [a] })],
          [nested({ else: [a] }), a],
          [nested({ then: [a] }), nested({ else: [a] })],
          [nested({ then: [a, a] })],
          [nested({ then: [remove(`${root}a`)] }), a],
          [remove(`${root}a`), nested({ then: [nested({ else: [a] })] })],
          [nested({ then: [remove(`${root}a`)] }), nested({ then: [a] })]
        ]
        for (const ops of duplicates) {
          yield* assertRefusedTxn(subject, { then: ops })
          yield* assertRefusedTxn(subject, { else: ops })
        }
      })
  },
  {
    title: "txn may delete one key twice, and write it in both branches of a transaction",
    body: ({ etcd, root, header }) =>
      Effect.gen(function* () {
        const a = put(`${root}a`, "1")
        yield* etcd.txn({ then: [a], else: [a] })
        yield* etcd.txn({ then: [nested({ then: [a], else: [a] }), remove(`${root}b`, `${root}c`)] })
        const answer = yield* etcd.txn({
          then: [remove(`${root}a`), remove(root, `${root}b`), nested({ then: [remove(`${root}a`)] })]
        })
        assertEqual(answer.header, header(3))
        assert.deepEqual(outcome(answer.responses), [
          { _tag: "DeleteRange", deleted: 1n, prevKvs: [] },
          { _tag: "DeleteRange", deleted: 0n, prevKvs: [] },
          { _tag: "Txn", succeeded: true, responses: [{ _tag: "DeleteRange", deleted: 0n, prevKvs: [] }] }
        ])
      })
  },
  {
    title: "txn may write a key that it also deletes with a range to the end of the keyspace: both apply in order",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        const key = `${root}a`
        yield* etcd.put({ key, value: "1" })
        const watch = yield* open(etcd, { ...all(subject), prevKv: true })
        const putAnew = put(key, "2", { prevKv: true })
        const first = yield* etcd.txn({ then: [remove(key, "\0"), putAnew, range(key)] })
        const second = yield* etcd.txn({ then: [putAnew, remove(key, "\0"), range(key)] })
        const old = kv(key, "1", { create: revision + 1n })
        const created = kv(key, "2", { create: revision + 2n })
        assert.deepEqual(outcome(first.responses).slice(1), [
          { _tag: "Put" },
          { _tag: "Range", kvs: [created], more: false, count: 1n }
        ])
        assert.deepEqual(outcome(second.responses), [
          { _tag: "Put", prevKv: created },
          { _tag: "DeleteRange", deleted: 1n, prevKvs: [] },
          { _tag: "Range", kvs: [], more: false, count: 0n }
        ])
        assert.deepEqual(yield* watch.events(4), [
          { type: "delete", kv: tombstone(key, revision + 2n), prevKv: old },
          { type: "put", kv: created },
          {
            type: "put",
            kv: kv(key, "2", { create: revision + 2n, mod: revision + 3n, version: 2n }),
            prevKv: created
          },
          { type: "delete", kv: tombstone(key, revision + 3n), prevKv: created }
        ])
      })
  },
  {
    title: "txn checks the kept value of a put before its lease, put alone the other way round",
    body: ({ etcd, root }) =>
      Effect.gen(function* () {
        const request = { key: `${root}a`, value: "", ignoreValue: true, lease: 0x1000_0000n }
        yield* assertRefused(etcd.txn({ then: [{ _tag: "Put", request }] }), {
          reason: "InvalidArgument",
          method: "txn"
        })
        yield* assertRefused(etcd.put(request), { reason: "LeaseNotFound", method: "put", key: `${root}a` })
      })
  }
]

/**
 * Checks of `compact` and `status`.
 *
 * @module
 */
import { Effect, Result } from "effect"
import assert from "node:assert/strict"
import { all, assertEqual, assertRefused, type Check, keysIn, kv } from "./subject.ts"

export const maintenanceChecks: ReadonlyArray<Check> = [
  {
    title: "compact makes reads before its revision fail with Compacted, and no others",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        const key = `${root}a`
        for (const value of ["1", "2", "3"]) yield* etcd.put({ key, value })
        assertEqual(yield* etcd.compact({ revision: revision + 2n }), { header: header(3) })
        const at = (later: bigint) => etcd.range({ key, revision: revision + later })
        yield* assertRefused(at(1n), { reason: "Compacted", method: "range", key })
        const place = { create: revision + 1n }
        assertEqual((yield* at(2n)).kvs, [kv(key, "2", { ...place, mod: revision + 2n, version: 2n })])
        assertEqual((yield* at(3n)).kvs, [kv(key, "3", { ...place, mod: revision + 3n, version: 3n })])
        yield* assertRefused(
          etcd.txn({ then: [{ _tag: "Range", request: { key, revision: revision + 1n } }] }),
          { reason: "Compacted", method: "txn" }
        )
      })
  },
  {
    title: "compact keeps existing keys of any age, and keys that were deleted later",
    body: (subject) =>
      Effect.gen(function* () {
        const { etcd, root, revision } = subject
        for (const name of ["anew", "gone", "later", "old"]) yield* etcd.put({ key: root + name, value: "" })
        yield* etcd.deleteRange({ key: `${root}gone` })
        yield* etcd.deleteRange({ key: `${root}anew` })
        yield* etcd.put({ key: `${root}anew`, value: "" })
        yield* etcd.deleteRange({ key: `${root}later` })
        yield* etcd.compact({ revision: revision + 7n, physical: true })
        const at = (later: bigint) => keysIn(etcd, { ...all(subject), revision: revision + later })
        assert.deepEqual(yield* at(7n), [`${root}anew`, `${root}later`, `${root}old`])
        assert.deepEqual(yield* at(8n), [`${root}anew`, `${root}old`])
        yield* etcd.put({ key: `${root}gone`, value: "" })
        assertEqual((yield* etcd.range({ key: `${root}gone` })).kvs, [
          kv(`${root}gone`, "", { create: revision + 9n })
        ])
      })
  },
  {
    title: "compact at or below the compacted revision fails with Compacted",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: root, value: "1" })
        yield* etcd.compact({ revision: revision + 1n })
        const expected = { reason: "Compacted", method: "compact" } as const
        yield* assertRefused(etcd.compact({ revision: revision + 1n }), expected)
        yield* assertRefused(etcd.compact({ revision }), expected)
        yield* assertRefused(etcd.compact({ revision: -1n }), expected)
      })
  },
  {
    title: "compact at a revision in the future fails with InvalidArgument",
    body: ({ etcd, revision, header }) =>
      Effect.gen(function* () {
        yield* assertRefused(etcd.compact({ revision: revision + 1n }), {
          reason: "InvalidArgument",
          method: "compact"
        })
        assertEqual((yield* etcd.range({ key: "a" })).header, header())
      })
  },
  {
    title: "compact at the newest revision leaves the store readable",
    body: ({ etcd, root, revision }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: root, value: "1" })
        yield* etcd.compact({ revision: revision + 1n, physical: true })
        const expected = [kv(root, "1", { create: revision + 1n })]
        assertEqual((yield* etcd.range({ key: root })).kvs, expected)
        assertEqual((yield* etcd.range({ key: root, revision: revision + 1n })).kvs, expected)
      })
  },
  {
    title: "status returns the server's version and the leader",
    body: ({ etcd, root, revision, header }) =>
      Effect.gen(function* () {
        yield* etcd.put({ key: root, value: "1" })
        const { dbSize, dbSizeInUse, errors, isLearner, leader, raftAppliedIndex, raftIndex, version, ...rest } =
          yield* etcd.status
        assert.match(version, /^\d+\.\d+\.\d+/)
        assert.ok(dbSize >= dbSizeInUse && dbSizeInUse > 0n && raftIndex > 0n && raftAppliedIndex > 0n)
        assert.deepEqual([isLearner, errors], [false, []])
        const { memberId, raftTerm } = header()
        assert.equal(leader, memberId)
        assertEqual(rest.header, header(1))
        assert.equal(rest.raftTerm, raftTerm)
        assert.ok(raftTerm > 0n && header().clusterId > 0n && memberId > 0n && revision > 0n)
      })
  },
  {
    title: "administration lists the members, and answers at the client URL of each",
    body: ({ etcd, header }) =>
      Effect.gen(function* () {
        const { administration } = etcd
        const { members } = yield* administration.memberList()
        assert.deepEqual(members.map(({ id, isLearner }) => [id, isLearner]), [[header().memberId, false]])
        const [url = ""] = members.flatMap(({ clientUrls }) => clientUrls)
        const calls = Result.getOrThrow(administration.at(url))
        assert.equal((yield* calls.status).header.memberId, header().memberId)
        assert.deepEqual((yield* calls.memberList({ serializable: true })).members, members)
      })
  },
  {
    title: "administration has no alarms on a healthy cluster",
    body: ({ etcd }) =>
      Effect.gen(function* () {
        assert.deepEqual((yield* etcd.administration.alarms).alarms, [])
      })
  },
  {
    title: "administration refuses a malformed endpoint",
    body: ({ etcd }) =>
      Effect.sync(() => {
        for (const endpoint of ["", "ftp://127.0.0.1:2379", "http://127.0.0.1:2379/path", "two words:1"]) {
          assert.ok(Result.isFailure(etcd.administration.at(endpoint)), endpoint)
        }
      })
  }
]

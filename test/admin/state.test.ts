/**
 * What `doctor` and the console read: members, states, alarms.
 *
 * @module
 */
import { Effect } from "effect"
import assert from "node:assert/strict"
import { Maintenance, Members } from "../../src/admin/mod.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { eachSharedEtcd, etcdctl } from "../harness/EtcdServer.ts"
import { describe, effect, live } from "../harness/it.ts"
import { eventually, freePort } from "../harness/real.ts"

describe("admin on a server", () => {
  eachSharedEtcd((server) => {
    const connected = <A, E>(program: Effect.Effect<A, E, Etcd>) =>
      Effect.provide(program, EtcdGrpc.layer({ endpoints: [server().endpoint] }))

    live("Members.list returns the members as etcdctl does", () =>
      connected(Effect.gen(function* () {
        const members = yield* Members.list
        const json = yield* etcdctl(server(), "member", "list", "-w", "json")
        assert.deepEqual(members, [{
          id: BigInt(/"ID":(\d+)/.exec(json)?.[1] ?? 0),
          name: server().name,
          peerUrls: [/"peerURLs":\["(.*?)"\]/.exec(json)?.[1]],
          clientUrls: [server().endpoint],
          isLearner: false
        }])
        assert.deepEqual(yield* Members.listSerializable, members)
      })))

    live("Maintenance.status returns the state of a member as etcdctl does", () =>
      connected(Effect.gen(function* () {
        // The server writes now and then by itself: both must have read the same state.
        const [status, json] = yield* eventually(Effect.gen(function* () {
          const before = yield* Maintenance.status(server().endpoint)
          const json = yield* etcdctl(server(), "endpoint", "status", "-w", "json")
          const after = yield* Maintenance.status(server().endpoint)
          const sizes = [before, after].map(({ dbSize, dbSizeInUse }) => `${dbSize} ${dbSizeInUse}`)
          return sizes[0] === sizes[1] ? [after, json] as const : yield* Effect.fail(sizes.join(", then "))
        }))
        const [{ Status: expected }] = JSON.parse(json.replace(/(:)(\d{16,})/g, '$1"$2"'))
        assert.equal(status.version, server().version)
        assert.equal(status.leader, BigInt(expected.leader))
        assert.equal(status.header.memberId, BigInt(expected.header.member_id))
        assert.equal(status.dbSize, BigInt(expected.dbSize))
        assert.equal(status.dbSizeInUse, BigInt(expected.dbSizeInUse))
        assert.equal(status.raftTerm, BigInt(expected.raftTerm))
        assert.ok(status.raftAppliedIndex > 0n && status.raftIndex >= status.raftAppliedIndex)
        assert.deepEqual([status.isLearner, status.errors], [false, []])
      })))

    live(
      "Maintenance.status of a member that does not answer fails, and the client works on",
      () =>
        connected(Effect.gen(function* () {
          const etcd = yield* Etcd
          yield* etcd.put({ key: "a", value: "1" })
          const endpoint = `http://127.0.0.1:${yield* freePort}`
          const error = yield* Effect.flip(Maintenance.status(endpoint))
          assert.ok(error._tag === "EtcdError")
          assert.deepEqual([error.reason._tag, error.method, error.endpoint], ["Unavailable", "status", endpoint])
          assert.equal((yield* etcd.range({ key: "a" })).count, 1n)
        }))
    )

    live("Maintenance.alarms is empty on a healthy cluster", () =>
      connected(Effect.gen(function* () {
        assert.deepEqual(yield* Maintenance.alarms, [])
      })))

    for (const endpoint of ["", "127.0.0.1", "https://127.0.0.1:2379", "http://u:p@127.0.0.1:2379", "m1"]) {
      live(
        `Maintenance.status refuses the endpoint ${JSON.stringify(endpoint)} before any I/O`,
        () =>
          connected(Effect.gen(function* () {
            const error = yield* Effect.flip(Maintenance.status(endpoint))
            assert.ok(error._tag === "InvalidOption")
            assert.deepEqual([error.of, error.option], ["Maintenance.status", "endpoint"])
            assert.doesNotMatch(error.message, /u:p/)
          }))
      )
    }
  })
})

describe("admin on the engine", () => {
  effect(
    "Members.list, Maintenance.status and alarms of the engine are those of a single healthy member",
    () =>
      Effect.gen(function* () {
        const [member, ...others] = yield* Members.list
        assert.deepEqual(others, [])
        const status = yield* Maintenance.status(member?.clientUrls[0] ?? "")
        assert.deepEqual([status.leader, status.header.memberId], [member?.id, member?.id])
        assert.deepEqual(yield* Maintenance.alarms, [])
        assert.equal((yield* Effect.flip(Maintenance.status("http://127.0.0.1:2379")))._tag, "InvalidOption")
      }).pipe(Effect.provide(EtcdMemory.layer()))
  )
})

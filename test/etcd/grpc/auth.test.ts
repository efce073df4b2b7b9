import { Effect, Redacted } from "effect"
import assert from "node:assert/strict"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eachEtcd, etcdctl, type EtcdServer, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { failureOf, resumed, watching } from "./support.ts"

/** Turns authentication on: `app` may read and write the keys under `ok/`. */
const protect = (server: EtcdServer) =>
  Effect.forEach([
    "role add app",
    "role grant-permission app readwrite ok/ --prefix=true",
    "user add app:s3cret",
    "user grant-role app app",
    "user add root:root",
    "user grant-role root root",
    "auth enable"
  ], (command) => etcdctl(server, ...command.split(" ")))

const connect = (server: EtcdServer, password = "s3cret", username = "app") =>
  EtcdGrpc.make({ endpoints: [server.endpoint], username, password: Redacted.make(password) })

/** With a user, the server drops the tokens of that user. */
const forgetTokens = (server: EtcdServer) =>
  Effect.gen(function* () {
    yield* etcdctl(server, "--user=root:root", "user", "delete", "app")
    yield* etcdctl(server, "--user=root:root", "user", "add", "app:s3cret")
    yield* etcdctl(server, "--user=root:root", "user", "grant-role", "app", "app")
  })

describe("EtcdGrpc authentication", () => {
  eachEtcd((version) => {
    live(
      "EtcdGrpc with credentials works with and without authentication on the server",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          const etcd = yield* connect(server)
          yield* etcd.put({ key: "ok/a", value: "1" })
          yield* protect(server)
          yield* etcd.put({ key: "ok/a", value: "2" })
          assert.equal((yield* etcd.range(prefix("ok/"))).count, 1n)
        })
    )

    live("EtcdGrpc fails with Unauthenticated for missing and wrong credentials", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        yield* protect(server)
        const wrong = yield* connect(server, "wr0ng")
        const none = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        assert.deepEqual(yield* failureOf(wrong.range({ key: "ok/a" })), {
          reason: "Unauthenticated",
          detail: "etcdserver: authentication failed, invalid user ID or password",
          method: "range",
          key: "ok/a",
          endpoint: server.endpoint
        })
        assert.equal((yield* failureOf(wrong.leaseKeepAlive({ id: 1n }))).reason, "Unauthenticated")
        assert.equal((yield* (yield* watching(wrong, { key: "ok/a" })).failure).reason._tag, "Unauthenticated")
        assert.deepEqual(yield* failureOf(none.range({ key: "ok/a" })), {
          reason: "Unauthenticated",
          detail: "etcdserver: user name is empty",
          method: "range",
          key: "ok/a",
          endpoint: server.endpoint
        })
        assert.equal((yield* (yield* watching(none, { key: "ok/a" })).failure).reason._tag, "Unauthenticated")
      }))

    live(
      "EtcdGrpc fails with PermissionDenied outside of the role; a refused watch affects no other",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          yield* protect(server)
          const etcd = yield* connect(server)
          assert.deepEqual(yield* failureOf(etcd.put({ key: "no/a", value: "1" })), {
            reason: "PermissionDenied",
            detail: "etcdserver: permission denied",
            method: "put",
            key: "no/a",
            endpoint: server.endpoint
          })
          const [one, denied, two] = yield* Effect.all([
            watching(etcd, { key: "ok/a" }),
            watching(etcd, { key: "no/a" }),
            watching(etcd, { key: "ok/a" })
          ])
          assert.equal((yield* denied.failure).reason._tag, "PermissionDenied")
          yield* Effect.all([one.created, two.created])
          yield* etcd.put({ key: "ok/a", value: "1" })
          yield* Effect.forEach([one, two], (watch) => watch.until(({ _tag }) => _tag === "Events"))
          assert.deepEqual([one.error, two.error], [undefined, undefined])
        })
    )

    live(
      "EtcdGrpc renews a token that the server has forgotten, for calls, heartbeats and watches",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          yield* protect(server)
          const etcd = yield* connect(server)
          yield* etcd.put({ key: "ok/a", value: "1" })
          const { id } = yield* etcd.leaseGrant({ ttl: 60 })
          yield* etcd.leaseKeepAlive({ id })
          const before = yield* watching(etcd, { key: "ok/a" })
          yield* before.created

          yield* forgetTokens(server)
          const { header } = yield* etcd.put({ key: "ok/a", value: "2" })
          yield* forgetTokens(server)
          const again = yield* resumed(etcd, { key: "ok/a", startRevision: header.revision + 1n })
          yield* etcd.put({ key: "ok/a", value: "3" })
          yield* again.until(({ _tag }) => _tag === "Events")
          assert.deepEqual(again.events, [["ok/a", "3"]])
          yield* eventually(etcd.leaseKeepAlive({ id }), { every: 100 })
        })
    )

    live("EtcdGrpc renews its token after a restart of the server", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version, args: ["--auth-token", "simple"] })
        yield* protect(server)
        const etcd = yield* connect(server)
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.leaseKeepAlive({ id })
        const watch = yield* watching(etcd, { key: "ok/a" })
        yield* watch.created
        yield* server.stop
        yield* server.start
        assert.equal((yield* watch.failure).reason._tag, "Unavailable")
        const next = yield* resumed(etcd, { key: "ok/a" })
        yield* eventually(etcd.leaseKeepAlive({ id }))
        yield* etcd.put({ key: "ok/a", value: "1" })
        yield* next.until(({ _tag }) => _tag === "Events")
        assert.deepEqual(next.events, [["ok/a", "1"]])
      }))
  })
})

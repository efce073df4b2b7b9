import { Effect, Redacted, Stream } from "effect"
import assert from "node:assert/strict"
import { Auth, Maintenance, Members } from "../../src/admin/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { eachEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { addUser, as, connected, refusalOf } from "./support.ts"

const text = (bytes: string | Uint8Array): string => typeof bytes === "string" ? bytes : new TextDecoder().decode(bytes)

describe("Auth", () => {
  eachEtcd((version) => {
    live("Auth adds, lists, changes and deletes users, roles and permissions", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          yield* Auth.roleAdd("app")
          yield* Auth.roleAdd("other")
          assert.deepEqual(yield* Auth.roleList, ["app", "other"])
          yield* Auth.roleGrantPermission({ role: "app", access: "read", ...prefix("/a/") })
          yield* Auth.roleGrantPermission({ role: "app", access: "readwrite", ...prefix("/a/") })
          yield* Auth.roleGrantPermission({ role: "app", access: "write", key: "/b" })
          const granted = (yield* Auth.roleGet("app")).permissions
            .map(({ access, key, rangeEnd }) => [access, text(key), rangeEnd === undefined ? "" : text(rangeEnd)])
          assert.deepEqual(granted, [["readwrite", "/a/", "/a0"], ["write", "/b", ""]])
          yield* Auth.roleRevokePermission({ role: "app", ...prefix("/a/") })
          assert.equal((yield* Auth.roleGet("app")).permissions.length, 1)

          yield* addUser("alice", "app", "other")
          yield* Auth.userAdd({ name: "bob", noPassword: true })
          assert.deepEqual(yield* Auth.userList, ["alice", "bob"])
          assert.deepEqual((yield* Auth.userGet("alice")).roles, ["app", "other"])
          yield* Auth.userRevokeRole({ user: "alice", role: "app" })
          assert.deepEqual((yield* Auth.userGet("alice")).roles, ["other"])
          yield* Auth.roleDelete("other")
          assert.deepEqual((yield* Auth.userGet("alice")).roles, [])
          yield* Auth.userDelete("alice")
          assert.deepEqual(yield* Auth.userList, ["bob"])
        }).pipe(connected({ endpoints: [endpoint] }))
      }))

    live("Auth maps etcd's refusals to errors by their text", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          const password = Redacted.make("s3cret")
          yield* Auth.roleAdd("app")
          yield* Auth.userAdd({ name: "alice", password })
          const refusals = [
            yield* refusalOf(Auth.roleAdd("app")),
            yield* refusalOf(Auth.userAdd({ name: "alice", password })),
            yield* refusalOf(Auth.userGet("nobody")),
            yield* refusalOf(Auth.userDelete("nobody")),
            yield* refusalOf(Auth.roleGet("none")),
            yield* refusalOf(Auth.userGrantRole({ user: "alice", role: "none" })),
            yield* refusalOf(Auth.userRevokeRole({ user: "alice", role: "app" })),
            yield* refusalOf(Auth.roleRevokePermission({ role: "app", key: "/a" })),
            yield* refusalOf(Auth.enable)
          ]
          assert.deepEqual(refusals, [
            ["roleAdd", "AlreadyExists"],
            ["userAdd", "AlreadyExists"],
            ["userGet", "NotFound"],
            ["userDelete", "NotFound"],
            ["roleGet", "NotFound"],
            ["userGrantRole", "NotFound"],
            ["userRevokeRole", "FailedPrecondition"],
            ["roleRevokePermission", "FailedPrecondition"],
            ["authEnable", "FailedPrecondition"]
          ])
        }).pipe(connected({ endpoints: [endpoint] }))
      }))

    live(
      "Auth turns authentication on and off, and a changed password takes effect at once",
      () =>
        Effect.gen(function* () {
          const { endpoint } = yield* startEtcd({ version })
          const asRoot = as(endpoint, "root")
          yield* Effect.gen(function* () {
            yield* Auth.roleAdd("root")
            yield* addUser("root", "root")
            yield* addUser("alice")
            yield* Auth.enable
            assert.deepEqual(yield* refusalOf(Auth.userList), ["userList", "Unauthenticated"])
          }).pipe(connected({ endpoints: [endpoint] }))
          yield* Effect.gen(function* () {
            if (!version.startsWith("3.4.")) {
              const { enabled, revision } = yield* Auth.status
              assert.ok(enabled && revision > 1n)
            } else {
              assert.deepEqual(yield* refusalOf(Auth.status), ["authStatus", "Unimplemented"])
            }
            yield* Auth.userChangePassword({ name: "alice", password: Redacted.make("n3w") })
            const stale = yield* refusalOf(Auth.userGet("alice")).pipe(as(endpoint, "alice"))
            assert.deepEqual(stale, ["userGet", "Unauthenticated"])
          }).pipe(asRoot)
          yield* Effect.gen(function* () {
            assert.deepEqual((yield* Auth.userGet("alice")).roles, [])
            // Some refusals of Maintenance have the code Unknown. Their text decides.
            const denied = [
              yield* refusalOf(Auth.userList),
              yield* refusalOf(Maintenance.defragment(endpoint)),
              yield* refusalOf(Maintenance.hashKv(endpoint)),
              yield* refusalOf(Stream.runDrain(Maintenance.snapshot(endpoint))),
              yield* refusalOf(Effect.flatMap(Etcd, ({ put }) => put({ key: "a", value: "" })))
            ]
            assert.deepEqual(denied.map(([, reason]) => reason), Array(5).fill("PermissionDenied"))
            assert.equal((yield* Members.list).length, 1)
          }).pipe(connected({ endpoints: [endpoint], username: "alice", password: Redacted.make("n3w") }))
          yield* Auth.disable.pipe(asRoot)
          yield* Auth.userList.pipe(connected({ endpoints: [endpoint] }))
        })
    )

    live("admin renews a token that the server no longer accepts", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        yield* Effect.andThen(Auth.roleAdd("root"), addUser("root", "root")).pipe(
          Effect.andThen(Auth.enable),
          connected({ endpoints: [server.endpoint] })
        )
        yield* Effect.gen(function* () {
          yield* Auth.userList
          yield* server.stop
          yield* server.start
          yield* Maintenance.status(server.endpoint)
          yield* server.stop
          yield* server.start
          yield* Stream.runDrain(Maintenance.snapshot(server.endpoint))
          yield* server.stop
          yield* server.start
          assert.deepEqual(yield* Auth.userList, ["root"])
        }).pipe(as(server.endpoint, "root"))
      }))
  })
})

/**
 * Bad arguments, on the embedded engine, which refuses every call that is sent.
 *
 * @module
 */
import { Effect, Redacted, Stream } from "effect"
import assert from "node:assert/strict"
import { Auth, Maintenance, Members } from "../../src/admin/mod.ts"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import type { InvalidOption } from "../../src/internal/options.ts"
import { describe, effect } from "../harness/it.ts"

type Call = Effect.Effect<unknown, EtcdError | InvalidOption, Etcd>

const password = Redacted.make("s3cret")
// deno-lint-ignore no-explicit-any -- what a program without types may pass
const wrong = (value: unknown): any => value

const refused: ReadonlyArray<readonly [title: string, call: Call, of: string, option: string]> = [
  ["no peer URL", Members.add({ peerUrls: [] }), "Members.add", "peerUrls"],
  ["a peer URL without port", Members.add({ peerUrls: ["http://a"] }), "Members.add", "peerUrls"],
  ["a peer URL with a path", Members.addLearner({ peerUrls: ["http://a:1/b"] }), "Members.addLearner", "peerUrls"],
  ["a member id of zero", Members.promote(0n), "Members.promote", "id"],
  ["a member id of 65 bits", Members.remove(2n ** 64n), "Members.remove", "id"],
  ["the name of a member", Members.remove("m1"), "Members.remove", "id"],
  ["a number as member id", Members.update(wrong(1.5), { peerUrls: ["http://a:1"] }), "Members.update", "id"],
  ["a missing member id", Maintenance.moveLeader(wrong(undefined)), "Maintenance.moveLeader", "target"],
  ["a malformed leader", Maintenance.moveLeader(1n, { leader: "x" }), "Maintenance.moveLeader", "leader"],
  ["no endpoint", Maintenance.defragment(wrong(undefined)), "Maintenance.defragment", "endpoint"],
  ["an empty endpoint", Maintenance.hash(""), "Maintenance.hash", "endpoint"],
  ["a negative revision", Maintenance.hashKv("memory://engine", { revision: -1n }), "Maintenance.hashKv", "revision"],
  ["a malformed endpoint", Stream.runDrain(Maintenance.snapshot("x")), "Maintenance.snapshot", "endpoint"],
  ["an unknown alarm", Maintenance.disarm({ memberId: 1n, type: "unknown" }), "Maintenance.disarm", "type"],
  ["no version", Maintenance.downgrade({ action: "enable" }), "Maintenance.downgrade", "version"],
  ["an unknown action", Maintenance.downgrade({ action: wrong("undo") }), "Maintenance.downgrade", "action"],
  ["an empty user name", Auth.userAdd({ name: "", password }), "Auth.userAdd", "name"],
  ["a missing password", Auth.userAdd(wrong({ name: "a" })), "Auth.userAdd", "password"],
  ["an empty password", Auth.userAdd({ name: "a", password: Redacted.make("") }), "Auth.userAdd", "password"],
  ["a plain password", Auth.userAdd(wrong({ name: "a", password: "s3cret" })), "Auth.userAdd", "password"],
  [
    "a missing password",
    Auth.userChangePassword(wrong({ name: "a" })),
    "Auth.userChangePassword",
    "password"
  ],
  ["an empty user name", Auth.userGet(""), "Auth.userGet", "name"],
  ["an empty user name", Auth.userDelete(""), "Auth.userDelete", "name"],
  ["an empty role name", Auth.userGrantRole({ user: "a", role: "" }), "Auth.userGrantRole", "role"],
  ["an empty user name", Auth.userRevokeRole({ user: "", role: "a" }), "Auth.userRevokeRole", "user"],
  ["an empty role name", Auth.roleAdd(""), "Auth.roleAdd", "name"],
  ["an empty role name", Auth.roleGet(""), "Auth.roleGet", "name"],
  ["an empty role name", Auth.roleDelete(""), "Auth.roleDelete", "name"],
  [
    "an empty key",
    Auth.roleGrantPermission({ role: "a", access: "read", key: "" }),
    "Auth.roleGrantPermission",
    "key"
  ],
  [
    "an unknown access",
    Auth.roleGrantPermission({ role: "a", access: wrong("all"), key: "a" }),
    "Auth.roleGrantPermission",
    "access"
  ],
  ["an empty key", Auth.roleRevokePermission({ role: "a", key: "" }), "Auth.roleRevokePermission", "key"],
  ["no service", Auth.grantLeastPrivilege({ role: "a" }), "Auth.grantLeastPrivilege", "register"],
  [
    "a malformed service",
    Auth.grantLeastPrivilege({ role: "a", discover: ["a/b"] }),
    "Auth.grantLeastPrivilege",
    "discover"
  ],
  [
    "a malformed namespace",
    Auth.grantLeastPrivilege({ role: "a", namespace: "a//b", discover: "all" }),
    "Auth.grantLeastPrivilege",
    "namespace"
  ]
]

describe("admin with bad arguments", () => {
  for (const [title, call, of, option] of refused) {
    effect(`${of} refuses ${title} before any I/O`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(call)
        assert.ok(error._tag === "InvalidOption", String(error))
        assert.deepEqual([error.of, error.option], [of, option])
        assert.doesNotMatch(error.message, /s3cret/)
      }).pipe(Effect.provide(EtcdMemory.layer())))
  }
})

describe("admin on the engine", () => {
  const unimplemented: ReadonlyArray<readonly [string, Call]> = [
    ["Members.add", Members.add({ peerUrls: ["http://127.0.0.1:2380"] })],
    ["Auth.enable", Auth.enable],
    ["Maintenance.defragment", Maintenance.defragment("memory://engine")],
    ["Maintenance.snapshot", Stream.runDrain(Maintenance.snapshot("memory://engine"))]
  ]
  for (const [title, call] of unimplemented) {
    effect(`${title} fails with Unimplemented on the engine`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(call)
        assert.equal(error._tag === "EtcdError" && error.reason._tag, "Unimplemented")
      }).pipe(Effect.provide(EtcdMemory.layer())))
  }
})

import { Effect, Layer, Redacted, Stream } from "effect"
import assert from "node:assert/strict"
import { discover, discoverAll, getInstances, listServices, registerService, Registry } from "../../mod.ts"
import { Auth, Maintenance } from "../../src/admin/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { eachEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { addUser, as, connected, refusalOf } from "./support.ts"

const shown = ({ access, key, rangeEnd = "" }: Auth.Permission) => [access, text(key), text(rangeEnd)].join(" ").trim()
const text = (bytes: string | Uint8Array) => typeof bytes === "string" ? bytes : new TextDecoder().decode(bytes)

describe("Auth.grantLeastPrivilege", () => {
  eachEtcd((version) => {
    live(
      "grantLeastPrivilege permits a user to register and discover the named services only",
      () =>
        Effect.gen(function* () {
          const { endpoint } = yield* startEtcd({ version })
          yield* Effect.gen(function* () {
            yield* Auth.roleAdd("root")
            yield* addUser("root", "root")
            const options = { role: "orders", register: ["orders"], discover: ["payments", "orders"] }
            yield* Auth.grantLeastPrivilege(options)
            yield* Auth.grantLeastPrivilege(options)
            const { permissions } = yield* Auth.roleGet("orders")
            assert.deepEqual(permissions.map(shown).sort(), [
              "read /services/payments/ /services/payments0",
              "readwrite /services/orders/ /services/orders0"
            ])
            yield* Auth.grantLeastPrivilege({
              role: "one",
              register: [{ service: "stock", id: "s1" }],
              discover: "all"
            })
            yield* addUser("alice", "orders")
            yield* addUser("bob", "one")
            yield* Auth.enable
          }).pipe(connected({ endpoints: [endpoint] }))

          const registryAs = (username: string) =>
            Registry.layerEtcd({ endpoints: [endpoint], username, password: Redacted.make(`${username}-s3cret`) })
          const alice = Layer.succeedContext(yield* Layer.build(registryAs("alice")))
          const bob = Layer.succeedContext(yield* Layer.build(registryAs("bob")))
          const instance = { id: "s1", endpoints: ["http://10.0.0.1:80"] }

          yield* Effect.gen(function* () {
            const registration = yield* registerService("orders", instance)
            yield* registration.update({ weight: 2 })
            const [set] = yield* Stream.runCollect(Stream.take(discover("orders"), 1))
            assert.deepEqual(set?.instances.map(({ id }) => id), ["s1"])
            assert.equal((yield* getInstances("payments")).size, 0)
            const refused = [
              yield* Effect.flip(registerService("payments", instance)),
              yield* Effect.flip(registerService("stock", instance)),
              yield* Effect.flip(getInstances("stock")),
              yield* Effect.flip(listServices()),
              yield* Effect.flip(Stream.runHead(discoverAll()))
            ]
            for (const error of refused) {
              const { _tag: tag } = error
              assert.ok(tag === "RegistrationRefused" || tag === "DiscoveryRefused", tag)
              assert.equal(error.cause._tag === "EtcdError" && error.cause.reason._tag, "PermissionDenied")
            }
          }).pipe(Effect.provide(alice))

          yield* Effect.gen(function* () {
            yield* registerService("stock", instance)
            assert.equal((yield* getInstances("orders")).size, 1)
            assert.deepEqual((yield* listServices()).map(({ name }) => name), ["orders", "stock"])
            const other = yield* Effect.flip(registerService("stock", { ...instance, id: "s2" }))
            assert.equal(other._tag, "RegistrationRefused")
          }).pipe(Effect.provide(bob))

          yield* Effect.gen(function* () {
            const etcd = yield* Etcd
            const denied = [
              etcd.put({ key: "/services/payments/a", value: "" }),
              etcd.range({ key: "/other" }),
              etcd.deleteRange({ key: "/services/", rangeEnd: "/services0" }),
              Maintenance.defragment(endpoint),
              Auth.userList
            ]
            for (const operation of denied) {
              assert.equal((yield* refusalOf(Effect.asVoid(operation)))[1], "PermissionDenied")
            }
          }).pipe(as(endpoint, "alice"))
        })
    )

    live("grantLeastPrivilege keeps the permissions of a role and only widens them", () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          yield* Auth.grantLeastPrivilege({ role: "app", namespace: "prod", register: ["a"] })
          yield* Auth.grantLeastPrivilege({ role: "app", namespace: "/prod/", discover: ["a", "b"] })
          yield* Auth.roleGrantPermission({ role: "app", access: "read", key: "/config" })
          yield* Auth.grantLeastPrivilege({ role: "app", namespace: "/prod", register: ["b"] })
          assert.deepEqual((yield* Auth.roleGet("app")).permissions.map(shown).sort(), [
            "read /config",
            "readwrite /prod/a/ /prod/a0",
            "readwrite /prod/b/ /prod/b0"
          ])
        }).pipe(connected({ endpoints: [endpoint] }))
      }))
  })
})

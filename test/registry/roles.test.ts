import { Effect, Layer, Option, Redacted } from "effect"
import assert from "node:assert/strict"
import { discover, getInstances, listServices, registerService, Registry } from "../../mod.ts"
import { eachEtcd, etcdctl, type EtcdServer, isBefore, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { ids, quiet, recorded, statusesOf } from "./registration/support.ts"

/** Two users, each with a role for its own service. */
const protect = (server: EtcdServer) =>
  Effect.forEach([
    "user add root:root",
    "user grant-role root root",
    "role add orders",
    "role grant-permission orders readwrite /services/orders/ --prefix=true",
    "user add alice:alice-s3cret",
    "user grant-role alice orders",
    "role add payments",
    "role grant-permission payments readwrite /services/payments/ --prefix=true",
    "user add bob:bob-s3cret",
    "user grant-role bob payments",
    "auth enable"
  ], (command) => etcdctl(server, ...command.split(" ")))

const as = (server: EtcdServer, username: string) =>
  Effect.map(
    Layer.build(
      Registry.layerEtcd({ endpoints: [server.endpoint], username, password: Redacted.make(`${username}-s3cret`) })
    ),
    (context) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.provide(effect, [Layer.succeedContext(context), quiet])
  )

const orders = { id: "a", endpoints: ["http://10.0.0.1:80"] } as const
const payments = { id: "a", endpoints: ["http://10.0.0.2:80"] } as const

describe("Registry with a role for one service", () => {
  eachEtcd((version) => {
    live(
      "a role for one service allows that service, refuses others at once, and affects no other client",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          yield* protect(server)
          const alice = yield* as(server, "alice")
          const bob = yield* as(server, "bob")

          yield* alice(registerService("orders", orders))
          yield* bob(registerService("payments", payments))
          const followed = yield* alice(recorded(discover("orders")))
          assert.deepEqual(ids(yield* followed.until(() => true)), ["a"])

          const written = yield* Effect.flip(alice(registerService("payments", payments)))
          assert.ok(written._tag === "RegistrationRefused" && written.cause._tag === "EtcdError")
          assert.deepEqual([written.key, written.cause.reason._tag], ["/services/payments/a", "PermissionDenied"])
          const read = yield* Effect.flip(alice(getInstances("payments")))
          assert.ok(read._tag === "DiscoveryRefused" && read.cause.reason._tag === "PermissionDenied")
          assert.equal(read.prefix, "/services/payments/")
          const refused = yield* alice(recorded(discover("payments")))
          assert.match(String(yield* refused.ended), /DiscoveryRefused/)
          assert.deepEqual(refused.all, [])
          const listed = yield* Effect.flip(alice(listServices()))
          assert.ok(listed._tag === "DiscoveryRefused" && listed.cause.reason._tag === "PermissionDenied")

          assert.deepEqual(ids(yield* bob(getInstances("payments"))), ["a"])
          yield* alice(registerService("orders", { ...orders, id: "b" }))
          assert.deepEqual(ids(yield* followed.until((set) => set.size === 2)), ["a", "b"])
          assert.ok(followed.all.every(({ freshness }) => freshness._tag === "Live"))
        })
    )

    const root = (server: EtcdServer, command: string) => etcdctl(server, "--user", "root:root", ...command.split(" "))

    live(
      "a registration survives a role that is away for 2 s, and notices a deletion after it (R3, R10)",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          yield* protect(server)
          const alice = yield* as(server, "alice")
          const registration = yield* alice(registerService("orders", { ...orders, ttl: "6 seconds" }))
          yield* root(server, "role revoke-permission orders /services/orders/ --prefix=true")
          yield* Effect.sleep("2 seconds")
          yield* root(server, "role grant-permission orders readwrite /services/orders/ --prefix=true")
          const statuses = yield* alice(statusesOf(registration))
          const since = statuses.all.length
          yield* root(server, "del /services/orders/a")
          yield* statuses.until(({ _tag }) => _tag === "Recovering", { since })
          yield* statuses.until(({ _tag }) => _tag === "Registered", { since })
          const [shown] = (yield* root(server, "get --prefix /services/orders/ --keys-only")).split("\n")
          assert.equal(shown, "/services/orders/a")
        })
    )

    // Older versions accept heartbeats of a lease regardless of its keys, so nothing has to move.
    if (isBefore(version, "3.5.30")) return
    live(
      "a shared lease with one key that is no longer permitted moves the others without a gap (R13)",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          yield* protect(server)
          for (const id of ["a", "b"]) {
            yield* root(server, `role grant-permission orders readwrite /services/orders/${id}`)
          }
          yield* root(server, "role revoke-permission orders /services/orders/ --prefix=true")
          const alice = yield* as(server, "alice")
          const register = (id: string) =>
            alice(registerService("orders", { ...orders, id, lease: "shared", ttl: "9 seconds" }))
          const [a, b] = [yield* register("a"), yield* register("b")]
          const before = yield* a.leaseId
          const ofA = yield* alice(statusesOf(a))
          const ofB = yield* alice(statusesOf(b))
          yield* root(server, "role revoke-permission orders /services/orders/b")
          yield* ofB.until(({ _tag }) => _tag === "Recovering")
          yield* ofA.until((status) => status._tag === "Registered" && Option.getOrUndefined(before) !== status.leaseId)
          const { kvs: [kv] } = JSON.parse(yield* root(server, "get /services/orders/a -w json"))
          // It was never absent: the key still has its first version's create revision.
          assert.ok(kv.version > 1)
          yield* root(server, "role grant-permission orders readwrite /services/orders/b")
          yield* ofB.until(({ _tag }) => _tag === "Registered")
        })
    )
  })
})

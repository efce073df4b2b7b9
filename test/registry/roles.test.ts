import { Effect, Layer, Redacted } from "effect"
import assert from "node:assert/strict"
import { discover, getInstances, listServices, registerService, Registry } from "../../mod.ts"
import { eachEtcd, etcdctl, type EtcdServer, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { ids, quiet, recorded } from "./registration/support.ts"

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
  })
})

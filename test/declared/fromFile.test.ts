import { Context, Effect, Exit, Layer, Logger, Option, Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { PermissionDenied } from "../../src/etcd/EtcdError.ts"
import { goZero } from "../../src/interop/mod.ts"
import * as Service from "../../src/registry/model/Service.ts"
import { discover, Registry } from "../../mod.ts"
import { Declared } from "../../src/declared/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { assertNothingLeft, freshNamespace, keysIn } from "../registry/registration/support.ts"
import { elapse, keysIn as keysOf, settle, start, verify, world } from "../harness/virtual.ts"

/** An etcd, a registry on it, and what was asked of it. */
const setUp = Effect.gen(function* () {
  const { operator } = yield* world
  const { etcd, faults } = yield* FaultyEtcd.make(operator)
  const layer = Registry.layer().pipe(Layer.provide(Layer.succeed(Etcd, etcd)))
  const registry = Context.get(yield* Layer.build(layer), Registry.Registry)
  return {
    operator,
    faults,
    run: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Registry.Registry>> =>
      Effect.provideService(effect, Registry.Registry, registry)
  }
})

const yaml = (text: string) => ({ text, format: "yaml" }) as const

const two = yaml(`
services:
  - { name: orders, id: a, endpoints: [http://0.0.0.0:80], drain: 10 seconds }
  - { name: admin, id: b, endpoints: [http://0.0.0.0:81], drain: 10 seconds }
discover: [orders, payments]
`)
const here = { advertise: "10.0.0.5" }

describe("Declared.register", () => {
  verify(
    "Declared.register registers in the order of the file, then follows, and shares its watches",
    (log) =>
      Effect.gen(function* () {
        const { faults, operator, run } = yield* setUp
        const scope = yield* Scope.make()
        const registrations = yield* run(Declared.register(two, here)).pipe(Scope.provide(scope))
        assert.deepEqual(registrations.map(({ key }) => key), ["/services/orders/a", "/services/admin/b"])
        assert.deepEqual(Object.keys(yield* keysOf(operator)).sort(), ["/services/admin/b", "/services/orders/a"])
        yield* settle
        const watched = (yield* faults.openWatches).map(({ key }) => key).sort()
        // The own keys, and the two services.
        assert.deepEqual(watched, [
          "/services/admin/b",
          "/services/orders/",
          "/services/orders/a",
          "/services/payments/"
        ])

        const reads = (yield* faults.calls("range")).length
        const first = yield* run(Stream.runHead(discover("orders")))
        assert.deepEqual(Option.map(first, ({ endpoints }) => endpoints), Option.some(["http://10.0.0.5:80"]))
        assert.equal((yield* faults.calls("range")).length, reads)
        yield* elapse("1 hour")
        assert.deepEqual((yield* faults.openWatches).map(({ key }) => key).sort(), watched)

        // Both drain at the same time.
        const closing = yield* start(Scope.close(scope, Exit.void))
        yield* elapse("10 seconds")
        assert.deepEqual(closing.exit(), Exit.void)
        assert.deepEqual(yield* keysOf(operator), {})
        yield* elapse("2 seconds")
        assert.deepEqual(yield* faults.openWatches, [])
        assert.deepEqual(log.filter((line) => !line.startsWith("Info ")), [])
      })
  )

  verify("Declared.register sends nothing if the file is invalid", () =>
    Effect.gen(function* () {
      const { faults, run } = yield* setUp
      const text = two.text.replace("name: admin", "name: ad/min")
      const error = yield* Effect.flip(Effect.scoped(run(Declared.register(yaml(text), here))))
      assert.equal(
        error.message,
        "nothing was registered: 1 problem\n  declaration:4:7 services[1].name: " +
          "it must be 1 to 253 bytes of UTF-8, without '/' and control characters, and neither '.' nor '..'"
      )
      assert.deepEqual(yield* faults.calls(), [])
    }))

  verify(
    "Declared.register leaves nothing if etcd refuses one of several, even if the scope stays open",
    () =>
      Effect.gen(function* () {
        const { faults, operator, run } = yield* setUp
        yield* operator.put({ key: "/services/admin/b", value: "{}" })
        const text = two.text.replace("id: b,", "id: b, claim: exclusive,").replaceAll(", drain: 10 seconds", "")
        const error = yield* Effect.flip(run(Declared.register(yaml(text), here)))
        assert.equal(error._tag, "InstanceIdTaken")
        assert.deepEqual(Object.keys(yield* keysOf(operator)), ["/services/admin/b"])
        yield* elapse("2 seconds")
        assert.deepEqual(yield* faults.openWatches, [])
      })
  )

  verify("Declared.register logs that etcd refuses a service that it follows (D7)", (log) =>
    Effect.gen(function* () {
      const { faults, run } = yield* setUp
      yield* run(Declared.register(yaml("discover: [payments]")))
      yield* settle
      yield* faults.breakWatches(new PermissionDenied({ detail: "injected" }))
      yield* settle
      assert.match(log.join("\n"), /^Warn lost the watch on "\/services\/payments\/"; .*PermissionDenied/)
    }))

  verify("Declared.register fails if etcd refuses to let it follow a service", (log) =>
    Effect.gen(function* () {
      const { faults, operator, run } = yield* setUp
      yield* faults.set([{ method: "range", key: "/services/payments/", fault: FaultyEtcd.permissionDenied }])
      const text = two.text.replaceAll(", drain: 10 seconds", "")
      const error = yield* Effect.flip(run(Declared.register(yaml(text), here)))
      assert.equal(error._tag, "DiscoveryRefused")
      assert.deepEqual(yield* keysOf(operator), {})
      assert.deepEqual(log.filter((line) => !line.startsWith("Info ")), [])
    }))

  verify("Declared.register logs a registration that ends", (log) =>
    Effect.gen(function* () {
      const { operator, run } = yield* setUp
      yield* run(Declared.register(two, here))
      const { id } = yield* operator.leaseGrant({ ttl: 60 })
      yield* operator.put({ key: "/services/orders/a", value: "{}", lease: id })
      yield* elapse("1 second")
      assert.match(
        log.join("\n"),
        /^Error cannot register "\/services\/orders\/a": it is held by another value under lease/m
      )
    }))
})

describe("Declared.layer", () => {
  eachSharedEtcd((server) => {
    /** A file for the lifetime of the test. */
    const file = (name: string, text: string) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "declared-"))),
          (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
        ),
        (folder) => {
          writeFileSync(join(folder, name), text)
          return join(folder, name)
        }
      )

    live(
      "Declared.layer registers the declared services in the etcd of the file until the layer is released",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const path = yield* file(
            "service.toml",
            `namespace = "${namespace}"\ndiscover = ["payments"]\netcd.endpoints = "\${HOSTS}"\n[[services]]\nname = "orders"\n` +
              `id = "a"\nendpoints = [":8080"]\nttl = "3 seconds"\n`
          )
          const env = { HOSTS: server().endpoint, POD_IP: "10.0.0.5" }
          yield* Effect.gen(function* () {
            const value =
              `{"id":"a","name":"orders","metadata":{},"endpoints":["tcp://10.0.0.5:8080"],"weight":1,"status":"up"}`
            assert.deepEqual((yield* keysIn(server(), namespace)).map(({ key, value }) => [key, value]), [
              [`${namespace}/orders/a`, value]
            ])
            const sets = yield* Stream.runCollect(Stream.take(discover("payments"), 1))
            assert.deepEqual(sets.map(({ size }) => size), [0])
          }).pipe(Effect.provide(Declared.layer(path, { env })))
          yield* assertNothingLeft(server(), namespace)
        })
    )

    live("Declared.layer reads a go-zero file", () =>
      Effect.gen(function* () {
        const path = yield* file(
          "user.yaml",
          `Name: user.rpc\nListenOn: 0.0.0.0:8080\nEtcd:\n  Hosts:\n  - ${
            server().endpoint.slice(7)
          }\n  Key: user.rpc\n  ID: 7\n`
        )
        const options = { env: { ADVERTISE_ADDRESS: "10.0.0.5" } }
        yield* Effect.gen(function* () {
          assert.deepEqual((yield* keysIn(server(), "user.rpc/")).map(({ key, value }) => [key, value]), [
            ["user.rpc/7", "10.0.0.5:8080"]
          ])
          const [set] = yield* Stream.runCollect(Stream.take(discover(Service.make("user.rpc", { codec: goZero })), 1))
          assert.deepEqual(set?.endpoints, ["tcp://10.0.0.5:8080"])
        }).pipe(Effect.provide(Declared.layer(path, options)))
        yield* assertNothingLeft(server(), "user.rpc/")
      }))
  })

  live("Declared.layer fails with all problems of the file before it makes a client", () =>
    Effect.gen(function* () {
      const source = yaml(`etcd: { endpoints: ["http://127.0.0.1:1"] }\nservices: [{ name: a }]`)
      const error = yield* Effect.flip(Effect.scoped(Layer.build(Declared.layer(source))))
      assert.equal(
        error.message,
        "nothing was registered: 1 problem\n  declaration:2:12 services[0].endpoints: it is needed"
      )
    }).pipe(Effect.provide(Logger.layer([]))))
})

import { Cause, Deferred, Effect, Exit, Fiber, Layer, Option, Schema, Scope, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpServer, HttpServerResponse } from "effect/http"
import { NetAddress } from "effect/net"
import assert from "node:assert/strict"
import { discover, getInstances, InvalidOption, Registry, Service } from "../../mod.ts"
import { DiscoveryHttpClient, HttpRegistration } from "../../src/http/mod.ts"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { layerServer } from "./nodeServer.ts"

const app = HttpServer.serve(Effect.succeed(HttpServerResponse.text("served")))

describe("HttpRegistration", () => {
  live(
    "HttpRegistration registers the bound port, and serves until the drain is over and the key is gone (R5)",
    () =>
      Effect.gen(function* () {
        const events: Array<string> = []
        const log = (event: string) => void events.push(event)
        const etcd = yield* startEtcd()
        const registry = Registry.layerEtcd({ endpoints: [etcd.endpoint] })
        yield* Effect.gen(function* () {
          const scope = yield* Scope.fork(yield* Effect.scope)
          const serving = HttpRegistration.layer("orders", { app, id: "a", drain: "3 seconds", path: "/api" }).pipe(
            Layer.provide(layerServer("127.0.0.1", log))
          )
          yield* Layer.buildWithScope(serving, scope)
          const [{ endpoints } = { endpoints: [] }] = yield* getInstances("orders")
          assert.match(endpoints[0] ?? "", /^http:\/\/127\.0\.0\.1:[1-9]\d*\/api$/)

          // The state for a client while the layer is released.
          const isDraining = yield* Deferred.make<void>()
          yield* discover("orders").pipe(
            Stream.tap((set) =>
              Effect.gen(function* () {
                for (const { status } of set) if (status === "draining") yield* Deferred.succeed(isDraining, undefined)
                if (set.size === 0) log("key gone")
              })
            ),
            Stream.runDrain,
            Effect.forkScoped
          )
          const ask = Effect.gen(function* () {
            const { status, text } = yield* HttpClient.get(endpoints[0] ?? "")
            return `${status} ${yield* text}`
          }).pipe(Effect.provide(FetchHttpClient.layer))
          assert.equal(yield* ask, "200 served")
          const closing = yield* Effect.forkScoped(Scope.close(scope, Exit.void))
          yield* Deferred.await(isDraining)
          assert.deepEqual(events, [])
          assert.equal(yield* ask, "200 served")
          yield* Fiber.join(closing)
          assert.equal((yield* etcdctl(etcd, "get", "--prefix", "/services/", "--keys-only")).trim(), "")
          assert.deepEqual(events.filter((event) => event !== "key gone"), ["app ended", "server closed"])
        }).pipe(Effect.scoped, Effect.provide(registry))
      })
  )

  live(
    "HttpRegistration loses no request of a DiscoveryHttpClient while an instance drains",
    () =>
      Effect.gen(function* () {
        const registry = Registry.layerMemory()
        yield* Effect.gen(function* () {
          const scope = yield* Effect.scope
          const serve = (id: string) =>
            Effect.gen(function* () {
              const own = yield* Scope.fork(scope)
              const serving = HttpRegistration.layer("orders", {
                app: HttpServer.serve(Effect.succeed(HttpServerResponse.text(id))),
                id,
                drain: "500 millis"
              })
              yield* Layer.buildWithScope(Layer.provide(serving, layerServer("127.0.0.1")), own)
              return Scope.close(own, Exit.void)
            })
          const leave = yield* serve("leaving")
          yield* serve("staying")
          const client = yield* DiscoveryHttpClient.make(yield* HttpClient.HttpClient, { attempts: 1 })
          const get = Effect.flatMap(
            client.get("http://orders/"),
            ({ status, text }): Effect.Effect<string, Error> =>
              status === 200 ? text : Effect.fail(new Error(`status ${status}`))
          )
          const seen = new Set<string>()
          while (seen.size < 2) seen.add(yield* get)
          const leaving = yield* Effect.forkScoped(leave)
          let isOver = false
          yield* Effect.forkScoped(Effect.andThen(Fiber.join(leaving), Effect.sync(() => isOver = true)))
          let last = ""
          while (!isOver) last = yield* get
          assert.equal(last, "staying")
        }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer), Effect.provide(registry))
      })
  )

  live(
    "HttpRegistration registers the advertised address for a wildcard, and typed metadata",
    () =>
      Effect.gen(function* () {
        const Orders = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })
        for (const host of ["0.0.0.0", "::"]) {
          yield* Effect.gen(function* () {
            const serving = HttpRegistration.layer(Orders, {
              app,
              advertise: "10.1.2.3",
              scheme: "https",
              metadata: { shard: 3 }
            })
            yield* Layer.build(Layer.provide(serving, layerServer(host)))
            const [instance] = yield* getInstances(Orders)
            assert.match(instance?.endpoints[0] ?? "", /^https:\/\/10\.1\.2\.3:[1-9]\d*$/)
            assert.equal(instance?.metadata.shard, 3)
          }).pipe(Effect.scoped, Effect.provide(Registry.layerMemory()))
        }
      })
  )

  live("HttpRegistration ends the app and the server if the registration fails", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const log = (event: string) => void events.push(event)
      const serving = HttpRegistration.layer("a/b", { app }).pipe(Layer.provide(layerServer("127.0.0.1", log)))
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Layer.provide(serving, Registry.layerMemory()))))
      assert.ok(Exit.isFailure(exit))
      assert.ok(Cause.squash(exit.cause) instanceof InvalidOption)
      assert.deepEqual(events, ["app ended", "server closed"])
    }))

  live(
    "HttpRegistration fails with InvalidOption for a server on a Unix socket, and for a bad path or scheme",
    () =>
      Effect.gen(function* () {
        const address = NetAddress.unixPathAddress("/run/orders.sock")
        const unix = Layer.succeed(HttpServer.HttpServer, HttpServer.make({ address, serve: () => Effect.void }))
        const optionOf = (server: Layer.Layer<HttpServer.HttpServer>, options: { readonly path?: string } = {}) =>
          HttpRegistration.layer("orders", { app, ...options }).pipe(
            Layer.provide(server),
            Layer.provide(Registry.layerMemory()),
            Layer.build,
            Effect.scoped,
            Effect.exit,
            Effect.map((exit) => Option.map(Exit.findErrorOption(exit), (error) => (error as InvalidOption).option))
          )
        assert.deepEqual(yield* optionOf(unix), Option.some("HttpServer.address"))
        assert.deepEqual(yield* optionOf(layerServer("127.0.0.1"), { path: "api" }), Option.some("path"))
      })
  )
})

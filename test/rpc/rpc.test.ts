import { Cause, Deferred, Effect, Exit, Fiber, Layer, References, Scope, Stream } from "effect"
import { FetchHttpClient } from "effect/http"
import { RpcClient, type RpcClientError, RpcSerialization } from "effect/rpc"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import type { InvalidOption } from "../../src/internal/options.ts"
import { DiscoveryRpc } from "../../src/rpc/mod.ts"
import { describe, live } from "../harness/it.ts"
import { eventually, freePort } from "../harness/real.ts"
import {
  type Behaviour,
  NoSuchOrder,
  openTcp,
  Orders,
  type OrdersServer,
  serveHttp,
  serveTcp,
  serveWebSocket
} from "./servers.ts"

type OrdersClient = RpcClient.FromGroup<typeof Orders, RpcClientError.RpcClientError>
type Serve = (id: string, behaviour?: Behaviour) => Effect.Effect<OrdersServer, never, Scope.Scope>

interface Transport {
  readonly name: string
  readonly serve: Serve
  readonly protocol: (
    options?: Partial<DiscoveryRpc.Options>
  ) => Layer.Layer<RpcClient.Protocol, InvalidOption, Registry.Registry>
}

const transports: ReadonlyArray<Transport> = [
  {
    name: "layerProtocolHttp",
    serve: serveHttp,
    protocol: (options) =>
      DiscoveryRpc.layerProtocolHttp("orders", { group: Orders, ...options }).pipe(
        Layer.provide([RpcSerialization.layerNdjson, FetchHttpClient.layer])
      )
  },
  {
    name: "layerProtocolSocket",
    serve: serveWebSocket,
    protocol: (options) =>
      DiscoveryRpc.layerProtocolSocket("orders", { group: Orders, ...options }).pipe(
        Layer.provide(RpcSerialization.layerNdjson)
      )
  },
  {
    name: "layerProtocolSocket over TCP",
    serve: serveTcp,
    protocol: (options) =>
      DiscoveryRpc.layerProtocolSocket("orders", {
        group: Orders,
        socket: ({ endpoints: [endpoint = ""] }) => openTcp(endpoint),
        ...options
      }).pipe(Layer.provide(RpcSerialization.layerNdjson))
  }
]

const times = (count: number, call: Effect.Effect<string, unknown>) =>
  Effect.map(
    Effect.forEach(Array.from({ length: count }), () => call),
    (answers) =>
      Object.fromEntries([...new Set(answers)].sort().map((id) => [id, answers.filter((one) => one === id).length]))
  )

for (const { name, protocol, serve } of transports) {
  const register = (id: string, { endpoint }: OrdersServer) => registerService("orders", { id, endpoints: [endpoint] })

  /** A test with a client of the service, whose registry is in memory. */
  const withOrders = <E>(
    title: string,
    body: (orders: OrdersClient) => Effect.Effect<void, E, Registry.Registry | Scope.Scope>,
    options?: Partial<DiscoveryRpc.Options>
  ) =>
    live(title, () =>
      Effect.flatMap(RpcClient.make(Orders), body).pipe(
        Effect.provide(
          protocol({ waitFor: "10 seconds", ...options }).pipe(Layer.provideMerge(Registry.layerMemory()))
        ),
        Effect.provideService(References.MinimumLogLevel, "Error")
      ))

  describe(`DiscoveryRpc.${name} against servers of Effect RPC`, () => {
    withOrders(
      `${name} gives instances calls in turn, follows new ones, and leaves draining ones`,
      (orders) =>
        Effect.gen(function* () {
          const [a, b] = [yield* serve("a"), yield* serve("b")]
          yield* register("a", a)
          assert.equal(yield* orders.Get({ id: "1" }), "a")
          const second = yield* register("b", b)
          yield* eventually(Effect.flatMap(
            times(4, orders.Get({ id: "2" })),
            (answers) => "b" in answers ? Effect.void : Effect.fail("b is not called yet")
          ))
          assert.deepEqual(yield* times(10, orders.Get({ id: "3" })), { a: 5, b: 5 })
          yield* second.drain
          yield* eventually(Effect.flatMap(
            times(4, orders.Get({ id: "4" })),
            (answers) => "b" in answers ? Effect.fail("b is still called") : Effect.void
          ))
          const { length } = b.calls
          assert.deepEqual(yield* times(10, orders.Get({ id: "5" })), { a: 10 })
          assert.equal(b.calls.length, length)
        })
    )

    withOrders(
      `${name} returns typed errors and defects of handlers, which count for no instance as failures`,
      (orders) =>
        Effect.gen(function* () {
          const a = yield* serve("a", {
            get: (id) => Effect.fail(new NoSuchOrder({ id })),
            pay: () => Effect.die("no money")
          })
          yield* register("a", a)
          // Five failures in a row would eject the instance.
          for (let call = 0; call < 10; call++) {
            const error = yield* Effect.flip(orders.Get({ id: "7" }))
            assert.deepEqual([error._tag, error._tag === "NoSuchOrder" && error.id], ["NoSuchOrder", "7"])
            const exit = yield* Effect.exit(orders.Pay({ id: "7" }))
            assert.ok(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          }
          assert.equal(a.calls.length, 20)
        })
    )

    withOrders(
      `${name} passes the elements of a stream on, from one instance each`,
      (orders) =>
        Effect.gen(function* () {
          yield* register("a", yield* serve("a"))
          yield* register("b", yield* serve("b"))
          const streams = yield* Effect.forEach([1, 2, 3, 4], () => Stream.runCollect(orders.Ticks({ count: 50 })))
          for (const ids of streams) assert.deepEqual([ids.length, new Set(ids).size], [50, 1])
          assert.deepEqual(streams.map(([id]) => id).sort(), ["a", "a", "b", "b"])
        })
    )

    withOrders(
      `${name} interrupts the handler at the instance when the call is interrupted`,
      (orders) =>
        Effect.gen(function* () {
          const [started, interrupted] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const get = () =>
            Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
              Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
            )
          yield* register("a", yield* serve("a", { get }))
          const call = yield* Effect.forkChild(orders.Get({ id: "1" }), { startImmediately: true })
          yield* Deferred.await(started)
          yield* Fiber.interrupt(call)
          yield* Deferred.await(interrupted)
        })
    )

    withOrders(
      `${name} retries every request after a refused connection, since nothing was sent`,
      (orders) =>
        Effect.gen(function* () {
          const scheme = name === "layerProtocolSocket over TCP" ? "tcp" : "http"
          yield* registerService("orders", { id: "gone", endpoints: [`${scheme}://127.0.0.1:${yield* freePort}`] })
          const error = yield* Effect.flip(orders.Pay({ id: "1" }))
          assert.equal(error._tag, "RpcClientError")
          yield* register("a", yield* serve("a"))
          yield* eventually(orders.Pay({ id: "2" }))
          assert.deepEqual(yield* times(6, orders.Pay({ id: "3" })), { a: 6 })
        })
    )

    withOrders(
      `${name} retries an Idempotent request whose connection is lost, and no other`,
      (orders) =>
        Effect.gen(function* () {
          const a = yield* serve("a", { get: () => Effect.never, pay: () => Effect.never })
          yield* register("a", a)
          const pay = yield* Effect.forkChild(Effect.flip(orders.Pay({ id: "1" })), { startImmediately: true })
          const get = yield* Effect.forkChild(orders.Get({ id: "1" }), { startImmediately: true })
          yield* eventually(Effect.suspend(() => a.calls.length === 2 ? Effect.void : Effect.fail("not arrived")))
          const b = yield* serve("b")
          yield* register("b", b)
          yield* a.kill
          assert.equal((yield* Fiber.join(pay))._tag, "RpcClientError")
          assert.equal(yield* Fiber.join(get), "b")
          assert.deepEqual(b.calls, ["Get 1"])
        })
    )

    withOrders(
      `${name} fails with an RpcClientError that says why if there is no instance`,
      (orders) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(orders.Pay({ id: "1" }))
          assert.equal(error._tag, "RpcClientError")
          assert.match(error.message, /cannot call "orders": no instance takes traffic \(none is registered\)/)
        }),
      { waitFor: 0 }
    )

    withOrders(
      `${name} lets requests in flight end after their instance has left`,
      (orders) =>
        Effect.gen(function* () {
          const [started, release] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
          const a = yield* serve("a", {
            pay: () => Effect.as(Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(release)), "late")
          })
          const scope = yield* Scope.make()
          yield* register("a", a).pipe(Scope.provide(scope))
          const pay = yield* Effect.forkChild(orders.Pay({ id: "1" }), { startImmediately: true })
          yield* Deferred.await(started)
          yield* register("b", yield* serve("b"))
          yield* Scope.close(scope, Exit.void)
          yield* eventually(Effect.flatMap(
            times(4, orders.Get({ id: "2" })),
            (answers) => answers["b"] === 4 ? Effect.void : Effect.fail("a is still called")
          ))
          yield* Deferred.succeed(release, undefined)
          assert.equal(yield* Fiber.join(pay), "late")
        })
    )

    withOrders(
      `${name} takes a discarded request for ended when the instance has acknowledged it`,
      (orders) =>
        Effect.gen(function* () {
          const a = yield* serve("a")
          yield* register("a", a)
          yield* orders.Pay({ id: "1" }, { discard: true })
          yield* eventually(Effect.suspend(() => a.calls.length === 1 ? Effect.void : Effect.fail("not arrived")))
        })
    )

    live(`${name} fails with InvalidOption before anything is sent`, () =>
      Effect.gen(function* () {
        const layer = protocol({ attempts: 0 }).pipe(Layer.provide(Registry.layerMemory()))
        const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
        assert.deepEqual([error._tag, error.option], ["InvalidOption", "attempts"])
      }))
  })
}

// Effect RPC by service name: typed calls and streams, balanced over two servers. One of them stops without leaving, and
// no call fails.
//
//     deno run -A examples/rpc.ts
//
import { Console, Effect, Layer, Schema, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { createServer } from "node:http"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"
import { DiscoveryRpc } from "../src/rpc/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

class NoSuchOrder extends Schema.TaggedError<NoSuchOrder>("NoSuchOrder")("NoSuchOrder", { id: Schema.Int }) {}

class Orders extends RpcGroup.make(
  // If its connection is lost, a call that may run twice is retried on another instance.
  Rpc.make("Get", { payload: { id: Schema.Int }, success: Schema.String, error: NoSuchOrder })
    .annotate(DiscoveryRpc.Idempotent, true),
  Rpc.make("Changes", { success: Schema.Int, stream: true })
) {}

const handlers = (name: string) =>
  Orders.toLayer({
    Get: ({ id }) => id > 0 ? Effect.succeed(name) : Effect.fail(new NoSuchOrder({ id })),
    Changes: () => Stream.make(1, 2, 3)
  })

/** Serves and registers until the scope closes. The returned effect stops the server but keeps the registration. */
const serve = (name: string) =>
  Effect.gen(function* () {
    const app = HttpRouter.toWebHandler(
      RpcServer.layerHttp({ group: Orders, path: "/rpc", protocol: "http" }).pipe(
        Layer.provide(handlers(name)),
        Layer.provide(RpcSerialization.layerNdjson),
        Layer.provide(HttpServer.layerServices)
      ),
      { disableLogger: true }
    )
    yield* Effect.addFinalizer(() => Effect.promise(() => app.dispose()))
    // On Deno and Bun, pass `app.handler` to Deno.serve or Bun.serve. This server runs everywhere.
    const server = createServer(async (request, response) => {
      const chunks: Array<Uint8Array> = []
      for await (const chunk of request) chunks.push(chunk)
      const url = `http://${request.headers.host}${request.url}`
      const answer = await app.handler(new Request(url, { method: "POST", body: Buffer.concat(chunks) }))
      response.writeHead(answer.status, Object.fromEntries(answer.headers))
      for await (const chunk of answer.body ?? []) response.write(chunk)
      response.end()
    })
    const stop = Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () => stop
    )
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    yield* registerService("orders", { id: name, endpoints: [`http://127.0.0.1:${port}`] })
    return stop
  })

const client = DiscoveryRpc.layerProtocolHttp("orders", { group: Orders }).pipe(
  Layer.provide([RpcSerialization.layerNdjson, FetchHttpClient.layer])
)

const calls = (stopB: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const orders = yield* RpcClient.make(Orders)

    const names = yield* Effect.all([orders.Get({ id: 1 }), orders.Get({ id: 2 })])
    yield* Console.log(`${names.toSorted().join(" and ")} have responded`)
    yield* Console.log(`changes: ${yield* Stream.runCollect(orders.Changes())}`)

    const error = yield* Effect.flip(orders.Get({ id: 0 }))
    yield* Console.log(`order 0: ${error._tag}`)

    yield* stopB
    const answers = yield* Effect.forEach(Array.from({ length: 10 }), (_, index) => orders.Get({ id: index + 1 }))
    yield* Console.log(`b has stopped, and ${answers.filter((name) => name === "a").length} of 10 calls reached a`)
  }).pipe(Effect.scoped)

const main = Effect.gen(function* () {
  yield* serve("a")
  const stopB = yield* serve("b")
  // The client reads the instances when its layer is built. Built earlier, it might call before both are registered.
  yield* Effect.provide(calls(stopB), client)
})

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

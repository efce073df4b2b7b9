// HTTP by service name, with Effect's HttpClient and with a function like fetch for code without Effect. Two instances
// serve. One of them stops without leaving, and no request fails.
//
//     deno run -A examples/http_client.ts
//
import { Console, Effect, Layer, ManagedRuntime } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import { createServer } from "node:http"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../src/http/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

/** Serves and registers until the scope closes. The returned effect stops the server but keeps the registration. */
const serve = (id: string) =>
  Effect.gen(function* () {
    const server = createServer(({ url }, response) => response.end(`${url} from ${id}`))
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
    yield* registerService("orders", { id, endpoints: [`http://127.0.0.1:${port}`] })
    return stop
  })

const main = Effect.gen(function* () {
  yield* serve("a")
  const stop = yield* serve("b")

  // Code that uses HttpClient needs no change: the host is the name of the service.
  const get = (path: string) => Effect.flatMap(HttpClient.get(`http://orders${path}`), (response) => response.text)
  yield* Console.log([yield* get("/1"), yield* get("/2")].toSorted().join("\n"))

  yield* stop
  const answers = yield* Effect.forEach(Array.from({ length: 10 }), (_, index) => get(`/${index}`))
  yield* Console.log(
    `${answers.filter((answer) => answer.endsWith(" from a")).length} of 10 requests were answered by a`
  )
})

const registry = Registry.layerEtcd({ endpoints })
const client = DiscoveryHttpClient.layer({ attempts: 3 }).pipe(
  Layer.provide(FetchHttpClient.layer),
  Layer.provideMerge(registry)
)

// Without Effect: a runtime with the same layer, and a function like fetch.
const plain = Effect.gen(function* () {
  yield* serve("c")
  const runtime = yield* Effect.acquireRelease(
    Effect.sync(() => ManagedRuntime.make(client)),
    ({ disposeEffect }) => disposeEffect
  )
  const fetch = makeFetch(runtime)
  const answer = yield* Effect.promise(async () => (await fetch("http://orders/3")).text())
  yield* Console.log(answer)
})

runMain(Effect.andThen(Effect.scoped(main), Effect.scoped(plain)).pipe(Effect.provide(client)))

// An HTTP server with a graceful shutdown. On SIGTERM its instance becomes "draining", a second later its key is gone
// from etcd, and then the server stops.
//
//     deno run -A examples/graceful_shutdown.ts
//
import { ConfigProvider, Effect, Layer } from "effect"
import { createServer } from "node:http"
import { registerService, Registry, runMain } from "../mod.ts"

/** An HTTP server on a free port, until the scope closes. */
const httpServer = Effect.acquireRelease(
  Effect.callback<{ readonly port: number; readonly close: Effect.Effect<void> }>((resume) => {
    const server = createServer((_, response) => response.end("hello\n"))
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      const close = Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeIdleConnections()
      })
      resume(Effect.succeed({ port, close }))
    })
  }),
  ({ close }) => Effect.andThen(close, Effect.log("the server has stopped"))
)

const main = Effect.gen(function* () {
  // The server is acquired first and released last, so it serves for as long as the key exists.
  const { port } = yield* httpServer
  yield* Effect.addFinalizer(() => Effect.log("the key is gone"))
  const registration = yield* registerService("hello", {
    endpoints: [`http://127.0.0.1:${port}`],
    // Consumers stop sending calls when they receive "draining". Calls in flight finish within this time.
    drain: "1 second"
  })
  yield* Effect.log(`serving as ${registration.key}`)
  yield* registration.awaitFailure
})

// `layerConfig` reads ETCD_ENDPOINTS, ETCD_USERNAME, ETCD_NAMESPACE and so on. These are defaults for unset variables.
const defaults = ConfigProvider.layerAdd(ConfigProvider.fromEnvRecord({ ETCD_ENDPOINTS: "http://127.0.0.1:2379" }))

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerConfig().pipe(Layer.provide(defaults)))))

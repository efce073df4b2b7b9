// An HTTP server that leaves in good order: on SIGTERM its instance becomes "draining", a second later its key is gone
// from etcd, and only then the server stops.
//
//     deno run -A examples/graceful_shutdown.ts
//
import { ConfigProvider, Effect, Layer } from "effect"
import { createServer } from "node:http"
import { registerService, Registry, runMain } from "../mod.ts"

/** A server on a free port, for the lifetime of the scope. */
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
  // What is acquired first is released last: the server is there before the key is, and still there when the key goes.
  const { port } = yield* httpServer
  yield* Effect.addFinalizer(() => Effect.log("the key is gone"))
  const registration = yield* registerService("hello", {
    endpoints: [`http://127.0.0.1:${port}`],
    // Long enough for consumers to hear of "draining" and to finish what they have begun.
    drain: "1 second"
  })
  yield* Effect.log(`serving as ${registration.key}`)
  yield* registration.awaitFailure
})

// `layerConfig` reads ETCD_ENDPOINTS, ETCD_USERNAME, ETCD_NAMESPACE and so on. What the environment does not say is
// taken from the defaults given here.
const defaults = ConfigProvider.layerAdd(ConfigProvider.fromEnvRecord({ ETCD_ENDPOINTS: "http://127.0.0.1:2379" }))

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerConfig().pipe(Layer.provide(defaults)))))

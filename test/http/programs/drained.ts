// An HTTP server as operators restart it: it registers the port that it was given, and drains before it ends.
import { Config, Effect } from "effect"
import { createServer } from "node:http"
import { registerService, Registry, runMain } from "../../../mod.ts"

const program = Effect.gen(function* () {
  const id = yield* Config.String("INSTANCE_ID")
  const port = yield* Config.Port("PORT")
  const server = createServer((_, response) => void setTimeout(() => response.end(id), 2))
  // The clients close the connections.
  server.keepAliveTimeout = 60_000
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(port, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        // Only idle ones are left after the drain. Deno 2.9.3 does not know which are idle.
        server.closeAllConnections()
      })
  )
  const registration = yield* registerService("orders", {
    id,
    endpoints: [`http://127.0.0.1:${port}`],
    drain: "1 second"
  })
  console.log(`serving ${registration.key}`)
  return yield* registration.awaitFailure
})

runMain(program.pipe(Effect.scoped, Effect.provide(Registry.layerConfig())))

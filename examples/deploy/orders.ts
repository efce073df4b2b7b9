// The program that the manifests and units beside this file start. It registers, drains on SIGTERM, and serves its
// metrics and probes on a separate port. It reads the password from a file at each authentication, so that it can be
// rotated.
//
//     deno run -A examples/deploy/orders.ts
//
import { Deferred, Effect, Option, Redacted } from "effect"
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import process from "node:process"
import { registerService, type Registration, Registry, runMain } from "../../mod.ts"
import { Monitoring } from "../../src/monitoring/mod.ts"

const env = (name: string): Option.Option<string> => Option.fromNullishOr(process.env[name])
const port = Number(Option.getOrElse(env("PORT"), () => "8080"))
const monitoringPort = Number(Option.getOrElse(env("MONITORING_PORT"), () => "9090"))

/** The server of the service, until the scope closes. Connections in use end first. */
const server = Effect.acquireRelease(
  Effect.callback<ReturnType<typeof createServer>>((resume) => {
    const server = createServer((_, response) => response.end("an order\n"))
    server.listen(port, "0.0.0.0", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeIdleConnections()
    })
)

const main = Effect.gen(function* () {
  yield* server
  // Start before the registration, to serve probes and Prometheus while the instance drains.
  const registered = yield* Deferred.make<Registration>()
  const handler = yield* Monitoring.webHandler({
    services: ["orders"],
    ready: Effect.flatMap(Deferred.await(registered), Monitoring.registered)
  })
  yield* Monitoring.serve(handler, { port: monitoringPort, hostname: "0.0.0.0" })

  // The host becomes ADVERTISE_ADDRESS, POD_IP, or the first non-loopback address.
  const registration = yield* registerService("orders", {
    endpoints: [`http://0.0.0.0:${port}`],
    startup: "background",
    drain: "5 seconds"
  })
  yield* Deferred.succeed(registered, registration)
  yield* Effect.log(`serving as ${registration.key}`)
  yield* registration.awaitFailure
})

const passwordFile = env("ETCD_PASSWORD_FILE")
const username = env("ETCD_USERNAME")
const ca = env("ETCD_CA_CERT")

const registry = Registry.layerEtcd({
  endpoints: Option.getOrElse(env("ETCD_ENDPOINTS"), () => "http://127.0.0.1:2379").split(","),
  ...(Option.isSome(ca) ? { tls: { ca: ca.value } } : {}),
  ...(Option.isSome(username) && Option.isSome(passwordFile) ?
    {
      username: username.value,
      password: Effect.map(
        Effect.promise(() => readFile(passwordFile.value, "utf8")),
        (text) => Redacted.make(text.trim())
      )
    } :
    {})
})

runMain(main.pipe(Effect.scoped, Effect.provide(registry)))

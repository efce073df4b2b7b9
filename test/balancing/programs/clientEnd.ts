// Uses service clients in every way that could leave something behind, without runMain. It must end by itself.
import { Effect, Fiber, Layer, ManagedRuntime } from "effect"
import { FetchHttpClient } from "effect/http"
import { createServer } from "node:http"
import { registerService, Registry } from "../../../mod.ts"
import { Balancer, ServiceClient } from "../../../src/balancing/mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../../src/http/mod.ts"

const registry = Registry.layerMemory()

const hung = Effect.gen(function* () {
  yield* registerService("hung", { endpoints: ["a:1"] })
  for (const connect of [Effect.never, Effect.uninterruptible(Effect.never)]) {
    const error = yield* Effect.scoped(Effect.gen(function* () {
      const client = yield* ServiceClient.make({
        service: "hung",
        connect: () => connect,
        open: "eagerly",
        connectTimeout: "50 millis",
        closeTimeout: "50 millis"
      })
      return yield* Effect.flip(client.call(() => Effect.void, { timeout: "1 hour" }))
    }))
    console.log(error._tag)
  }
})

const calls = Effect.gen(function* () {
  for (const id of ["a", "b", "c"]) yield* registerService("orders", { id, endpoints: [`${id}:1`] })
  const client = yield* ServiceClient.make({
    service: "orders",
    strategy: Balancer.peakEwma(),
    connect: ({ id }) => Effect.acquireRelease(Effect.succeed(id), () => Effect.void),
    closeTimeout: "50 millis",
    hedge: { after: 0.5 },
    failureAccrual: { consecutive: 1, ejectFor: "1 hour" }
  })
  const limits = { timeout: "1 hour", attemptTimeout: "1 hour" } as const
  yield* Effect.repeat(client.call((id) => Effect.as(Effect.sleep(1), id), limits), { times: 40 })
  yield* Effect.exit(client.call((id) => id === "a" ? Effect.fail("no") : Effect.succeed(id)))
  yield* Effect.exit(client.call(() => Effect.die("a bug")))
  const interrupted = yield* Effect.forkChild(client.call(() => Effect.never, limits), { startImmediately: true })
  yield* Fiber.interrupt(interrupted)
  // Still in flight when the scope has closed.
  yield* Effect.forkDetach(client.call(() => Effect.never), { startImmediately: true })
  console.log((yield* client.state).calls)
})

const http = Effect.gen(function* () {
  const server = createServer((_, response) => void response.end("ok"))
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  const runtime = ManagedRuntime.make(
    DiscoveryHttpClient.layer({ attemptTimeout: "1 hour" }).pipe(
      Layer.provide(FetchHttpClient.layer),
      Layer.provide(Registry.layerFixed([{ name: "web", endpoints: [`http://127.0.0.1:${port}`] }]))
    )
  )
  const text = yield* Effect.promise(async () => (await makeFetch(runtime)("http://web/")).text())
  yield* runtime.disposeEffect
  console.log(text)
})

// A timer of our own keeps the process while its fibers only wait for each other; no longer.
const timer = setInterval(() => {}, 1000)
await Effect.runPromise(Effect.all([hung, calls, http]).pipe(Effect.scoped, Effect.provide(registry)))
clearInterval(timer)
console.log("done")

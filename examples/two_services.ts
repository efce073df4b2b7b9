// Two services that find each other. Each serves HTTP on a free port, registers, discovers the other one and calls it.
// Ports and the order of starting do not matter.
//
//     deno run -A examples/two_services.ts                  both in one process
//     deno run -A examples/two_services.ts alice bob        one of them; start the other one with "bob alice"
//
import { Console, Deferred, Effect, Option, Stream } from "effect"
import { createServer } from "node:http"
import process from "node:process"
import { discover, registerService, Registry, runMain } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

/** Serves HTTP until the scope closes. Returns the port, and a Deferred that completes at the first call. */
const serve = (answer: string) =>
  Effect.gen(function* () {
    const called = yield* Deferred.make<void>()
    const server = createServer((_, response) => {
      response.end(answer, () => Deferred.doneUnsafe(called, Effect.void))
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () => Effect.sync(() => server.close())
    )
    const address = server.address()
    return { called, port: typeof address === "object" && address !== null ? address.port : 0 }
  })

/** Waits until a service has an available instance, and returns its first endpoint. */
const firstEndpoint = (service: string) =>
  discover(service).pipe(
    Stream.map((set) => set.endpoints[0]),
    Stream.filter((endpoint) => endpoint !== undefined),
    Stream.runHead,
    Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed }))
  )

const service = (name: string, peer: string) =>
  Effect.gen(function* () {
    const { called, port } = yield* serve(`hello, this is ${name}`)
    yield* registerService(name, { endpoints: [`http://127.0.0.1:${port}`] })
    const url = yield* firstEndpoint(peer)
    const answer = yield* Effect.tryPromise(async (signal) => (await fetch(url, { signal })).text())
    yield* Console.log(`${name} called ${peer}: ${answer}`)
    // Keep serving until the other one has called.
    yield* Deferred.await(called)
  }).pipe(Effect.scoped)

const [name, peer] = process.argv.slice(2)
const main = name === undefined || peer === undefined ?
  Effect.all([service("alice", "bob"), service("bob", "alice")], { concurrency: "unbounded" }) :
  service(name, peer)

runMain(main.pipe(Effect.provide(Registry.layerEtcd({ endpoints }))))

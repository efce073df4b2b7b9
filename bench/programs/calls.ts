/** Calls a server that responds at once, several calls at a time. `file` names the way to call. */
import { Effect, Layer, Scope } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { FetchHttpClient, HttpClient } from "effect/http"
import { registerService, Registry } from "../../mod.ts"
import { ServiceClient } from "../../src/balancing/mod.ts"
import { DiscoveryHttpClient } from "../../src/http/mod.ts"
import { parameter, readArguments, report, service, stopwatch } from "./measure.ts"

const { file } = readArguments()
/** A server in its own process, whose CPU does not count. It ends with this process. */
const startServer = async (): Promise<string> => {
  const file = fileURLToPath(new URL("./server.ts", import.meta.url))
  const args = "Deno" in globalThis ? ["run", "-A", file] : [file]
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] })
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("port ")) return `http://127.0.0.1:${line.slice("port ".length)}`
  }
  throw new Error("the server has ended")
}

const url = await startServer()
const [count, width] = [parameter("calls"), 8]
const scope = Effect.runSync(Scope.make())

/** A registry in memory with the server as its only instance, so that calls do not involve etcd. */
const registered = Effect.gen(function* () {
  const registry = yield* Layer.build(Registry.layerMemory())
  yield* Effect.provide(registerService(service, { endpoints: [url] }), registry)
  return registry
}).pipe(Scope.provide(scope))

const bodyOf = (client: HttpClient.HttpClient, url: string) =>
  client.get(url).pipe(Effect.flatMap((response) => response.text), Effect.asVoid)

/** One call in each way. */
const ways: Readonly<Record<string, Effect.Effect<() => Effect.Effect<void, unknown>, unknown>>> = {
  "fetch": Effect.succeed(() => Effect.promise(() => fetch(url).then((response) => response.text()))),
  "HttpClient": Effect.map(
    Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer),
    (client) => () => bodyOf(client, url)
  ),
  "DiscoveryHttpClient": Effect.gen(function* () {
    const fixed = yield* Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)
    const client = yield* Effect.provide(DiscoveryHttpClient.make(fixed), yield* registered)
    return () => bodyOf(client, `http://${service}/`)
  }).pipe(Scope.provide(scope)),
  "nothing": Effect.succeed(() => Effect.void),
  "ServiceClient": Effect.gen(function* () {
    const client = yield* Effect.provide(
      ServiceClient.make({ service, connect: () => Effect.succeed(undefined) }),
      yield* registered
    )
    return () => client.call(() => Effect.void)
  }).pipe(Scope.provide(scope))
}

const way = ways[file]
if (way === undefined) throw new Error(`no way to call ${file}`)
const call = await Effect.runPromise(way)
await Effect.runPromise(call())
const calling = stopwatch()
let left = count
const loop = Effect.whileLoop({ while: () => left-- > 0, body: call, step: () => {} })
await Effect.runPromise(Effect.all(Array.from({ length: width }, () => loop), { concurrency: width, discard: true }))
const { cpuMillis, millis } = calling()
report({ "µs of CPU": cpuMillis * 1000 / count, "µs": millis * 1000 / count })

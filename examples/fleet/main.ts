/**
 * A fleet to observe and to break: three services with two or three instances each, a gateway in front of them, steady
 * traffic, and the console.
 *
 *     deno task fleet                               on the embedded engine: no server
 *     deno task fleet --etcd http://127.0.0.1:2379  on that etcd
 *     deno task fleet --seconds 10                  ends by itself
 *
 * Bun and Node run it as well: `node examples/fleet/main.ts`. README.md in this folder has things to try.
 *
 * @module
 */
import { Console, Effect, Layer, ManagedRuntime, Queue, References, Stream } from "effect"
import { FetchHttpClient } from "effect/http"
import process from "node:process"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import { Registry, runMain } from "../../mod.ts"
import { WebConsole } from "../../src/console/mod.ts"
import { Etcd, EtcdGrpc, EtcdMemory } from "../../src/etcd/mod.ts"
import { DiscoveryHttpClient, makeFetch } from "../../src/http/mod.ts"
import { type Instance, start } from "./instance.ts"
import { serve } from "./server.ts"
import { definitions } from "./services.ts"

const usage = `commands:
  list                  the instances
  start payments        one more instance of a service
  stop payments-1       a graceful end: drain, leave, end
  kill payments-1       a crash: its lease expires within seconds
  hang payments-1       it accepts requests and does not respond; resume payments-1 ends that
  quit`

const { values } = parseArgs({
  options: {
    etcd: { type: "string" },
    port: { type: "string", default: "8080" },
    console: { type: "string", default: "8500" },
    seconds: { type: "string" }
  }
})

const etcd = values.etcd === undefined ? EtcdMemory.layer() : EtcdGrpc.layer({ endpoints: values.etcd.split(",") })

const sizes: Readonly<Record<string, number>> = { payments: 3, inventory: 2, orders: 2 }

const fleet = Effect.gen(function* () {
  const instances = new Map<string, Instance>()
  const etcd = yield* Etcd

  // One client of all services, as in a gateway.
  const client = DiscoveryHttpClient.layer({ attemptTimeout: "2 seconds", attempts: 3, waitFor: "5 seconds" }).pipe(
    Layer.provide(FetchHttpClient.layer),
    Layer.provide(Registry.layer()),
    Layer.provide(Layer.succeed(Etcd, etcd))
  )
  const runtime = yield* Effect.acquireRelease(
    Effect.sync(() => ManagedRuntime.make(client)),
    (runtime) => runtime.disposeEffect
  )
  const fetchService = makeFetch(runtime)

  const services = definitions(fetchService)
  const numbers = new Map<string, number>()
  const add = Effect.fnUntraced(function* (name: string) {
    const service = services.find((service) => service.name === name)
    if (service === undefined) return yield* Console.log(`there is no service "${name}"`)
    const number = (numbers.get(name) ?? 0) + 1
    numbers.set(name, number)
    const instance = yield* start(service, number)
    instances.set(instance.id, instance)
  })
  for (const { name } of services) {
    for (let count = 0; count < (sizes[name] ?? 1); count++) yield* add(name)
  }

  // In parallel: each drains for two seconds.
  yield* Effect.addFinalizer(() =>
    Effect.forEach(instances.values(), ({ stop }) => stop, { concurrency: "unbounded", discard: true })
  )

  const gateway = yield* serve(async (path) => {
    const response = await fetchService(`http://orders${path}`)
    if (!response.ok) throw new Error(await response.text())
    return response.text()
  }, Number(values.port))
  const site = yield* WebConsole.serve(
    WebConsole.layer({ allowWrites: true }).pipe(Layer.provide(Layer.succeed(Etcd, etcd))),
    { port: Number(values.console) }
  )

  yield* Console.log(`gateway: ${gateway.url}/42`)
  yield* Console.log(`console: http://127.0.0.1:${site.port}/`)
  yield* Console.log(usage)

  // Traffic: 20 requests a second, and a line for each slow or failed one.
  let total = 0
  let sum = { ok: 0, failed: 0 }
  const request = Effect.promise(async () => {
    const response = await fetch(`${gateway.url}/${total++}`).catch(() => undefined)
    await response?.arrayBuffer().catch(() => undefined)
    if (response?.ok === true) sum.ok += 1
    else sum.failed += 1
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.forkScoped(request), Effect.sleep("50 millis"))))
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function* () {
    yield* Effect.sleep("5 seconds")
    yield* Console.log(`in 5 s: ${sum.ok} requests succeeded, ${sum.failed} failed`)
    sum = { ok: 0, failed: 0 }
  })))

  const run = Effect.fnUntraced(function* (line: string) {
    const [command = "", name = ""] = line.trim().split(/\s+/)
    if (command === "") return
    if (command === "list") {
      return yield* Console.log([...instances.values()].map(({ id, url }) => `${id}  ${url}`).join("\n"))
    }
    if (command === "start") return yield* add(name)
    const instance = instances.get(name)
    if (instance === undefined) return yield* Console.log(name === "" ? usage : `there is no instance "${name}"`)
    if (command === "hang" || command === "resume") return instance.setHanging(command === "hang")
    if (command !== "stop" && command !== "kill") return yield* Console.log(usage)
    instances.delete(name)
    yield* command === "stop" ? instance.stop : instance.kill
  })

  const lines = Stream.callback<string>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const reader = createInterface({ input: process.stdin })
        reader.on("line", (line) => Queue.offerUnsafe(queue, line))
        return reader
      }),
      (reader) => Effect.sync(() => reader.close())
    )
  )
  const commands = lines.pipe(
    Stream.takeUntil((line) => line.trim() === "quit"),
    Stream.runForEach((line) => line.trim() === "quit" ? Effect.void : run(line))
  )
  const end = values.seconds === undefined ? Effect.never : Effect.sleep(`${Number(values.seconds)} seconds`)
  yield* Effect.raceFirst(commands, end)
})

runMain(
  fleet.pipe(
    Effect.scoped,
    Effect.provide(etcd),
    // The instances log their own events; the client logs ejections.
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )
)

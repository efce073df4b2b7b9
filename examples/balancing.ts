// Calls with load balancing: of three instances one is slow, and one stops answering. The client prefers the fast ones,
// retries failed calls at another instance, and prints its statistics at the end.
//
//     deno run -A examples/balancing.ts
//
import { Console, Data, Effect, Option, Ref } from "effect"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"
import { Balancer, ServiceClient } from "../src/balancing/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

class Unreachable extends Data.TaggedError("Unreachable")<{ readonly url: string }> {}

/** Simulates a network: the latency of each instance in milliseconds. Instances without one are unreachable. */
const network = Ref.make<Readonly<Record<string, number>>>({
  "tcp://quick:1": 2,
  "tcp://slow:1": 40,
  "tcp://other:1": 2
})

const main = Effect.gen(function* () {
  const latencies = yield* network
  for (const id of ["quick", "slow", "other"]) yield* registerService("orders", { id, endpoints: [`${id}:1`] })

  const orders = yield* ServiceClient.make({
    service: "orders",
    // Picks the better of two random instances: lower latency and fewer calls in flight.
    strategy: Balancer.peakEwma(),
    // The client of one instance: an HTTP client, a gRPC channel. Opened on first use, closed when the instance leaves.
    connect: ({ endpoints: [url = ""] }) =>
      Effect.succeed({
        ask: Effect.gen(function* () {
          const latency = (yield* Ref.get(latencies))[url]
          if (latency === undefined) return yield* new Unreachable({ url })
          yield* Effect.sleep(latency)
          return url
        })
      }),
    attempts: 3,
    attemptTimeout: "1 second",
    failureAccrual: { consecutive: 3 }
  })

  const ask = (times: number) =>
    Effect.forEach(Array.from({ length: times }), () => orders.call((client) => client.ask), { concurrency: 4 })

  yield* Console.log(`${(yield* ask(200)).length} calls were answered`)
  yield* Ref.update(latencies, ({ "tcp://other:1": _, ...rest }) => rest)
  yield* Console.log(`${(yield* ask(200)).length} more were answered without one of the instances`)

  const state = yield* orders.state
  for (const { ewma, failures, health, instance, requests } of state.instances) {
    const latency = Option.match(ewma, {
      onNone: () => "unknown",
      onSome: (millis) => `about ${Math.round(millis)} ms`
    })
    yield* Console.log(`${instance.id}: ${health}, ${requests} attempts, ${failures} failed, ${latency}`)
  }
})

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

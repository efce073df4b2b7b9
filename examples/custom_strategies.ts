// Your own strategies: a subset of a large service for each client, and a wrapper that ignores the status of instances
// if nearly all of them are down. Both are in `strategies/` and use only `Balancer.strategy`.
//
//     deno run -A examples/custom_strategies.ts
//
import { Console, Effect } from "effect"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"
import { Balancer, ServiceClient } from "../src/balancing/mod.ts"
import { panic } from "./strategies/panic.ts"
import { ringSubset } from "./strategies/ringSubset.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

const main = Effect.gen(function* () {
  for (let number = 0; number < 10; number++) {
    yield* registerService("orders", { id: `orders-${number}`, endpoints: [`http://10.0.0.${number + 1}:8080`] })
  }

  /** The ids of the instances that 30 calls go to. */
  const used = (strategy: Balancer.Strategy) =>
    Effect.scoped(Effect.gen(function* () {
      const orders = yield* ServiceClient.make({ service: "orders", connect: ({ id }) => Effect.succeed(id), strategy })
      return new Set(yield* Effect.replicateEffect(orders.call(Effect.succeed), 30))
    }))

  const subset = yield* used(ringSubset({ size: 3, clientId: 7, within: Balancer.roundRobin }))
  yield* Console.log(`client 7 uses ${subset.size} of 10 instances`)

  const all = yield* used(Balancer.roundRobin.pipe(panic(0.5)))
  yield* Console.log(`without a subset, a client uses ${all.size} instances`)
})

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

import { Effect, References } from "effect"
import { Registry } from "../../mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { churn } from "./churn.ts"
import { churnClients } from "./churnClients.ts"

describe("gRPC under load, on etcd", () => {
  for (const { make, name, serve } of churnClients) {
    live(`${name} loses no call while twenty instances come, drain and stop`, () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const body = Effect.gen(function* () {
          const call = yield* make
          const counts = yield* churn({ serve, call, rounds: 20, drain: "500 millis" })
          const calls = [...counts.values()].reduce((sum, count) => sum + count, 0)
          console.log(`${calls} calls, no failure`)
        })
        yield* body.pipe(
          Effect.scoped,
          Effect.provide(Registry.layerEtcd({ endpoints: [etcd.endpoint] })),
          Effect.provideService(References.MinimumLogLevel, "Error")
        )
      }), { timeout: 120_000 })
  }
})

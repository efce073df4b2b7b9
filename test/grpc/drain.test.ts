import { Effect, References } from "effect"
import { Registry } from "../../mod.ts"
import { describe, live } from "../harness/it.ts"
import { churn } from "./churn.ts"
import { churnClients } from "./churnClients.ts"

describe("gRPC under load", () => {
  for (const { make, name, serve } of churnClients) {
    live(`${name} loses no call while instances come, drain and stop`, () =>
      Effect.gen(function* () {
        const call = yield* make
        yield* churn({ serve, call, rounds: 3, drain: "200 millis" })
      }).pipe(
        Effect.provide(Registry.layerMemory()),
        Effect.provideService(References.MinimumLogLevel, "Error")
      ))
  }
})

// Registers itself at the etcd of the environment and stays; exits with 1 if the registration fails.
import { Config, Duration, Effect, Logger } from "effect"
import { registerService, Registry, runMain } from "../../../mod.ts"

const program = Effect.gen(function* () {
  const id = yield* Config.String("INSTANCE_ID")
  const drain = yield* Config.withDefault(Config.String("DRAIN_MILLIS"), "0")
  const ttl = yield* Config.withDefault(Config.Duration("TTL"), Duration.seconds(15))
  const registration = yield* registerService("orders", {
    id,
    endpoints: ["http://10.0.0.5:8080"],
    ttl,
    drain: Number(drain)
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => console.log("closing")))
  console.log(`registered ${registration.key}`)
  return yield* registration.awaitFailure
})

// The log goes to stdout, which the tests read.
runMain(program.pipe(Effect.scoped, Effect.provide(Registry.layerConfig()), Effect.provide(Logger.layer([]))))

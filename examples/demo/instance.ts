// One instance of the demo in its own process, on the etcd of the environment.
import { Console, Effect, References } from "effect"
import process from "node:process"
import { Registry, runMain } from "../../mod.ts"
import { type Instance, register } from "./stage.ts"

const instance: Instance = JSON.parse(process.argv[2] ?? "{}")

/** Completes when the input ends, which means that the demo has exited. */
const orphaned = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

runMain(
  register(instance).pipe(
    Effect.andThen(Console.log("registered")),
    Effect.andThen(orphaned),
    Effect.scoped,
    Effect.provideService(References.MinimumLogLevel, "Warn"),
    Effect.provide(Registry.layerConfig())
  )
)

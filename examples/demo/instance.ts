// One instance of the demo in a process of its own, on the etcd that the environment names.
import { Console, Effect } from "effect"
import process from "node:process"
import { Registry, runMain } from "../../mod.ts"
import { type Instance, register } from "./stage.ts"

const instance: Instance = JSON.parse(process.argv[2] ?? "{}")

/** The end of the input: whoever started this process is gone. */
const orphaned = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

runMain(
  register(instance).pipe(
    Effect.andThen(Console.log("registered")),
    Effect.andThen(orphaned),
    Effect.scoped,
    Effect.provide(Registry.layerConfig())
  )
)

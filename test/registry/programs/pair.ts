// Registers itself, waits for its partner, reports it, and ends when the partner has left.
import { Config, Effect, Logger, Stream } from "effect"
import { discover, registerService, Registry, runMain } from "../../../mod.ts"

const program = Effect.gen(function* () {
  const own = yield* Config.String("OWN")
  const partner = yield* Config.String("PARTNER")
  yield* registerService(own, { id: "1", endpoints: [`http://${own}:1`] })
  yield* discover(partner).pipe(
    Stream.dropWhile((set) => set.size === 0),
    Stream.tap((set) => Effect.sync(() => console.log(`sees ${set.endpoints}`))),
    Stream.takeUntil((set) => set.size === 0),
    Stream.runDrain
  )
})

// The log goes to stdout, which the tests read.
runMain(program.pipe(Effect.scoped, Effect.provide(Registry.layerConfig()), Effect.provide(Logger.layer([]))))

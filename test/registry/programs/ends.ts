// Uses everything for a moment, without runMain. Then it must end by itself (D11).
import { Config, Effect, Stream } from "effect"
import { discover, discoverChanges, getInstances, listServices, registerService, Registry } from "../../../mod.ts"

const layer = Registry.layerConfig()

const moment = Effect.gen(function* () {
  const registrations = yield* Effect.forEach(
    ["a", "b", "c"],
    (id) => registerService("orders", { id, endpoints: ["a:1"], health: Effect.void }),
    { concurrency: 3 }
  )
  yield* discover("orders").pipe(Stream.takeUntil(({ available }) => available.length === 3), Stream.runDrain)
  yield* discoverChanges("orders").pipe(Stream.take(3), Stream.runDrain)
  yield* Effect.forkScoped(Stream.runDrain(discover("payments")))
  yield* registrations[0]?.update({ weight: 2 }) ?? Effect.void
  const { size } = yield* getInstances("orders")
  const services = yield* listServices()
  console.log(`${size} instances, ${services.length} service`)
})

const patience = Effect.gen(function* () {
  // An unreachable etcd must not keep the process alive either.
  const nowhere = Registry.layerEtcd({ endpoints: [yield* Config.String("NOWHERE")] })
  const error = yield* Effect.flip(
    Effect.scoped(registerService("orders", { endpoints: ["a:1"], startupTimeout: "500 millis" })).pipe(
      Effect.provide(nowhere)
    )
  )
  console.log(error._tag)
  yield* discover("orders").pipe(Stream.runDrain, Effect.timeoutOption("300 millis"), Effect.provide(nowhere))
})

// A timer of our own keeps the process while its fibers only wait for etcd, as runMain would; no longer.
const timer = setInterval(() => {}, 1000)
await Effect.runPromise(Effect.andThen(moment, patience).pipe(Effect.scoped, Effect.provide(layer)))
clearInterval(timer)
console.log("done")

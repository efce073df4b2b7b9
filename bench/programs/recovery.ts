/** Many registrations and one consumer in a process that loses its etcd. `scenarios/recovery.ts` takes it away. */
import { Effect, Stream } from "effect"
import { discover, registerService, Registry } from "../../mod.ts"
import { fingerprint, instanceOptions, readArguments, service, tell } from "./measure.ts"

const { endpoint, parameters: { count } } = readArguments<"count">()

const ours = Effect.gen(function* () {
  yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => `i${index}`),
    (id) => registerService(service, { ...instanceOptions(id, "") }),
    { concurrency: 100, discard: true }
  )
  yield* Stream.runForEach(discover(service), (set) =>
    Effect.sync(() => {
      const ids = Array.from(set, ({ id }) => id)
      tell(`set ${set.freshness._tag} ${set.size} ${set.revision} ${fingerprint(ids)}`)
    }))
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

await Effect.runPromise(ours)

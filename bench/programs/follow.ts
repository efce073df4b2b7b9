/** Follows a service and prints each mark or set, for scenarios in which etcd fails meanwhile. */
import { Effect, Stream } from "effect"
import { discover, Registry } from "../../mod.ts"
import { fingerprint, now, print, readArguments, service } from "./measure.ts"

const { endpoint } = readArguments()

await discover(service).pipe(
  Stream.runForEach((set) =>
    Effect.sync(() => {
      const ids = Array.from(set, ({ id }) => id)
      const marks = Array.from(set, ({ metadata }) => metadata["mark"])
      print(`set ${set.freshness._tag} ${now()} ${fingerprint(ids)} ${marks[0] ?? ""}`)
    })
  ),
  Effect.provide(Registry.layerEtcd({ endpoints: endpoint.split(",") })),
  Effect.runPromise
)

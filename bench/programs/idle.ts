/** A process that has registrations and subscriptions, while nothing happens. */
import { Deferred, Effect, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, registerService, Registry } from "../../mod.ts"
import {
  awaitGo,
  instanceOptions,
  instanceValue,
  keyOf,
  prefixOf,
  readArguments,
  report,
  residentBytes,
  startCpu,
  wakeUps
} from "./measure.ts"

const { endpoint, parameters, who } = readArguments<"registrations" | "subscriptions" | "millis">()
const indices = (count: number) => Array.from({ length: count }, (_, index) => index)

const measure = async (): Promise<void> => {
  await awaitGo()
  const spentCpu = startCpu()
  const wakeUpsBefore = wakeUps()
  setTimeout(() => {
    report({
      "CPU ms": spentCpu() / 1000,
      "wake-ups": wakeUps() - wakeUpsBefore,
      "resident MB": residentBytes() / 1e6
    })
  }, parameters.millis)
}

const ours = Effect.gen(function* () {
  yield* Effect.forEach(
    indices(parameters.registrations),
    (index) => registerService(`bench${index}`, instanceOptions("i0", "")),
    { concurrency: "unbounded" }
  )
  yield* Effect.forEach(indices(parameters.subscriptions), (index) =>
    Effect.gen(function* () {
      const first = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Stream.runForEach(discover(`bench${index}`), () => Deferred.succeed(first, undefined))
      )
      yield* Deferred.await(first)
    }), { concurrency: "unbounded" })
  yield* Effect.promise(measure)
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  await Promise.all(
    indices(parameters.registrations).map((index) => {
      const name = `bench${index}`
      return client.lease(15).put(keyOf("i0", name)).value(instanceValue("i0", "", name)).exec()
    })
  )
  await Promise.all(
    indices(parameters.subscriptions).map(async (index) => {
      const prefix = prefixOf(`bench${index}`)
      const instances = new Map<string, unknown>()
      const { kvs } = await client.getAll().prefix(prefix).exec()
      for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
      const watcher = await client.watch().prefix(prefix).create()
      watcher.on("put", ({ key, value }) => instances.set(key.toString(), JSON.parse(value.toString())))
      watcher.on("delete", ({ key }) => instances.delete(key.toString()))
    })
  )
  await measure()
}

await (who === "ours" ? Effect.runPromise(ours) : raw())

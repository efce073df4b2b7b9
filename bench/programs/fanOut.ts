/** Many subscriptions in one process: what each further one costs, and how soon all of them have a change. */
import { Deferred, Effect, Option, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import {
  heapBytes,
  now,
  type Parsed,
  prefixOf,
  quantile,
  readArguments,
  report,
  residentBytes,
  tell
} from "./measure.ts"

const { endpoint, parameters, who } = readArguments<"services" | "subscriptions" | "changes">()
const names = Array.from({ length: parameters.services }, (_, index) => `bench${index}`)
/** The service of each subscription, one for each service first. */
const wanted = Array.from({ length: parameters.subscriptions }, (_, index) => names[index % names.length] ?? "")

/** How many subscribers have seen each mark, and when the last of them did. */
const seenBy = new Map<string, number>()
const latencies: Array<number> = []

const seen = (mark = ""): void => {
  if (Number.isNaN(Number(mark)) || mark === "") return
  const count = (seenBy.get(mark) ?? 0) + 1
  seenBy.set(mark, count)
  if (count < parameters.subscriptions) return
  latencies.push(now() - Number(mark))
  if (latencies.length === parameters.changes) {
    report({ "ms to all": quantile(latencies, 0.5), "p99 ms to all": quantile(latencies, 0.99) })
  }
}

/** Subscribes once to each service and then the rest; `subscribe` completes when the first set is there. */
const measure = async (subscribe: (name: string) => Promise<unknown>): Promise<void> => {
  await Promise.all(wanted.slice(0, names.length).map(subscribe))
  const before = await heapBytes()
  await Promise.all(wanted.slice(names.length).map(subscribe))
  const after = await heapBytes()
  const further = parameters.subscriptions - parameters.services
  if (parameters.changes > 0) return tell("ready")
  report({
    "kB per further subscriber": further === 0 ? 0 : (after - before) / further / 1000,
    "resident MB": residentBytes() / 1e6
  })
}

const subscribe = Effect.fnUntraced(function* (name: string) {
  const first = yield* Deferred.make<void>()
  yield* discover(name).pipe(
    Stream.runForEach((set) => {
      seen(Option.getOrUndefined(set.get("i0"))?.metadata["mark"])
      return Deferred.succeed(first, undefined)
    }),
    Effect.forkScoped
  )
  yield* Deferred.await(first)
})

const ours = Effect.gen(function* () {
  const run = Effect.runPromiseWith(yield* Effect.context<Effect.Services<ReturnType<typeof subscribe>>>())
  yield* Effect.promise(() => measure((name) => run(subscribe(name))))
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  await measure(async (name) => {
    const instances = new Map<string, Parsed>()
    const { kvs } = await client.getAll().prefix(prefixOf(name)).exec()
    for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
    const watcher = await client.watch().prefix(prefixOf(name)).create()
    watcher.on("put", ({ key, value }) => {
      const instance: Parsed = JSON.parse(value.toString())
      instances.set(key.toString(), instance)
      seen(instance.metadata.mark)
    })
    watcher.on("delete", ({ key }) => instances.delete(key.toString()))
  })
}

await (who === "ours" ? Effect.runPromise(ours) : raw())

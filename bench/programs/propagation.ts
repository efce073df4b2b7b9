/** How long a change takes to reach a consumer, and what it costs there. `scenarios/propagation.ts` writes. */
import { Effect, Option, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import {
  heapBytes,
  keyOf,
  now,
  type Parsed,
  prefixOf,
  quantile,
  readArguments,
  report,
  service,
  startCpu,
  tell
} from "./measure.ts"

const { endpoint, who } = readArguments<never>()
const latencies = new Map<string, number>()
let spentCpu: (() => number) | undefined
let isOver = false

const seen = (mark: string | undefined): void => {
  if (mark === "start") spentCpu ??= startCpu()
  // What was written before the start is of an earlier turn.
  if (mark === undefined || mark === "start" || spentCpu === undefined || latencies.has(mark) || isOver) return
  if (mark.startsWith("end ")) {
    isOver = true
    const times = [...latencies.values()]
    report({
      "p50 ms": quantile(times, 0.5),
      "p99 ms": quantile(times, 0.99),
      "CPU µs per change": spentCpu() / Number(mark.slice("end ".length)),
      "changes seen": times.length
    })
  } else {
    latencies.set(mark, now() - Number(mark))
  }
}

/** What the first read leaves behind is collected first: whether that fell among the changes would be chance. */
const ready = async (): Promise<void> => {
  await heapBytes()
  tell("ready")
}

const ours = Effect.suspend(() => {
  let isReady = false
  return discover(service).pipe(
    Stream.runForEach((set) =>
      Effect.suspend(() => {
        if (!isReady) {
          isReady = true
          return Effect.promise(ready)
        }
        seen(Option.getOrUndefined(set.get("i0"))?.metadata["mark"])
        return Effect.void
      })
    )
  )
}).pipe(Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  const instances = new Map<string, Parsed>()
  const { kvs } = await client.getAll().prefix(prefixOf()).exec()
  for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
  const watcher = await client.watch().prefix(prefixOf()).create()
  watcher.on("put", ({ key, value }) => {
    const instance: Parsed = JSON.parse(value.toString())
    instances.set(key.toString(), instance)
    if (instance.id === "i0") seen(instance.metadata.mark)
  })
  watcher.on("delete", ({ key }) => instances.delete(key.toString()))
  await ready()
}

/** Reads the whole prefix again for each event, as go-kit's `sd/etcdv3` instancer does. */
const naive = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint, grpcOptions: { "grpc.max_receive_message_length": -1 } })
  const read = async () => {
    const { kvs } = await client.getAll().prefix(prefixOf()).exec()
    const instances = new Map<string, Parsed>(
      kvs.map(({ key, value }) => [key.toString(), JSON.parse(value.toString())])
    )
    seen(instances.get(keyOf("i0"))?.metadata.mark)
  }
  await read()
  const watcher = await client.watch().prefix(prefixOf()).create()
  let reading = Promise.resolve()
  watcher.on("put", () => {
    reading = reading.then(read)
  })
  await ready()
}

if (who === "ours") await Effect.runPromise(ours)
else if (who === "raw") await raw()
else await naive()

/** How long a change takes to reach a consumer, and what it costs there. The benchmark writes; see `bench/main.ts`. */
import { Effect, Option, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import { cpu, now, quantile, readArguments, report, service } from "./measure.ts"

const { count: changes, endpoint, who } = readArguments()
const latencies: Array<number> = []
let cpuBefore = 0

const seen = (mark: string | undefined): void => {
  if (mark === undefined || mark === "") return
  if (mark === "start") {
    cpuBefore = cpu()
    return
  }
  if (mark !== "end") {
    latencies.push(now() - Number(mark))
    return
  }
  report({
    "p50 ms": quantile(latencies, 0.5),
    "p99 ms": quantile(latencies, 0.99),
    "CPU µs per change": (cpu() - cpuBefore) / changes
  })
}

const ours = discover(service).pipe(
  Stream.runForEach((set) =>
    Effect.sync(() => {
      if (latencies.length === 0 && cpuBefore === 0) console.log("ready")
      seen(Option.getOrUndefined(set.get("i0"))?.metadata["mark"])
    })
  ),
  Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] }))
)

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  const prefix = `/services/${service}/`
  const instances = new Map<string, { readonly metadata: { readonly mark: string } }>()
  const { kvs } = await client.getAll().prefix(prefix).exec()
  for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
  const watcher = await client.watch().prefix(prefix).create()
  watcher.on("put", ({ key, value }) => {
    const instance = JSON.parse(value.toString())
    instances.set(key.toString(), instance)
    if (key.toString() === `${prefix}i0`) seen(instance.metadata.mark)
  })
  watcher.on("delete", ({ key }) => instances.delete(key.toString()))
  console.log("ready")
}

/** Reads the whole prefix again for each event, as go-kit's `sd/etcdv3` instancer does. */
const naive = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  const prefix = `/services/${service}/`
  const read = async () => {
    const { kvs } = await client.getAll().prefix(prefix).exec()
    const instances = new Map(kvs.map(({ key, value }) => [key.toString(), JSON.parse(value.toString())]))
    seen(instances.get(`${prefix}i0`)?.metadata.mark)
  }
  const watcher = await client.watch().prefix(prefix).create()
  let reading = Promise.resolve()
  watcher.on("put", () => {
    reading = reading.then(read)
  })
  console.log("ready")
}

if (who === "ours") await Effect.runPromise(ours)
else if (who === "raw") await raw()
else await naive()

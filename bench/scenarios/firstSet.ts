/** How long a consumer waits for its first complete set. */
import { Effect, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import { cpu, readArguments, report, residentBytes, service } from "./measure.ts"

const { count, endpoint, who } = readArguments()

const done = (size: number, startedAt: number, cpuBefore: number): void => {
  if (size !== count) throw new Error(`${size} instances instead of ${count}`)
  report({
    "ms": performance.now() - startedAt,
    "CPU ms": (cpu() - cpuBefore) / 1000,
    "resident MB": residentBytes() / 1e6
  })
}

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint, grpcOptions: { "grpc.max_receive_message_length": -1 } })
  await client.get("warm")
  const cpuBefore = cpu()
  const startedAt = performance.now()
  const { kvs } = await client.getAll().prefix(`/services/${service}/`).exec()
  const instances = new Map<string, unknown>()
  for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
  done(instances.size, startedAt, cpuBefore)
}

const ours = Effect.gen(function* () {
  yield* Stream.runHead(discover("warm"))
  const cpuBefore = cpu()
  const startedAt = performance.now()
  yield* discover(service).pipe(
    Stream.take(1),
    Stream.runForEach((set) => Effect.sync(() => done(set.size, startedAt, cpuBefore)))
  )
}).pipe(Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

await (who === "ours" ? Effect.runPromise(ours) : raw())

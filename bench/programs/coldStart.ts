/** How long a consumer waits for its first complete set, and the memory that takes. */
import { Effect, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import { type Parsed, peakBytes, prefixOf, readArguments, report, service, startCpu } from "./measure.ts"

const { endpoint, parameters: { instances: count }, who } = readArguments<"instances">()

const done = (size: number, startedAt: number, spentCpu: () => number): void => {
  if (size !== count) throw new Error(`${size} instances instead of ${count}`)
  report({
    "ms": performance.now() - startedAt,
    "CPU ms": spentCpu() / 1000,
    "peak MB": peakBytes() / 1e6
  })
}

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint, grpcOptions: { "grpc.max_receive_message_length": -1 } })
  await client.get("warm")
  const spentCpu = startCpu()
  const startedAt = performance.now()
  const { kvs } = await client.getAll().prefix(prefixOf()).exec()
  const instances = new Map<string, Parsed>()
  for (const { key, value } of kvs) instances.set(key.toString(), JSON.parse(value.toString()))
  done(instances.size, startedAt, spentCpu)
}

const ours = Effect.gen(function* () {
  yield* Stream.runHead(discover("warm"))
  const spentCpu = startCpu()
  const startedAt = performance.now()
  yield* Stream.runForEach(
    Stream.take(discover(service), 1),
    (set) => Effect.sync(() => done(set.size, startedAt, spentCpu))
  )
}).pipe(Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

await (who === "ours" ? Effect.runPromise(ours) : raw())

/** What it costs to register many instances at once, and to keep them. */
import { Effect } from "effect"
import { Etcd3 } from "etcd3"
import { registerService, Registry } from "../../mod.ts"
import { cpu, instanceValue, keyOf, readArguments, report, residentBytes, service } from "./measure.ts"

const { count, endpoint, who } = readArguments()
const ids = Array.from({ length: count }, (_, index) => `i${index}`)
const heartbeatSpell = 10_000

const finish = (startedAt: number, registeredAt: number, cpuBefore: number): void =>
  report({
    "ms for all": registeredAt - startedAt,
    "resident MB": residentBytes() / 1e6,
    "CPU ms for 10 s of heartbeats": (cpu() - cpuBefore) / 1000
  })

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  await client.get("warm")
  const startedAt = performance.now()
  const leases = ids.map((id) => ({ id, lease: client.lease(15) }))
  await Promise.all(leases.map(({ id, lease }) => lease.put(keyOf(id)).value(instanceValue(id, "")).exec()))
  const registeredAt = performance.now()
  const cpuBefore = cpu()
  setTimeout(() => finish(startedAt, registeredAt, cpuBefore), heartbeatSpell)
}

const ours = Effect.gen(function* () {
  yield* Effect.scoped(registerService({ name: "warm", endpoints: ["http://10.0.0.5:8080"] }))
  const startedAt = performance.now()
  yield* Effect.forEach(ids, (id) => registerService({ name: service, id, endpoints: ["http://10.0.0.5:8080"] }), {
    concurrency: "unbounded",
    discard: true
  })
  const registeredAt = performance.now()
  const cpuBefore = cpu()
  yield* Effect.sleep(heartbeatSpell)
  finish(startedAt, registeredAt, cpuBefore)
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

await (who === "ours" ? Effect.runPromise(ours) : raw())

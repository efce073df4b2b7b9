/** What it costs to register many instances, one after another or at once, and to keep them. */
import { Effect } from "effect"
import { Etcd3 } from "etcd3"
import { registerService, Registry } from "../../mod.ts"
import {
  awaitGo,
  heapBytes,
  instanceOptions,
  instanceValue,
  keyOf,
  quantile,
  readArguments,
  report,
  residentBytes,
  service,
  startCpu,
  tell
} from "./measure.ts"

const { endpoint, parameters, who } = readArguments<
  "count" | "concurrency" | "ttl" | "settleMillis" | "heartbeatMillis"
>()
const ids = Array.from({ length: parameters.count }, (_, index) => `i${index}`)

/** Registers all, in so many loops, and keeps them for the spell that was asked for. */
const measure = async (register: (id: string) => Promise<unknown>): Promise<void> => {
  await awaitGo()
  const times: Array<number> = []
  const spentRegistering = startCpu()
  const startedAt = performance.now()
  const left = ids.values()
  const loop = async () => {
    for (const id of left) {
      const from = performance.now()
      await register(id)
      times.push(performance.now() - from)
    }
  }
  await Promise.all(Array.from({ length: parameters.concurrency }, loop))
  const allAfter = performance.now() - startedAt
  tell("registered")
  // What was begun, such as the watch of the own key, is finished before heartbeats are measured; the first ones follow.
  await new Promise((resolve) => setTimeout(resolve, parameters.settleMillis))
  const figures = {
    "ms for all": allAfter,
    "p50 ms": quantile(times, 0.5),
    "CPU ms to register": spentRegistering() / 1000,
    "resident MB": residentBytes() / 1e6
  }
  // What registering leaves behind is collected first: whether that fell into the spell would be chance.
  if (parameters.heartbeatMillis > 0) await heapBytes()
  tell("settled")
  if (parameters.heartbeatMillis === 0) return report(figures)
  const spentOnHeartbeats = startCpu()
  setTimeout(
    () => report({ ...figures, "CPU ms of heartbeats": spentOnHeartbeats() / 1000 }),
    parameters.heartbeatMillis
  )
}

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  await client.get("warm")
  await measure((id) => client.lease(parameters.ttl).put(keyOf(id)).value(instanceValue(id, "")).exec())
}

const ours = Effect.gen(function* () {
  yield* Effect.scoped(registerService("warm", { endpoints: ["http://10.0.0.5:8080"] }))
  const context = yield* Effect.context<Effect.Services<ReturnType<typeof register>>>()
  const run = Effect.runPromiseWith(context)
  yield* Effect.promise(() => measure((id) => run(register(id))))
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] })))

const register = (id: string) =>
  registerService(service, {
    ...instanceOptions(id, ""),
    ttl: `${parameters.ttl} seconds`,
    // Whoever is slow shall be seen to be slow.
    startupTimeout: "60 seconds"
  })

await (who === "ours" ? Effect.runPromise(ours) : raw())

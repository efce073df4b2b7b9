// Live configuration and a declaration on the embedded engine. It needs no permission under Deno.
import { Config, Effect, Layer, References, Schema } from "effect"
import { getInstances, Registry } from "../../../mod.ts"
import { Declared } from "../../../src/declared/mod.ts"
import { Etcd, EtcdMemory } from "../../../src/etcd/mod.ts"
import { ConfigRef, EtcdConfigProvider } from "../../../src/config/mod.ts"

const declaration = `
services:
  - name: orders
    endpoints: [http://10.0.0.5:8080]
discover: [orders]
`

const main = Effect.gen(function* () {
  const etcd = yield* Etcd
  yield* etcd.put({ key: "/config/app/limit", value: "7" })
  const limit = yield* ConfigRef.make("/config/app/limit", Schema.Int, { format: "yaml" })
  const state = yield* limit.get
  const provider = yield* EtcdConfigProvider.make({ prefix: "/config/app" })
  const read = yield* Config.Number("limit").parse(provider)
  yield* Declared.register({ text: declaration, format: "yaml" })
  const { endpoints } = yield* getInstances("orders")
  console.log(JSON.stringify([state._tag === "Present" && state.value, read, endpoints]))
})

await Effect.runPromise(
  main.pipe(
    Effect.scoped,
    Effect.provideService(References.MinimumLogLevel, "Warn"),
    Effect.provide(Registry.layer().pipe(Layer.provideMerge(EtcdMemory.layer())))
  )
)

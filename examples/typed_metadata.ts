// Metadata with a schema: checked at registration, decoded at discovery, typed on both sides.
//
//     deno run -A examples/typed_metadata.ts
//
import { Console, Effect, Schema, Stream } from "effect"
import process from "node:process"
import { discover, registerService, Registry, runMain, Service } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// Define a service once, in a module that instances and consumers share. Consumers of one definition share one watch.
const Workers = Service.make("workers", {
  metadata: Schema.Struct({
    shard: Schema.Int,
    queues: Schema.Array(Schema.NonEmptyString),
    startedAt: Schema.Date // any schema that encodes to JSON
  })
})

const main = Effect.gen(function* () {
  const worker = yield* registerService(Workers, {
    id: "worker-1",
    endpoints: ["tcp://127.0.0.1:9000"],
    metadata: { shard: 7, queues: ["mail"], startedAt: new Date("2026-01-01T00:00:00Z") }
  })
  // One transaction: consumers never see the instance missing.
  yield* worker.update({ metadata: { ...worker.instance.metadata, queues: ["mail", "push"] } })

  // A value that the schema rejects fails before any I/O.
  const refused = yield* Effect.flip(registerService(Workers, {
    endpoints: ["tcp://127.0.0.1:9001"],
    metadata: { shard: 7.5, queues: [], startedAt: new Date() }
  }))
  yield* Console.log(refused.message)

  // Another program registers the same name with other metadata. That instance is rejected; the rest of the set is
  // unaffected.
  yield* registerService("workers", { id: "old-worker", endpoints: ["tcp://127.0.0.1:9002"] })

  yield* discover(Workers).pipe(
    Stream.take(1),
    Stream.runForEach((set) =>
      Effect.gen(function* () {
        for (const { id, metadata } of set) {
          // `metadata.shard` is a number, and `metadata.startedAt` is a Date.
          yield* Console.log(
            `${id}: shard ${metadata.shard + 0}, ${metadata.queues}, ${metadata.startedAt.toISOString()}`
          )
        }
        for (const { error, key } of set.rejected) yield* Console.log(`${key}: ${error.message}`)
      })
    )
  )
})

runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

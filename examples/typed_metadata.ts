// Metadata with a schema: checked when an instance registers, decoded when it is discovered, typed on both sides.
//
//     deno run -A examples/typed_metadata.ts
//
import { Console, Effect, Schema, Stream } from "effect"
import process from "node:process"
import { discover, registerService, Registry, runMain, Service } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

// Define a service once, in a module that its instances and its consumers share. Consumers of the same definition also
// share one watch.
const Workers = Service.make("workers", {
  metadata: Schema.Struct({
    shard: Schema.Int,
    queues: Schema.Array(Schema.NonEmptyString),
    startedAt: Schema.Date // any schema that can be written as JSON
  })
})

const main = Effect.gen(function* () {
  const worker = yield* registerService(Workers, {
    id: "worker-1",
    endpoints: ["tcp://127.0.0.1:9000"],
    metadata: { shard: 7, queues: ["mail"], startedAt: new Date("2026-01-01T00:00:00Z") }
  })
  // One Txn: nobody sees a moment without the instance.
  yield* worker.update({ metadata: { ...worker.instance.metadata, queues: ["mail", "push"] } })

  // What the schema does not allow is refused before anything is sent.
  const refused = yield* Effect.flip(registerService(Workers, {
    endpoints: ["tcp://127.0.0.1:9001"],
    metadata: { shard: 7.5, queues: [], startedAt: new Date() }
  }))
  yield* Console.log(refused.message)

  // Somebody else's idea of a worker: the same name, other metadata. It does no harm to the rest.
  yield* registerService("workers", { id: "old-worker", endpoints: ["tcp://127.0.0.1:9002"] })

  yield* discover(Workers).pipe(
    Stream.take(1),
    Stream.runForEach((set) =>
      Effect.gen(function* () {
        for (const { id, metadata } of set) {
          // `metadata.shard` is a number here and `metadata.startedAt` a Date.
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

/**
 * A runner in a process of its own. For each shard that it runs, it writes its address under `/written/<shard>`, again
 * and again, until Sharding stops it. It ends at the end of its input.
 *
 * Arguments: endpoints of the storage, endpoints for the writes, port, and how it writes: `guarded` (with the fence of
 * the shard), `unguarded`, or `unfenced` (unguarded, and its storage believes that it still owns what it has acquired).
 */
import { Deferred, Effect, Layer, Option } from "effect"
import {
  EntityId,
  MessageStorage,
  RunnerAddress,
  Runners,
  RunnerStorage,
  Sharding,
  ShardingConfig
} from "effect/cluster"
import process from "node:process"
import { EtcdRunnerHealth, EtcdRunnerStorage, ShardFence } from "../../../src/cluster/mod.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { prefix, settings } from "./settings.ts"

const [storageEndpoints = "", writeEndpoints = "", port = "", mode = ""] = process.argv.slice(2)
const address = `localhost:${port}`

const shardingConfig = ShardingConfig.layer({
  ...settings,
  runnerAddress: Option.some(RunnerAddress.make("localhost", Number(port)))
})

/** Reports that it owns every shard that it has acquired, without reading etcd. */
const unfenced = Layer.effect(
  RunnerStorage.RunnerStorage,
  Effect.map(RunnerStorage.RunnerStorage, (storage) =>
    RunnerStorage.RunnerStorage.of({
      ...storage,
      refresh: (address, shardIds) => {
        const requested = [...shardIds]
        return Effect.as(Effect.ignore(storage.refresh(address, requested)), requested)
      }
    }))
)

const storage = EtcdRunnerStorage.layer({ prefix })
const sharding = Sharding.layer.pipe(
  Layer.provide(Runners.layerNoop),
  Layer.provide(mode === "unfenced" ? unfenced : Layer.empty as Layer.Layer<never>),
  Layer.provideMerge(storage),
  Layer.provide([EtcdRunnerHealth.layer({ prefix }), MessageStorage.layerNoop]),
  Layer.provide(EtcdGrpc.layer({ endpoints: storageEndpoints.split(","), requestTimeout: "1 second" })),
  Layer.provideMerge(shardingConfig)
)

const main = Effect.gen(function* () {
  const { getShardId, registerSingleton } = yield* Sharding.Sharding
  const { fence } = yield* ShardFence
  const etcd = yield* EtcdGrpc.make({ endpoints: writeEndpoints.split(",") })
  const ended = yield* Deferred.make<void>()
  process.stdin.on("end", () => Deferred.doneUnsafe(ended, Effect.void)).resume()

  /** One name for each shard. */
  const names = new Map<string, string>()
  for (let index = 0; names.size < settings.shardsPerGroup; index++) {
    const shard = getShardId(EntityId.make(`worker-${index}`), "default").toString()
    if (!names.has(shard)) names.set(shard, `worker-${index}`)
  }
  for (const name of names.values()) {
    const shard = getShardId(EntityId.make(name), "default")
    const write = Effect.gen(function* () {
      const held = mode === "guarded" ? [yield* fence(shard)] : []
      const { succeeded } = yield* etcd.txn({
        compare: held,
        then: [{ _tag: "Put", request: { key: `/written/${shard}`, value: address } }]
      })
      if (!succeeded) console.log(`refused ${shard}`)
    })
    yield* registerSingleton(
      name,
      Effect.gen(function* () {
        console.log(`runs ${shard}`)
        // A write is never interrupted: an entity ends only after etcd's answer.
        yield* Effect.ignore(Effect.uninterruptible(write)).pipe(
          Effect.andThen(Effect.sleep("50 millis")),
          Effect.forever
        )
      }).pipe(Effect.ensuring(Effect.sync(() => console.log(`stopped ${shard}`))))
    )
  }
  console.log("ready")
  yield* Deferred.await(ended)
})

await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(sharding)))
console.log("ended")

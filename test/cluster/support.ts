/**
 * Shared by the tests of `./cluster`: runners, each as a process of its own would have it.
 *
 * @module
 */
import { Effect, Exit, Scope } from "effect"
import { Runner, RunnerAddress, type RunnerStorage, ShardId, ShardingConfig } from "effect/cluster"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import { EtcdRunnerStorage, type ShardFence } from "../../src/cluster/mod.ts"

/** A runner's process: its storage, until its scope closes. */
export interface RunnerProcess {
  readonly storage: RunnerStorage.RunnerStorage["Service"]
  readonly fence: ShardFence
  readonly address: RunnerAddress.RunnerAddress
  readonly register: ReturnType<RunnerStorage.RunnerStorage["Service"]["register"]>
  /** Shuts it down. */
  readonly exit: Effect.Effect<void>
}

/** Refreshes each 3 seconds, expires after 9. Sharding waits 3 seconds for each operation. */
export const config: Partial<ShardingConfig.ShardingConfig["Service"]> = {
  shardLockExpiration: "9 seconds",
  shardLockRefreshInterval: "3 seconds"
}

/** Starts a runner on an etcd. */
export const runnerOn = Effect.fnUntraced(function* (etcd: Etcd, prefix: string, port: number) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const { fence, storage } = yield* EtcdRunnerStorage.make({ prefix }).pipe(
    Effect.provide(ShardingConfig.layer(config)),
    Effect.provideService(Etcd, etcd),
    Scope.provide(scope)
  )
  const address = RunnerAddress.make("localhost", port)
  const process: RunnerProcess = {
    storage,
    fence,
    address,
    register: storage.register(Runner.make({ address, groups: ["default"], weight: 1 }), true),
    exit: Scope.close(scope, Exit.void)
  }
  return process
})

/** Starts a runner. */
export const runner = (prefix: string, port: number) => Effect.flatMap(Etcd, (etcd) => runnerOn(etcd, prefix, port))

/** The shards 1 to `count`. */
export const shards = (count: number): Array<ShardId.ShardId> =>
  Array.from({ length: count }, (_, index) => ShardId.make("default", index + 1))

/** The numbers of shards, in order. */
export const ids = (shards: ReadonlyArray<ShardId.ShardId>): ReadonlyArray<number> =>
  shards.map(({ id }) => id).sort((a, b) => a - b)

/** The keys below a prefix, without it. */
export const keysOf = (prefix: string) =>
  Effect.map(
    Effect.flatMap(Etcd, (etcd) => etcd.range(prefixRange(prefix))),
    ({ kvs }) => kvs.map(({ key }) => new TextDecoder().decode(key).slice(prefix.length))
  )

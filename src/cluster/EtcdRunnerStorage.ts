/**
 * Effect Cluster's `RunnerStorage` on etcd: the list of runners, and the owner of each shard.
 *
 * **Details**
 *
 * A runner has two leases. Their time to live is `shardLockExpiration` (whole seconds, at least 2). The membership
 * lease holds its registration and its machine id, the lock lease its shards. Heartbeats are sent only when Sharding
 * refreshes its locks. So a runner that hangs loses its shards, and a runner that is killed loses them when its leases
 * expire.
 *
 * - Every read that decides on ownership is linearizable.
 * - The storage retries a failed operation for 0.9 × min(`shardLockRefreshInterval`, `shardLockExpiration` / 3), so
 *   that an election in etcd stops no entity.
 * - A runner that restarts on the same address takes its shards and its machine id back at once.
 * - Machine ids are the lowest free numbers from 1 on. Ids of Effect's Snowflakes stay unique up to 1023 live runners.
 * - Closing the scope of the layer revokes both leases.
 *
 * **Gotchas**
 *
 * - Give each runner an address of its own. If two live processes use one address, the newer one takes the shards of the
 *   older one, which logs an error and acquires no more.
 * - etcd extends every lease when it elects a leader, so the shards of a killed runner can move up to one
 *   `shardLockExpiration` later than otherwise.
 * - A process that was paused for longer than `shardLockExpiration` can go on for a moment when it resumes. `ShardFence`
 *   protects what its entities write to etcd, and Effect Cluster the replies that it persists.
 *
 * @stability unstable
 * @module
 */
import { Context, Duration, Effect, Layer, Result, type Scope } from "effect"
import { RunnerStorage, ShardingConfig } from "effect/cluster"
import { Etcd } from "../etcd/Etcd.ts"
import { keyPrefix } from "../internal/keyPrefix.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import * as Keys from "./keys.ts"
import { LazyLease } from "./LazyLease.ts"
import { Membership } from "./Membership.ts"
import * as Patience from "./patience.ts"
import { ShardFence } from "./ShardFence.ts"
import { ShardLocks } from "./ShardLocks.ts"

/**
 * The options of {@link make} and {@link layer}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The start of all keys of the cluster. A slash is added if it does not end with one. Default: `/effect/cluster/`. */
  readonly prefix?: string
}

/**
 * The default prefix.
 *
 * @internal
 */
export const defaultPrefix = "/effect/cluster/"

/** The shortest TTL that a server with default settings grants, in seconds. */
const minTtlSeconds = 2

/** How long closing the scope may wait for etcd. */
const releaseTimeout = Duration.seconds(5)

const timesOf = (config: ShardingConfig.ShardingConfig["Service"]) => {
  const expiration = Duration.fromInputUnsafe(config.shardLockExpiration)
  const refreshes = Duration.fromInputUnsafe(config.shardLockRefreshInterval)
  // Computed as in Sharding: how often it refreshes, and how long it waits for each operation.
  const interval = Duration.min(refreshes, Duration.divideUnsafe(expiration, 3))
  return { interval, ttlSeconds: Math.max(minTtlSeconds, Math.ceil(Duration.toSeconds(expiration))) }
}

/**
 * Makes a `RunnerStorage` on etcd, and the {@link ShardFence} that belongs to it.
 *
 * **Details**
 *
 * The first operation sends the first request. Fails with `InvalidOption` for a bad `prefix`. An operation whose time
 * is up fails with a `PersistenceError`, whose `cause` is the last `EtcdError`. Closing the scope revokes the leases.
 * If etcd does not answer within 5 seconds, a warning is logged and they expire.
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<
  { readonly storage: RunnerStorage.RunnerStorage["Service"]; readonly fence: ShardFence },
  InvalidOption,
  Etcd | ShardingConfig.ShardingConfig | Scope.Scope
> =>
  Effect.gen(function* () {
    const keys = Keys.make(
      yield* Effect.fromResult(
        checkOptions("EtcdRunnerStorage", (check) => keyPrefix(check, options.prefix ?? defaultPrefix))
      )
    )
    const etcd = yield* Etcd
    const { interval, ttlSeconds } = timesOf(yield* ShardingConfig.ShardingConfig)
    const patient = Patience.make(etcd, Duration.times(interval, 0.9))

    const memberLease = new LazyLease(etcd, ttlSeconds)
    const membership = new Membership(etcd, keys, memberLease)
    const lockLease = new LazyLease(etcd, ttlSeconds, () => locks.forget())
    const locks: ShardLocks = new ShardLocks(etcd, keys, membership, lockLease)

    yield* Effect.addFinalizer(() =>
      Effect.all([lockLease.release(releaseTimeout), memberLease.release(releaseTimeout)], {
        concurrency: 2,
        discard: true
      })
    )

    const heartbeats = Effect.all([memberLease.keepAlive, lockLease.keepAlive], { concurrency: 2, discard: true })

    const refresh = (address: string, shardIds: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        // Sharding also refreshes one shard before each persisted reply. Between two heartbeats that is only a read.
        const halfMillis = Duration.toMillis(interval) / 2
        const isDue = (yield* memberLease.isOlderThan(halfMillis)) || (yield* lockLease.isOlderThan(halfMillis))
        if (!isDue && shardIds.length <= maxSingleReads) return yield* locks.owned(address, shardIds)
        yield* heartbeats
        return yield* locks.ownedOfAll(address, shardIds)
      })

    const storage = RunnerStorage.makeEncoded({
      getRunners: patient(membership.runners),
      register: (address, runner, healthy) => patient(membership.register(address, runner, healthy)),
      unregister: (address) => patient(membership.unregister(address)),
      setRunnerHealth: (address, healthy) => patient(membership.setHealth(address, healthy)),
      acquire: (address, shardIds) => locks.track(shardIds, patient(locks.acquire(address, shardIds))),
      refresh: (address, shardIds) => patient(refresh(address, shardIds)),
      release: (_, shardId) => patient(locks.release(shardId)),
      releaseAll: () => patient(lockLease.revoke)
    })
    const fence: ShardFence = {
      fence: (shardId) =>
        Effect.sync(() => {
          const compare = locks.fence(shardId.toString())
          return { ...compare, compare: Result.succeed(compare) }
        })
    }
    return { storage, fence }
  })

/** More shards than that are read as one range. */
const maxSingleReads = 100

/**
 * `RunnerStorage` on etcd, and the {@link ShardFence} that belongs to it.
 *
 * **Details**
 *
 * It needs the `ShardingConfig` of the cluster, whose `shardLockExpiration` is the time to live of the leases.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdRunnerStorage } from "@effect-etcd/discovery/cluster"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect, Layer } from "effect"
 * import { Runner, RunnerAddress, RunnerStorage, ShardId, ShardingConfig } from "effect/cluster"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const storage = yield* RunnerStorage.RunnerStorage
 *   const address = RunnerAddress.make("10.0.0.5", 34431)
 *   yield* storage.register(Runner.make({ address, groups: ["default"], weight: 1 }), true)
 *   const shard = ShardId.make("default", 1)
 *   assert.deepEqual(yield* storage.acquire(address, [shard]), [shard])
 * })
 *
 * // With etcd: EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] })
 * const layer = EtcdRunnerStorage.layer({ prefix: "/orders/cluster" }).pipe(
 *   Layer.provide(ShardingConfig.layer()),
 *   Layer.provide(EtcdMemory.layer())
 * )
 * await Effect.runPromise(program.pipe(Effect.provide(layer)))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options?: Options
): Layer.Layer<
  RunnerStorage.RunnerStorage | ShardFence,
  InvalidOption,
  Etcd | ShardingConfig.ShardingConfig
> =>
  Layer.effectContext(
    Effect.map(make(options), ({ fence, storage }) =>
      Context.make(RunnerStorage.RunnerStorage, storage).pipe(Context.add(ShardFence, fence)))
  )

/**
 * A condition that makes a write to etcd depend on the ownership of a shard.
 *
 * @module
 */
import { Context, type Effect } from "effect"
import type { ShardId } from "effect/cluster"
import type { Fence } from "../coordination/mod.ts"

/**
 * Fences of shards.
 *
 * **When to use**
 *
 * For entities that write to etcd. A process that was paused for longer than the expiration of its locks can go on for a
 * moment after it has resumed, while another process runs its entities already. With the fence, etcd refuses its writes.
 *
 * **Details**
 *
 * Pass the fence to `etcd.txn`, or to `Txn.make({ if: [fence] })` of `./kv`. It holds as long as this process owns the
 * shard. An entity finds its shard in `Entity.CurrentAddress`.
 *
 * @stability unstable
 * @since 0.1.0
 * @category models
 */
export interface ShardFence {
  readonly fence: (shardId: ShardId.ShardId) => Effect.Effect<Fence>
}

/**
 * The service key of {@link ShardFence}. `EtcdRunnerStorage.layer` provides it.
 *
 * @stability unstable
 * @since 0.1.0
 * @category services
 */
export const ShardFence: Context.Service<ShardFence, ShardFence> = Context.Service(
  "@effect-etcd/discovery/ShardFence"
)

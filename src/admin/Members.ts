/**
 * The members of the cluster.
 *
 * @since 0.1.0
 * @module
 */
import { Effect } from "effect"
import type { Member } from "../etcd/Administration.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"

/**
 * The members of the cluster.
 *
 * **Details**
 *
 * Linearizable, except on etcd 3.4, which reads the state of the member that answers. On the embedded engine, the only
 * member. Any user may call it, if authentication is on.
 *
 * @since 0.1.0
 * @category members
 */
export const list: Effect.Effect<ReadonlyArray<Member>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) => Effect.map(administration.memberList(), ({ members }) => members)
)

/**
 * The members of the cluster, as the member that answers knows them.
 *
 * **When to use**
 *
 * While the cluster has no leader, when {@link list} fails. The answer may be stale.
 *
 * @since 0.1.0
 * @category members
 */
export const listSerializable: Effect.Effect<ReadonlyArray<Member>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  ({ administration }) => Effect.map(administration.memberList({ serializable: true }), ({ members }) => members)
)

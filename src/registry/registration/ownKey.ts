/**
 * The watch of the key of one registration.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd, KeyValue } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "../../etcd/follow.ts"

/** A key as it was at a revision. */
export interface SeenKey {
  readonly kv: KeyValue | undefined
  readonly revision: bigint
  /** Whether the key was read anew, so that this may be known already. */
  readonly listed: boolean
}

/** Reports what happens to the key after the revision `knownAt`, until it is interrupted. Fails as `follow` does. */
export const followKey = (
  etcd: Etcd,
  options: Omit<FollowOptions, "range" | "knownAt">,
  key: string,
  knownAt: bigint,
  onSeen: (seen: SeenKey) => void
): Effect.Effect<never, EtcdError> =>
  follow(etcd, { ...options, range: { key }, knownAt }, (followed) => Effect.sync(() => report(followed, onSeen)))

const report = (followed: Followed, onSeen: (seen: SeenKey) => void): void => {
  if (followed._tag === "Listed") {
    onSeen({ kv: followed.kvs[0], revision: followed.revision, listed: true })
  } else if (followed._tag === "Changed") {
    for (const { kv, type } of followed.events) {
      onSeen({ kv: type === "put" ? kv : undefined, revision: kv.modRevision, listed: false })
    }
  }
}

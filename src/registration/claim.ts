/**
 * Claiming a key: one Txn on its `mod_revision` for each try, so that two claimants never both win.
 *
 * @module
 */
import { Clock, Deferred, Duration, Effect, Option, Result } from "effect"
import type { Etcd, KeyValue, LeaseId, TxnResponse } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { follow, type FollowOptions } from "../etcd/follow.ts"
import type { Session } from "../Session.ts"
import type { RegistrationPlan } from "./RegisterOptions.ts"
import { InstanceIdTaken } from "./RegistrationError.ts"

/** What a claim needs to know. */
export interface ClaimContext<M> {
  readonly plan: RegistrationPlan<M>
  readonly followOptions: Omit<FollowOptions, "range" | "knownAt">
  /** The value to put, as it is wanted now. */
  readonly value: () => Uint8Array
  /** Whether a lease is or was this registration's own. */
  readonly isOwn: (id: LeaseId) => boolean
  /** The revision of this registration's last write, or `undefined` when it has not been in etcd yet. */
  readonly lastRevision: () => bigint | undefined
  /** Told when another process's lease is waited for. */
  readonly onWait: Effect.Effect<void>
}

/** etcd frees the keys of a lease up to about a second after it has run out. */
const expiryGrace = Duration.seconds(1)

/** Puts the key if its mod revision is `expected` (`0n`: if it does not exist), and reads it otherwise. */
const putIf = (etcd: Etcd, key: string, expected: bigint, value: Uint8Array, lease: LeaseId) =>
  etcd.txn({
    compare: [{ target: "mod", key, result: "equal", value: expected }],
    then: [{ _tag: "Put", request: { key, value, lease } }],
    else: [{ _tag: "Range", request: { key } }]
  })

/** The key that the `else` branch of a claim or a publication read, if it exists. */
export const readBack = (response: TxnResponse): KeyValue | undefined => {
  const [first] = response.responses
  return first?._tag === "Range" ? first.response.kvs[0] : undefined
}

/** Whether two values are the same bytes. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index])

/** Who holds a key. */
export const holderOf = (kv: KeyValue): { readonly leaseId: LeaseId; readonly revision: bigint } => ({
  leaseId: kv.lease,
  revision: kv.modRevision
})

/**
 * Puts the key under a lease and answers with the revision. Fails with `InstanceIdTaken` when another process holds it
 * and the policy says not to take over, or when it was taken while this registration was away.
 */
export const make = <M>(
  etcd: Etcd,
  { plan, followOptions, value, isOwn, lastRevision, onWait }: ClaimContext<M>
): (session: Session) => Effect.Effect<bigint, EtcdError | InstanceIdTaken> => {
  let waitUntil: number | undefined

  const endpointsOf = (value: Uint8Array): ReadonlySet<string> | undefined => {
    const decoded = plan.codec.decode(plan.instance.name, plan.instance.id, value)
    return Result.isSuccess(decoded) ? new Set(decoded.success.endpoints) : undefined
  }
  /** Both as they are read: a format may write what means the same in more than one way. */
  const hasSameEndpoints = (holder: KeyValue): boolean => {
    const own = endpointsOf(value())
    return own !== undefined && endpointsOf(holder.value)?.symmetricDifference(own).size === 0
  }

  /** Waits for the key to be free, while the lease is held; false when one TTL has passed. */
  const awaitFree = Effect.fnUntraced(function* (revision: bigint, lost: Session["lost"]) {
    const now = yield* Clock.currentTimeMillis
    waitUntil ??= now + plan.ttl.seconds * 1000 + Duration.toMillis(expiryGrace)
    const free = yield* Deferred.make<void>()
    return yield* follow(
      etcd,
      { ...followOptions, range: { key: plan.key }, knownAt: revision },
      (followed) =>
        (followed._tag === "Listed" && followed.kvs.length === 0) ||
          (followed._tag === "Changed" && followed.events.at(-1)?.type === "delete") ?
          Effect.asVoid(Deferred.succeed(free, undefined)) :
          Effect.void
    ).pipe(
      Effect.raceFirst(Deferred.await(free)),
      Effect.raceFirst(Effect.flatMap(lost, Effect.fail)),
      Effect.timeoutOption(Math.max(0, waitUntil - now)),
      Effect.map(Option.isSome)
    )
  })

  return Effect.fnUntraced(function* ({ leaseId, lost }): Effect.fn.Return<bigint, EtcdError | InstanceIdTaken> {
    let expected = 0n
    while (true) {
      const bytes = value()
      const response: TxnResponse = yield* putIf(etcd, plan.key, expected, bytes, leaseId)
      if (response.succeeded) return response.header.revision
      const holder = readBack(response)
      if (holder === undefined) {
        expected = 0n
        continue
      }
      // The answer to an earlier try was lost.
      if (holder.lease === leaseId && sameBytes(holder.value, bytes)) return holder.modRevision
      expected = holder.modRevision
      if (isOwn(holder.lease)) continue
      const taken = new InstanceIdTaken({ key: plan.key, by: holderOf(holder) })
      const last = lastRevision()
      // Whoever came after this registration's last write took the id while it was away. (A holder from before it can
      // only come from a replaced history, an older snapshot.)
      if (last !== undefined && holder.modRevision > last) return yield* taken
      if (plan.claim === "overwrite" || (plan.claim === "restart" && hasSameEndpoints(holder))) continue
      if (plan.claim === "exclusive") return yield* taken
      yield* onWait
      if (!(yield* awaitFree(response.header.revision, lost))) return yield* taken
      expected = 0n
    }
  })
}

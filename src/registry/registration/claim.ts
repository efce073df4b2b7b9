/**
 * Claiming a key: one Txn on its `mod_revision` for each try, so that two claimants never both win.
 *
 * @module
 */
import { Clock, Deferred, Duration, Effect, Option, Result } from "effect"
import type { Etcd, KeyValue, LeaseId, TxnResponse } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type FollowOptions } from "../../etcd/follow.ts"
import type { Session } from "../../etcd/Session.ts"
import type { RegistrationPlan } from "./RegisterOptions.ts"
import { InstanceIdTaken } from "./RegistrationError.ts"

/** Who claims: what is to be known of a registration. */
export interface Claimant<M> {
  readonly plan: RegistrationPlan<M>
  /** What to put, as it is wanted now. */
  readonly value: Uint8Array
  /** The revision of this registration's last write, or `undefined` when it has not been in etcd yet. */
  readonly lastRevision: bigint | undefined
  /** Until when (in milliseconds of the epoch) the lease of another process is waited for, once it is. */
  waitUntil: number | undefined
  /** Whether a lease is or was this registration's own. */
  readonly isOwn: (id: LeaseId) => boolean
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

/** Both as they are read: a format may write what means the same in more than one way. */
const haveSameEndpoints = <M>(
  { codec, instance: { id, name } }: RegistrationPlan<M>,
  one: Uint8Array,
  other: Uint8Array
) => {
  const endpointsOf = (value: Uint8Array): ReadonlySet<string> | undefined => {
    const decoded = codec.decode(name, id, value)
    return Result.isSuccess(decoded) ? new Set(decoded.success.endpoints) : undefined
  }
  const endpoints = endpointsOf(one)
  return endpoints !== undefined && endpointsOf(other)?.symmetricDifference(endpoints).size === 0
}

type Follow = Omit<FollowOptions, "range" | "knownAt">

/** Waits for the key to be free, while the lease is held; false when one TTL has passed. */
const awaitFree = Effect.fnUntraced(function* <M>(
  etcd: Etcd,
  followOptions: Follow,
  claimant: Claimant<M>,
  revision: bigint,
  lost: Session["lost"]
) {
  const { plan } = claimant
  const now = yield* Clock.currentTimeMillis
  const until = claimant.waitUntil ??= now + plan.ttl.seconds * 1000 + Duration.toMillis(expiryGrace)
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
    Effect.timeoutOption(Math.max(0, until - now)),
    Effect.map(Option.isSome)
  )
})

/**
 * Puts the key under a lease and answers with the revision. Fails with `InstanceIdTaken` when another process holds it
 * and the policy says not to take over, or when it was taken while this registration was away.
 */
export const make = Effect.fnUntraced(function* <M>(
  etcd: Etcd,
  followOptions: Follow,
  claimant: Claimant<M>,
  { leaseId, lost }: Session
): Effect.fn.Return<bigint, EtcdError | InstanceIdTaken> {
  const { plan } = claimant
  let expected = 0n
  while (true) {
    const { value } = claimant
    const response: TxnResponse = yield* putIf(etcd, plan.key, expected, value, leaseId)
    if (response.succeeded) return response.header.revision
    const holder = readBack(response)
    if (holder === undefined) {
      expected = 0n
      continue
    }
    // The answer to an earlier try was lost.
    if (holder.lease === leaseId && sameBytes(holder.value, value)) return holder.modRevision
    expected = holder.modRevision
    if (claimant.isOwn(holder.lease)) continue
    const taken = new InstanceIdTaken({ key: plan.key, by: holderOf(holder) })
    const last = claimant.lastRevision
    // Whoever came after this registration's last write took the id while it was away. (A holder from before it can
    // only come from a replaced history, an older snapshot.)
    if (last !== undefined && holder.modRevision > last) return yield* taken
    if (plan.claim === "overwrite") continue
    if (plan.claim === "restart" && haveSameEndpoints(plan, claimant.value, holder.value)) continue
    if (plan.claim === "exclusive") return yield* taken
    if (!(yield* awaitFree(etcd, followOptions, claimant, response.header.revision, lost))) return yield* taken
    expected = 0n
  }
})

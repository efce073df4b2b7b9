/**
 * The claim of a key: one Txn on its `mod_revision` for each attempt, so that two claimants never both win.
 *
 * @module
 */
import { Clock, Deferred, Effect, Option } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { KeyValue, TxnResponse } from "../../etcd/messages/kv.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { EtcdError, Unavailable } from "../../etcd/EtcdError.ts"
import { follow, type FollowOptions } from "../../etcd/follow.ts"
import { leaseAgeMillis } from "../../etcd/leaseIds.ts"
import type { Session } from "../../etcd/Session.ts"
import type { Ttl } from "../../etcd/Ttl.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import { type PutIf, txnOf } from "./claimBatch.ts"
import { holderOf, instanceIn } from "./holder.ts"
import type { Held } from "./phase.ts"
import type { RegistrationPlan } from "./RegisterOptions.ts"
import { InstanceIdTaken } from "./RegistrationError.ts"
import { logWarning } from "../../internal/log.ts"

/** The parts of a registration that a claim uses. */
export interface Claimant<M> {
  readonly plan: RegistrationPlan<M>
  /** The value to put now. */
  readonly value: () => Uint8Array
  /** The revision of this registration's last write, or `undefined` if it has not been in etcd yet. */
  readonly lastRevision: bigint | undefined
  /**
   * Until when, in milliseconds of the monotonic clock, this registration waits for another process's lease to expire.
   * Called when a claim has to wait; `limit` is the time if it has not waited before.
   */
  readonly waitUntil: (limit: number) => number
  /** Whether a lease is or was this registration's own. */
  readonly isOwn: (id: LeaseId) => boolean
}

/** Where to claim, and how. */
export interface ClaimOptions {
  readonly etcd: Etcd
  readonly followOptions: Follow
  /** Sends the Txn of a claim. */
  readonly putIf: (request: PutIf) => Effect.Effect<TxnResponse, EtcdError>
}

/** etcd frees the keys of a lease up to about a second after it has expired. */
const expiryGraceMillis = 1000

/** How many Txns a claim sends in a row if the key keeps changing. Then the backoff of the registration applies. */
const maxImmediateAttempts = 4

/** The result of a Txn that replaces the value of a held key. */
export type Replaced =
  | { readonly _tag: "Written"; readonly revision: bigint }
  | { readonly _tag: "Found"; readonly kv: KeyValue | undefined }

/** Puts the value if no one has written the key since the last own write; otherwise reads the key. */
export const replace = (
  etcd: Etcd,
  key: string,
  { lastRevision, leaseId }: Pick<Held, "lastRevision" | "leaseId">,
  value: Uint8Array
): Effect.Effect<Replaced, EtcdError> =>
  Effect.map(
    etcd.txn(txnOf({ key, expected: lastRevision, value, lease: leaseId })),
    (response) =>
      response.succeeded ?
        { _tag: "Written", revision: response.header.revision } :
        { _tag: "Found", kv: readBack(response) }
  )

/** Deletes the key if its lease and its mod revision are these; otherwise returns it. */
export const remove = (
  etcd: Etcd,
  key: string,
  revision: bigint,
  lease: LeaseId
): Effect.Effect<KeyValue | undefined, EtcdError> =>
  Effect.map(
    etcd.txn({
      compare: [
        { target: "lease", key, result: "equal", value: lease },
        { target: "mod", key, result: "equal", value: revision }
      ],
      then: [{ _tag: "DeleteRange", request: { key } }],
      else: [{ _tag: "Range", request: { key } }]
    }),
    (response) => response.succeeded ? undefined : readBack(response)
  )

/** The key that the `else` branch of a Txn read, if it exists. */
const readBack = (response: TxnResponse): KeyValue | undefined => {
  const [first] = response.responses
  return first?._tag === "Range" ? first.response.kvs[0] : undefined
}

/** Whether two values are the same bytes. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index])

/** Compares the decoded instances: a format may encode the same instance in more than one way. */
const haveSameEndpoints = <M>(plan: RegistrationPlan<M>, one: Uint8Array, other: Uint8Array): boolean => {
  const [own, theirs] = [instanceIn(plan, one), instanceIn(plan, other)]
  return own !== undefined && theirs !== undefined &&
    new Set(own.endpoints).symmetricDifference(new Set(theirs.endpoints)).size === 0
}

type Follow = Omit<FollowOptions, "range" | "knownAt">

/** Waits until the key is free. Returns false if it is not free in time. Fails if the own lease is lost. */
const awaitFree = Effect.fnUntraced(function* (
  etcd: Etcd,
  options: Follow,
  key: string,
  revision: bigint,
  until: number,
  lost: Session["lost"]
) {
  const free = yield* Deferred.make<void>()
  return yield* follow(
    etcd,
    { ...options, range: { key }, knownAt: revision },
    (followed) =>
      (followed._tag === "Listed" && followed.kvs.length === 0) ||
        (followed._tag === "Changed" && followed.events.at(-1)?.type === "delete") ?
        Effect.asVoid(Deferred.succeed(free, undefined)) :
        Effect.void
  ).pipe(
    Effect.raceFirst(Deferred.await(free)),
    Effect.raceFirst(Effect.flatMap(lost, Effect.fail)),
    Effect.timeoutOption(Math.max(0, until - (yield* monotonicMillis))),
    Effect.map(Option.isSome)
  )
})

/**
 * How long to wait before taking over a key that has just been taken over; 0 if it has not.
 *
 * Otherwise two processes with one id would supersede each other as fast as their supervisors restart them. The id of
 * the holder's lease contains the time of its grant. The lease of the key when it was created shows whether the holder
 * created it or took it over. A holder that had to wait took the key up to one TTL after the grant, so the grant must
 * be two TTLs old.
 */
const millisUntilTakeover = Effect.fnUntraced(function* (etcd: Etcd, key: string, holder: KeyValue, ttl: Ttl) {
  if (holder.createRevision === holder.modRevision) return 0
  const leftMillis = 2 * ttl.seconds * 1000 - leaseAgeMillis(holder.lease, yield* Clock.currentTimeMillis)
  if (leftMillis <= 0) return 0
  const created = yield* Effect.option(etcd.range({ key, revision: holder.createRevision }))
  // Compacted or unreachable: without that knowledge, do not wait.
  const first = Option.isSome(created) ? created.value.kvs[0] : undefined
  return first === undefined || first.lease === holder.lease ? 0 : leftMillis
})

/**
 * Puts the key under a lease and returns the revision. Fails with `InstanceIdTaken` if another process holds the key and
 * the policy forbids taking it over, or if it was taken while this registration was away.
 */
export const make = Effect.fnUntraced(function* <M>(
  { etcd, followOptions, putIf }: ClaimOptions,
  claimant: Claimant<M>,
  { leaseId, lost }: Session
): Effect.fn.Return<bigint, EtcdError | InstanceIdTaken> {
  const { plan } = claimant
  const { claim, key, ttl } = plan
  let expected = 0n
  let hasPaused = false
  for (let attempt = 1; attempt <= maxImmediateAttempts; attempt++) {
    const value = claimant.value()
    const response: TxnResponse = yield* putIf({ key, expected, value, lease: leaseId })
    if (response.succeeded) return response.header.revision
    const holder = readBack(response)
    if (holder === undefined) {
      expected = 0n
      continue
    }
    // The answer to an earlier attempt was lost.
    if (holder.lease === leaseId && sameBytes(holder.value, value)) return holder.modRevision
    expected = holder.modRevision
    if (claimant.isOwn(holder.lease)) continue
    const taken = new InstanceIdTaken({ key, by: holderOf(plan, holder) })
    const last = claimant.lastRevision
    // A holder from after this registration's last write took the id while it was away. One from before it belongs to
    // a replaced history, such as a restored snapshot.
    if (last !== undefined && holder.modRevision > last) return yield* taken
    if (claim === "exclusive") return yield* taken
    const now = yield* monotonicMillis
    if (claim === "overwrite" || haveSameEndpoints(plan, value, holder.value)) {
      const pauseMillis = hasPaused ? 0 : yield* millisUntilTakeover(etcd, key, holder, ttl)
      if (pauseMillis === 0) continue
      yield* logWarning(
        `${JSON.stringify(key)} has just been taken over; waiting up to ${Math.ceil(pauseMillis / 1000)} s before ` +
          "it is taken over again. If two processes use this id, give each its own"
      )
      hasPaused = true
      const until = claimant.waitUntil(now + pauseMillis)
      if (yield* awaitFree(etcd, followOptions, key, response.header.revision, until, lost)) expected = 0n
    } else {
      const until = claimant.waitUntil(now + ttl.seconds * 1000 + expiryGraceMillis)
      if (!(yield* awaitFree(etcd, followOptions, key, response.header.revision, until, lost))) return yield* taken
      expected = 0n
    }
    attempt = 1
  }
  return yield* new EtcdError({
    reason: new Unavailable({ detail: `the key changed during each of ${maxImmediateAttempts} attempts to claim it` }),
    method: "txn",
    key
  })
})

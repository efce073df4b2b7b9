/**
 * The phase of a registration: one tagged value, and the transitions between its cases.
 *
 * ```
 * Claiming ── claimed ──▶ Held ── lost ──▶ Claiming
 *    │                      │
 *    └── taken, refused ────┴── taken, released ──▶ Ended
 * ```
 *
 * Everything here is pure. The fiber of the registration (`run.ts`) replaces its phase by the result of a transition
 * and publishes {@link statusOf} it. Nothing else makes statuses.
 *
 * @module
 */
import { Data } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { holderOf, type KeyOwner } from "./holder.ts"
import type { SeenKey } from "./ownKeys.ts"
import { withJson } from "../../internal/json.ts"
import { InstanceIdTaken, type RegistrationError, RegistrationLost } from "./RegistrationError.ts"

/**
 * Where a registration stands. `since` is in milliseconds of the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export type RegistrationStatus = Data.TaggedEnum<{
  /** Not in etcd yet; `attempt` counts from 1. */
  Registering: { readonly attempt: number }
  /** In etcd under this lease, since this revision. */
  Registered: { readonly leaseId: LeaseId; readonly revision: bigint }
  /** Lost, and about to be registered again; `attempt` counts from 1 and `cause` is the newest failure. */
  Recovering: { readonly since: number; readonly attempt: number; readonly cause: EtcdError | RegistrationLost }
  /** Another process took the id. Final. */
  Superseded: { readonly by: InstanceIdTaken["by"] }
  /** In etcd, with status `"draining"`. */
  Draining: Record<never, never>
  /** Given up. Final. */
  Failed: { readonly error: RegistrationError }
  /** The scope has closed. Final. */
  Released: Record<never, never>
}>

const status = Data.taggedEnum<RegistrationStatus>()

/**
 * Constructors and `$match` of {@link RegistrationStatus}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const RegistrationStatus: Data.TaggedEnum.Constructor<RegistrationStatus> = {
  $is: status.$is,
  $match: status.$match,
  Registering: status.Registering,
  Registered: (fields) => withJson(status.Registered(fields)),
  Recovering: status.Recovering,
  Superseded: (fields) => withJson(status.Superseded(fields)),
  Draining: status.Draining,
  Failed: status.Failed,
  Released: status.Released
}

/** A failure of a claim or of a held key after which another attempt may succeed. */
export type Failure = EtcdError | RegistrationLost

/** No lease and no key yet, or no longer. */
export interface Claiming {
  readonly _tag: "Claiming"
  /** Counts from 1, anew after each loss. */
  readonly attempt: number
  /** When the registration was lost, in milliseconds of the epoch. `undefined` before the first claim. */
  readonly lostAt: number | undefined
  readonly lastFailure: Failure | undefined
  /** The end of the wait for another process's lease to expire, in milliseconds of the monotonic clock. */
  readonly waitUntil: number | undefined
  /** The revision of the last own write, in any earlier phase. */
  readonly lastRevision: bigint | undefined
  /** As in {@link Held}: a loss does not restart the time of draining. */
  readonly drainingSince: number | undefined
}

/** The key is in etcd under an own lease. */
export interface Held {
  readonly _tag: "Held"
  readonly leaseId: LeaseId
  /** The revision of the claim. */
  readonly revision: bigint
  /** The revision of the last own write. */
  readonly lastRevision: bigint
  /** Ignore watch events for the key at or below this revision. */
  readonly seenAt: bigint
  /** When `"draining"` was written, in milliseconds of the monotonic clock. */
  readonly drainingSince: number | undefined
  /** The scope is closing, so a loss is final. */
  readonly isLeaving: boolean
}

/** The final phase. */
export interface Ended {
  readonly _tag: "Ended"
  readonly status: Extract<RegistrationStatus, { readonly _tag: "Superseded" | "Failed" | "Released" }>
}

/** See the module's description. */
export type Phase = Claiming | Held | Ended

/** The first phase of every registration. */
export const initial: Claiming = {
  _tag: "Claiming",
  attempt: 1,
  lostAt: undefined,
  lastFailure: undefined,
  waitUntil: undefined,
  lastRevision: undefined,
  drainingSince: undefined
}

/** The status of a phase. */
export const statusOf = (phase: Phase): RegistrationStatus => {
  if (phase._tag === "Ended") return phase.status
  if (phase._tag === "Held") {
    const { drainingSince, leaseId, revision } = phase
    return drainingSince === undefined ?
      RegistrationStatus.Registered({ leaseId, revision }) :
      RegistrationStatus.Draining()
  }
  const { attempt, lastFailure, lostAt } = phase
  return lostAt === undefined || lastFailure === undefined ?
    RegistrationStatus.Registering({ attempt }) :
    RegistrationStatus.Recovering({ since: lostAt, attempt, cause: lastFailure })
}

/** Whether two consecutive phases of a registration have the same status. */
export const hasSameStatus = (before: Phase, after: Phase): boolean => {
  if (before._tag === "Claiming" && after._tag === "Claiming") {
    return before.attempt === after.attempt && before.lastFailure === after.lastFailure &&
      before.lostAt === after.lostAt
  }
  return before === after ||
    (before._tag === "Held" && after._tag === "Held" && isDraining(before) === isDraining(after))
}

const isDraining = (phase: Held): boolean => phase.drainingSince !== undefined

/** The error with which a registration ended, unless it was released. */
export const errorOf = ({ status }: Ended, key: string): RegistrationError | undefined =>
  status._tag === "Failed" ?
    status.error :
    status._tag === "Superseded" ?
    new InstanceIdTaken({ key, by: status.by }) :
    undefined

/** An attempt failed, and another one follows. */
export const afterFailure = (phase: Claiming, failure: Failure): Claiming => ({
  ...phase,
  attempt: phase.attempt + 1,
  lastFailure: failure
})

/** The claim found another holder and waits for its lease to expire. */
export const whileWaiting = (phase: Claiming, until: number): Claiming => ({
  ...phase,
  waitUntil: phase.waitUntil ?? until
})

/** The claim put the key at this revision; `drainingAt` if its value says `"draining"`. */
export const afterClaim = (
  phase: Claiming,
  leaseId: LeaseId,
  revision: bigint,
  drainingAt: number | undefined
): Held => ({
  _tag: "Held",
  leaseId,
  revision,
  lastRevision: revision,
  seenAt: revision,
  drainingSince: drainingAt === undefined ? undefined : phase.drainingSince ?? drainingAt,
  isLeaving: false
})

/** The key was written at this revision, or found there as it was written; `drainingAt` if it says `"draining"`. */
export const afterWrite = (phase: Held, revision: bigint, drainingAt: number | undefined): Held => ({
  ...phase,
  lastRevision: revision,
  seenAt: revision > phase.seenAt ? revision : phase.seenAt,
  drainingSince: drainingAt === undefined ? undefined : phase.drainingSince ?? drainingAt
})

/** The lease or the key is lost, at `now` in milliseconds of the epoch. */
export const afterLoss = (phase: Held, cause: Failure, now: number): Claiming | Ended =>
  phase.isLeaving ? released : {
    _tag: "Claiming",
    attempt: 1,
    lostAt: now,
    lastFailure: cause,
    waitUntil: undefined,
    lastRevision: phase.lastRevision,
    drainingSince: phase.drainingSince
  }

/** Another process holds the key. */
export const afterTaken = (phase: Claiming | Held, error: InstanceIdTaken): Ended => ({
  _tag: "Ended",
  status: phase.lastRevision === undefined ?
    RegistrationStatus.Failed({ error }) :
    RegistrationStatus.Superseded({ by: error.by })
})

/** The registration is given up. */
export const afterError = (error: RegistrationError): Ended => ({
  _tag: "Ended",
  status: RegistrationStatus.Failed({ error })
})

const released: Ended = { _tag: "Ended", status: RegistrationStatus.Released() }

/** The scope has closed. A phase that has ended stays as it is. */
export const afterRelease = (phase: Phase): Ended => phase._tag === "Ended" ? phase : released

/** The scope is closing, and the key stays until the instance is drained. */
export const whileLeaving = (phase: Held): Held => ({ ...phase, isLeaving: true })

/** The meaning of the key after reading it. */
export type ReadMeaning =
  | { readonly _tag: "Lost"; readonly cause: RegistrationLost }
  | { readonly _tag: "Taken"; readonly error: InstanceIdTaken }
  /** The key is held. Its value may have been edited, if it was written since the last own write. */
  | { readonly _tag: "Own"; readonly phase: Held; readonly kv: KeyValue }

/** The meaning of a watch report about the key. */
export type Meaning =
  | ReadMeaning
  /** An older state: ignore it. */
  | { readonly _tag: "Old" }
  /** A list that seems older may belong to another history: read the key. */
  | { readonly _tag: "Unsure" }

/** The meaning of what the watch of the key reports. */
export const meaningOf = <M>(
  phase: Held,
  owner: KeyOwner<M>,
  { isNewHistory, kv, listed, revision }: SeenKey
): Meaning => {
  if (revision <= phase.seenAt && !isNewHistory) return { _tag: listed ? "Unsure" : "Old" }
  return meaningOfRead(listed ? { ...phase, seenAt: revision } : phase, owner, kv)
}

/** The meaning of what a linearizable read, or the `else` branch of an own Txn, found under the key. */
export const meaningOfRead = <M>(phase: Held, owner: KeyOwner<M>, kv: KeyValue | undefined): ReadMeaning => {
  const { key } = owner
  if (kv === undefined) return { _tag: "Lost", cause: new RegistrationLost({ key }) }
  if (kv.lease === phase.leaseId) return { _tag: "Own", phase, kv }
  // A foreign key from before the last own write belongs to a replaced history, such as a restored snapshot.
  return kv.modRevision > phase.lastRevision ?
    { _tag: "Taken", error: new InstanceIdTaken({ key, by: holderOf(owner, kv) }) } :
    { _tag: "Lost", cause: new RegistrationLost({ key }) }
}

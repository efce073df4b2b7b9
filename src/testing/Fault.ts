/**
 * Faults of calls to an `Etcd`.
 *
 * @module
 */
import { Duration, Effect } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import { type EtcdError, type EtcdErrorReason, PermissionDenied, Unavailable } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"

/**
 * The name of an operation of `Etcd`.
 *
 * @since 0.1.0
 * @category models
 */
export type Method = keyof Etcd

/**
 * A call to the `Etcd`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly method: Method
  /** The number of the call among those of its method, from 1. */
  readonly nth: number
  /** The key or the start of the range. For a Txn, the first key that it compares, reads or writes. */
  readonly key?: string
  /** The lease. For a Txn, that of its first put. */
  readonly leaseId?: LeaseId
  /** When the call was made, in milliseconds since the epoch. */
  readonly at: number
}

/**
 * A fault of a call. The values and functions of this module make them.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly _tag: "Fails"; readonly reason: EtcdErrorReason }
  | { readonly _tag: "AnswerLost" }
  | { readonly _tag: "Slow"; readonly by: Duration.Duration }
  | { readonly _tag: "Hung" }
  | { readonly _tag: "Meanwhile"; readonly run: (etcd: Etcd, call: Call) => Effect.Effect<unknown, EtcdError> }
  | { readonly _tag: "BreaksAfter"; readonly answers: number; readonly reason: EtcdErrorReason }
  | { readonly _tag: "EndsAfter"; readonly answers: number }
  | { readonly _tag: "SilentAfter"; readonly answers: number }
  | { readonly _tag: "DropsEventsAfter"; readonly answers: number }
  | { readonly _tag: "ProgressTwice" }

/**
 * The call fails for this reason. Nothing was applied.
 *
 * @since 0.1.0
 * @category faults
 */
export const fails = (reason: EtcdErrorReason): Fault => ({ _tag: "Fails", reason })

/**
 * The call fails because etcd is unreachable. Nothing was applied.
 *
 * @since 0.1.0
 * @category faults
 */
export const unavailable: Fault = fails(new Unavailable({ detail: "injected: connection refused" }))

/**
 * The call fails because the member has no leader. Nothing was applied.
 *
 * @since 0.1.0
 * @category faults
 */
export const noLeader: Fault = fails(new Unavailable({ detail: "injected: etcdserver: no leader" }))

/**
 * The call fails because the user lacks permission. Nothing was applied.
 *
 * @since 0.1.0
 * @category faults
 */
export const permissionDenied: Fault = fails(
  new PermissionDenied({ detail: "injected: etcdserver: permission denied" })
)

/**
 * The call is applied and then fails with `DeadlineExceeded` after its deadline.
 *
 * **Details**
 *
 * It has no effect on a watch.
 *
 * @since 0.1.0
 * @category faults
 */
export const answerLost: Fault = { _tag: "AnswerLost" }

/**
 * The call reaches etcd after a delay, unless its deadline passes first.
 *
 * @since 0.1.0
 * @category faults
 */
export const slow = (by: Duration.Input): Fault => ({ _tag: "Slow", by: Duration.fromInputUnsafe(by) })

/**
 * The call never reaches etcd and fails after its deadline. A watch is silent from the start.
 *
 * @since 0.1.0
 * @category faults
 */
export const hung: Fault = { _tag: "Hung" }

/**
 * Runs an effect before the call reaches etcd. Its failure is ignored.
 *
 * @since 0.1.0
 * @category faults
 */
export const meanwhile = (run: (etcd: Etcd, call: Call) => Effect.Effect<unknown, EtcdError>): Fault => ({
  _tag: "Meanwhile",
  run
})

/**
 * Revokes the lease of the call before the call reaches etcd.
 *
 * @since 0.1.0
 * @category faults
 */
export const leaseLost: Fault = meanwhile((etcd, { leaseId }) =>
  leaseId === undefined ? Effect.void : etcd.leaseRevoke(leaseId)
)

/**
 * Compacts all history but the newest revision before the call reaches etcd.
 *
 * @since 0.1.0
 * @category faults
 */
export const compaction: Fault = meanwhile((etcd) =>
  Effect.flatMap(etcd.status, ({ header }) => etcd.compact({ revision: header.revision }))
)

/**
 * The watch fails after a number of responses, of which `Created` is the first.
 *
 * **Details**
 *
 * Default: 1 response, `Unavailable`.
 *
 * @since 0.1.0
 * @category faults
 */
export const breaksAfter = (
  answers: number = 1,
  reason: EtcdErrorReason = new Unavailable({ detail: "injected: the stream broke" })
): Fault => ({ _tag: "BreaksAfter", answers, reason })

/**
 * The watch ends without an error after a number of responses. Default: 1.
 *
 * This breaks the contract of `Etcd`.
 *
 * @since 0.1.0
 * @category faults
 */
export const endsAfter = (answers: number = 1): Fault => ({ _tag: "EndsAfter", answers })

/**
 * The watch is silent after a number of responses. Default: 1.
 *
 * **Details**
 *
 * It fails with `DeadlineExceeded` after `progressEvery` and `progressTimeout`, as the contract of `Etcd` demands.
 *
 * @since 0.1.0
 * @category faults
 */
export const silentAfter = (answers: number = 1): Fault => ({ _tag: "SilentAfter", answers })

/**
 * The watch drops all events after a number of responses. Default: 1.
 *
 * This breaks the contract of `Etcd`.
 *
 * @since 0.1.0
 * @category faults
 */
export const dropsEventsAfter = (answers: number = 1): Fault => ({ _tag: "DropsEventsAfter", answers })

/**
 * The watch emits each `Progress` twice.
 *
 * @since 0.1.0
 * @category faults
 */
export const progressTwice: Fault = { _tag: "ProgressTwice" }

/**
 * Faults that a sound client survives with no more than a delay.
 *
 * @since 0.1.0
 * @category faults
 */
export const transient: ReadonlyArray<Fault> = [
  unavailable,
  noLeader,
  answerLost,
  slow("500 millis"),
  hung,
  breaksAfter(1),
  breaksAfter(3),
  progressTwice
]

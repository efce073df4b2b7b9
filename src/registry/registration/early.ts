/**
 * A claim that is sent with the grant of its lease, so that a registration waits for one commit of etcd and not for two.
 *
 * The session chooses the id of the lease, so the Txn can name it before etcd has answered the grant. If etcd handles
 * the Txn first, it refuses it with `LeaseNotFound` and changes nothing. Then the claim is sent again after the grant,
 * as all others are. The transport makes that rare.
 *
 * Of registrations that start at the same time, one claims early. The others claim after their grants and in batches
 * (`claimBatch.ts`), because one missing lease would refuse a whole batch.
 *
 * @module
 */
import { Effect, Result, type Scope } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { TxnResponse } from "../../etcd/messages/kv.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { callMillis, within } from "../../etcd/leaseCalls.ts"
import type { Session, SessionOptions, Sessions } from "../../etcd/Session.ts"
import type { Timers } from "../../internal/time/Timers.ts"
import { type PutIf, txnOf } from "./claimBatch.ts"

/** An early claim, and etcd's answer to it. */
export interface Early {
  readonly claim: PutIf
  readonly answer: Result.Result<TxnResponse, EtcdError>
}

/** A session, and the early claim under its lease if there is one. */
export interface Opened<S extends Session = Session> {
  readonly session: S
  readonly early: Early | undefined
}

/** Opens a session. `claimOf` is the claim that may be sent early, if any. */
export type Open = (
  options: SessionOptions,
  claimOf: ((lease: LeaseId) => PutIf) | undefined
) => Effect.Effect<Opened, EtcdError, Scope.Scope>

/** etcd's answer to a claim, if it was sent early and another attempt would get the same answer. */
export const answerTo = (early: Early | undefined, { value }: PutIf): Early["answer"] | undefined => {
  if (early?.claim.value !== value) return undefined
  const { answer } = early
  const isFinal = Result.isSuccess(answer) ||
    !(answer.failure.retryable || answer.failure.reason._tag === "LeaseNotFound")
  return isFinal ? answer : undefined
}

/** Opens the sessions of one registry. */
export const make = (etcd: Etcd, sessions: Sessions, timers: Timers): Open => {
  let opening = 0

  const open = (options: SessionOptions, claimOf: ((lease: LeaseId) => PutIf) | undefined) =>
    Effect.suspend(() => {
      let early: Early | undefined
      const send = (claim: PutIf) => {
        const sent = within(etcd.txn(txnOf(claim)), timers, "txn", callMillis(options.ttl))
        return Effect.map(Effect.result(sent), (answer) => {
          early = { claim, answer }
        })
      }
      return Effect.map(
        sessions.open(claimOf === undefined ? options : { ...options, alongside: (lease) => send(claimOf(lease)) }),
        // etcd may have lost what it answered before a repeated grant. The claim finds its own lease if it has not.
        (session): Opened => ({ session, early: session.isFirstGrant ? early : undefined })
      )
    })

  return (options, claimOf) =>
    Effect.acquireUseRelease(
      Effect.sync(() => opening++),
      (others) => open(options, others === 0 ? claimOf : undefined),
      () =>
        Effect.sync(() => {
          opening -= 1
        })
    )
}

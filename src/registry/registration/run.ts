/**
 * The fiber of a registration: it claims the key, holds it, and claims it again after a loss.
 *
 * One fiber owns a registration and takes one message after the other. Each message leads to the next phase, and only
 * this fiber writes to etcd. It lives through *tenures*: a tenure is one lease, from its grant to its loss.
 *
 * @module
 */
import { Cause, Clock, Deferred, Duration, Effect, Exit, Metric, Option, Result, Schedule, type Scope } from "effect"
import { EtcdError, Unavailable } from "../../etcd/EtcdError.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { callMillis, isUnanswered } from "../../etcd/leaseCalls.ts"
import { acquireSync, addFinalizer } from "../../internal/finalizers.ts"
import { lasting, lastingRetry } from "../../internal/lasting.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import * as Claim from "./claim.ts"
import type { PutIf } from "./claimBatch.ts"
import { answerTo, type Early, type Opened } from "./early.ts"
import { drainingAt, removeKey, step } from "./held.ts"
import type { Owner } from "./Owner.ts"
import { claims } from "./metrics.ts"
import * as Phase from "./phase.ts"
import type { Registrar } from "./Registrar.ts"
import { type InstanceIdTaken, RegistrationRefused } from "./RegistrationError.ts"
import { type AnySession, isShared } from "./SharedLeases.ts"
import { logError, logInfo, logWarning } from "../../internal/log.ts"

/** Runs until the registration has ended. Interrupting it releases the lease. A defect ends it as well, as its error. */
export const run = <M>(owner: Owner<M>): Effect.Effect<void> =>
  Effect.catchCause(live(owner), (cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause)
    const defect = Cause.squash(cause)
    const died = new Cause.UnknownError(defect, `the registration died: ${String(defect)}`)
    return end(owner, Phase.afterError(new RegistrationRefused({ key: owner.plan.key, cause: died })), cause)
  })

/** One tenure after the other. */
const live = <M>(owner: Owner<M>): Effect.Effect<void> => {
  const next = Effect.flatMap(Effect.scoped(tenure(owner)), (failure) => afterTenure(owner, failure))
  // Most registrations have one tenure: it has no fiber of its own.
  return Effect.ignore(Effect.andThen(next, lasting(next)))
}

/** Ends the registration, which fails, or waits for the next attempt to claim. */
const afterTenure = Effect.fnUntraced(function* <M>(owner: Owner<M>, failure: Phase.Failure | undefined) {
  const { phase, plan: { key } } = owner
  if (phase._tag === "Ended") {
    yield* end(owner, phase)
  } else {
    if (failure === undefined || (yield* awaitRetry(owner, failure))) return
    yield* end(owner, Phase.afterError(new RegistrationRefused({ key, cause: failure })))
  }
  // A release revokes them itself, and within its own limit (R5).
  if (!(yield* Deferred.isDone(owner.releasing))) yield* revokeLost(owner)
  return yield* Effect.fail("over")
})

/** Revokes the leases that were lost. If etcd does not answer, the next claim or the release does. */
const revokeLost = <M>({ lostLeases, registrar: { etcd } }: Owner<M>): Effect.Effect<void> =>
  Effect.forEach([...lostLeases], (id) =>
    Effect.ignore(Effect.map(
      Effect.catchIf(etcd.leaseRevoke(id), ({ reason }) => reason._tag === "LeaseNotFound", () => Effect.void),
      () => lostLeases.delete(id)
    )), { concurrency: "unbounded", discard: true })

/** Ends the registration. What failed is logged last, so that a logger that throws hides nothing. */
const end = <M>(owner: Owner<M>, phase: Phase.Ended, cause: Cause.Cause<never> = Cause.empty): Effect.Effect<void> =>
  Effect.suspend(() => {
    owner.become(phase)
    const error = Phase.errorOf(phase, owner.plan.key)
    if (error === undefined) return Effect.void
    const wasAwaited = Deferred.doneUnsafe(owner.started, Exit.fail(error)) && owner.plan.startup === "await"
    Deferred.doneUnsafe(owner.failed, Exit.fail(error))
    return wasAwaited ? Effect.void : logError(error.message, cause)
  })

/** Whether etcd refused. A refusal ends a first claim; later it is retried, since a role may come back. */
const isRefusal = ({ reason }: EtcdError): boolean =>
  reason._tag === "PermissionDenied" || reason._tag === "Unauthenticated" || reason._tag === "InvalidArgument" ||
  reason._tag === "TooLarge"

/** A refusal is retried more slowly than a failure in an outage. */
const minRefusedDelay = Duration.seconds(1)

/** Waits for the next attempt to claim. False if `retry` has ended. */
const awaitRetry = Effect.fnUntraced(function* <M>(owner: Owner<M>, failure: Phase.Failure) {
  const { backoff, phase, plan: { key }, waiter } = owner
  const delay = yield* backoff.next(failure)
  if (Option.isNone(delay)) return false
  if (phase._tag === "Claiming" && phase.lastFailure !== failure) {
    if (phase.attempt === 1 && phase.lostAt === undefined) {
      yield* logWarning(`cannot register ${JSON.stringify(key)} yet; retrying: ${failure.message}`)
    }
    owner.become(Phase.afterFailure(phase, failure))
  }
  const isSlow = failure._tag === "EtcdError" && isRefusal(failure)
  yield* waiter.waitForRetry(isSlow ? Duration.max(delay.value, minRefusedDelay) : delay.value)
  return true
})

/** The backoff of a registration as a schedule that waits by itself, so that the return of etcd ends the wait. */
const retrying = <M>(
  owner: Owner<M>,
  isOver: Effect.Effect<unknown> = Effect.never
): Schedule.Schedule<void, EtcdError | InstanceIdTaken> =>
  Schedule.fromStep(
    Effect.succeed((_now, failure: EtcdError | InstanceIdTaken) =>
      failure._tag === "EtcdError" && failure.retryable ?
        Effect.flatMap(
          Effect.raceFirst(awaitRetry(owner, failure), Effect.as(isOver, false)),
          (isWorthIt) => isWorthIt ? Effect.succeed([undefined, Duration.zero]) : Cause.done()
        ) :
        Cause.done()
    )
  )

/** Runs one lease, from its grant to its loss. Returns the failure before the next attempt. */
const tenure = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<Phase.Failure | undefined, never, Scope.Scope> {
  const claimed = yield* Effect.result(claim(owner))
  if (Result.isFailure(claimed)) return afterFailedClaim(owner, claimed.failure)
  const session = claimed.success
  const claimedAt = yield* monotonicMillis
  yield* hold(owner, session)
  // A loss that release did not know of yet: there is nothing left to drain.
  if (yield* Deferred.isDone(owner.releasing)) owner.become(Phase.afterRelease(owner.phase))
  if (owner.phase._tag !== "Claiming") return undefined
  // The next claim does not wait until the lost lease is revoked: with a thousand registrations that takes a second.
  if (!isShared(session)) yield* session.forget
  if ((yield* monotonicMillis) - claimedAt >= owner.plan.ttl.seconds * 1000) owner.backoff.reset()
  return owner.phase.lastFailure
})

/** Takes one message after the other while the key is held. */
const hold = <M>(owner: Owner<M>, session: AnySession): Effect.Effect<void, never, Scope.Scope> =>
  Effect.ignore(lasting(Effect.suspend(() => {
    const { inbox, phase } = owner
    if (phase._tag !== "Held") return Effect.fail("over")
    return Effect.map(
      Effect.flatMap(inbox.take, (message) => step(owner, phase, session, message)),
      (next) => owner.become(next)
    )
  })))

const afterFailedClaim = <M>(owner: Owner<M>, failure: EtcdError | InstanceIdTaken): EtcdError | undefined => {
  const { phase, plan: { key } } = owner
  if (phase._tag !== "Claiming") return undefined
  if (failure._tag === "InstanceIdTaken") {
    owner.become(Phase.afterTaken(phase, failure))
    return undefined
  }
  if (phase.lastRevision !== undefined || !isRefusal(failure)) return failure
  owner.become(Phase.afterError(new RegistrationRefused({ key, cause: failure })))
  return undefined
}

/** Grants a lease, or joins the shared one. */
const openSession = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<Opened<AnySession>, EtcdError | InstanceIdTaken, Scope.Scope> {
  const { plan: { key, lease, releaseTimeout, ttl }, registrar: { open, shared } } = owner
  if (lease === "own") {
    const claimOf = (lease: LeaseId): PutIf => {
      owner.addLease(lease)
      return { key, expected: 0n, value: owner.value(), lease }
    }
    const opened = yield* open(
      { ttl, releaseTimeout, retry: retrying(owner) },
      isRepeated(owner) ? undefined : claimOf
    )
    owner.isKeyLeft = opened.session.isLeft
    return opened
  }
  const session = yield* lastingRetry(shared.join({ ttl, releaseTimeout, endsWhenRefused: true }), {
    schedule: retrying(owner),
    while: () => true
  })
  owner.isKeyLeft = session.isLeft
  // Runs before the session is released. The lease and the keys of the other members stay.
  yield* addFinalizer(() =>
    Effect.flatMap(
      session.mustRemoveKey,
      (mustRemoveKey) =>
        mustRemoveKey ?
          Effect.map(removeKey(owner, session), (isRemoved) => {
            if (!isRemoved) owner.isKeyLeft = () => true
          }) :
          Effect.void
    )
  )
  return { session, early: undefined }
})

/** Whether this is not the first attempt: the registration has failed or was lost. */
const isRepeated = ({ phase }: Pick<Owner<never>, "phase">): boolean =>
  phase._tag === "Claiming" && (phase.attempt > 1 || phase.lostAt !== undefined)

/** A claim after a failure or a loss waits for its turn. */
const inTurn = <M>(owner: Owner<M>, putIf: Registrar["putIf"]): Registrar["putIf"] =>
  isRepeated(owner) ? (request) => Effect.andThen(owner.registrar.recovery.claims, putIf(request)) : putIf

/**
 * A claim under a lease of its own has the limit of R9. If it is applied later, the next attempt finds the own lease, and
 * an interrupted one is revoked with its lease.
 *
 * A claim under a shared lease has no limit but the client's, and is uninterruptible. The key of a member that leaves
 * is removed by a Txn. etcd may apply a claim without an answer after that Txn, and the other members keep the lease: the
 * key would stay without an owner.
 */
const send = <M>(
  { plan: { ttl }, registrar: { putIf } }: Owner<M>,
  session: AnySession,
  attemptsWithoutAnswer: number
): Registrar["putIf"] =>
  isShared(session) ?
    (request) => Effect.uninterruptible(putIf(request)) :
    (request) => putIf({ ...request, limitMillis: callMillis(ttl, attemptsWithoutAnswer) })

/** The revision of an early claim that put the key. */
const claimedAt = (early: Early | undefined): bigint | undefined =>
  early !== undefined && Result.isSuccess(early.answer) && early.answer.success.succeeded ?
    early.answer.success.header.revision :
    undefined

/** Grants a lease and puts the key under it. */
const claim = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<AnySession, EtcdError | InstanceIdTaken, Scope.Scope> {
  const { plan: { key }, registrar } = owner
  const { ownKeys, recovery } = registrar
  let { early, session } = yield* openSession(owner)
  const { leaseId } = session
  const earlyAt = claimedAt(early)
  owner.addLease(leaseId)
  owner.leaseExpiresAt = session.expiresAt
  const { watch } = yield* acquireSync(() => ({
    watch: ownKeys.enter(key, earlyAt ?? session.grantedAt, earlyAt !== undefined, {
      onSeen: (seen) => {
        const { phase } = owner
        if (phase._tag === "Claiming") {
          // The claim follows this list in the same history, so only a later revision counts.
          return owner.offer({ _tag: "KeySeen", leaseId, seen: { ...seen, listed: false, isNewHistory: false } })
        }
        const isKnown = !seen.listed && phase._tag === "Held" && seen.revision <= phase.seenAt
        if (!isKnown) owner.offer({ _tag: "KeySeen", leaseId, seen })
      },
      onDied: (cause) => owner.onExit(cause)
    }),
    endReports: session.onLost((cause) => owner.offer({ _tag: "LeaseLost", leaseId, cause }))
  }), ({ endReports, watch }) => {
    endReports()
    watch.end()
  })
  let attemptsWithoutAnswer =
    early !== undefined && Result.isFailure(early.answer) && isUnanswered(early.answer.failure) ? 1 : 0
  const putIf = (claim: PutIf) => {
    const answer = answerTo(early, claim)
    early = undefined
    return answer === undefined ?
      inTurn(owner, send(owner, session, attemptsWithoutAnswer))(claim) :
      Effect.fromResult(answer)
  }
  const attempt = Effect.suspend(() => Claim.make({ ...registrar, putIf }, owner, session))
  const revision = yield* lastingRetry(attempt, {
    schedule: retrying(owner, session.lost),
    while: (error) => {
      if (error._tag === "EtcdError" && isUnanswered(error)) attemptsWithoutAnswer += 1
      return true
    }
  }).pipe(Effect.catchIf(
    // etcd demands permission on all keys of the lease, so the refusal may concern another key. The next lease is new.
    (error): error is EtcdError =>
      error._tag === "EtcdError" && error.reason._tag === "PermissionDenied" && isShared(session) &&
      session.hasOthers(),
    (error) => {
      if (isShared(session)) session.retire()
      return Effect.fail(
        new EtcdError({ reason: new Unavailable({ detail: error.reason.detail }), method: error.method, cause: error })
      )
    }
  ))
  const { phase } = owner
  if (phase._tag !== "Claiming") return session
  if (isRepeated(owner)) yield* recovery.succeeded
  owner.confirm()
  owner.isPublishPlanned = false
  owner.become(Phase.afterClaim(phase, leaseId, revision, yield* drainingAt(owner)))
  Deferred.doneUnsafe(owner.started, Exit.void)
  for (const done of owner.unwritten.splice(0)) Deferred.doneUnsafe(done, Exit.void)
  yield* Metric.update(claims(owner.plan.instance.name), 1)
  const again = phase.lostAt === undefined ?
    "" :
    ` again, ${Math.round((yield* Clock.currentTimeMillis) - phase.lostAt)} ms after the loss`
  yield* logInfo(`registered ${JSON.stringify(key)} under lease ${leaseId.toString(16)}${again}`)

  watch.begin(revision)
  if (owner.lostLeases.size > 0) yield* Effect.forkScoped(revokeLost(owner))
  return session
})

/**
 * The fiber of a registration: it claims the key, holds it, and claims it again after a loss.
 *
 * One fiber owns a registration and takes one message after the other. Each message leads to the next phase, and
 * everything that is written to etcd is written by this fiber. It lives through *tenures*: one lease each, from its
 * grant to its loss.
 *
 * @module
 */
import { Cause, Deferred, Duration, Effect, Exit, Metric, Option, Queue, Result, Schedule, type Scope } from "effect"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { Session } from "../../etcd/Session.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import * as Claim from "./claim.ts"
import { drainingAt, step } from "./held.ts"
import type { Owner } from "./Owner.ts"
import { followKey } from "./ownKey.ts"
import * as Phase from "./phase.ts"
import { type InstanceIdTaken, RegistrationRefused } from "./RegistrationError.ts"

const registered = Metric.counter("etcd_discovery_registrations", {
  description: "Claims that put an instance into etcd, first ones and after a loss",
  incremental: true
})
/** Runs until the registration has ended. Interrupting it releases the lease. */
export const run = Effect.fnUntraced(function* <M>(owner: Owner<M>): Effect.fn.Return<void> {
  while (true) {
    const failure = yield* Effect.scoped(tenure(owner))
    const { phase } = owner
    if (phase._tag === "Ended") return end(owner, phase)
    if (failure !== undefined && !(yield* awaitRetry(owner, failure))) {
      const error = new RegistrationRefused({ key: owner.plan.key, cause: failure })
      return end(owner, Phase.afterError(error))
    }
  }
})

const end = <M>(owner: Owner<M>, phase: Phase.Ended): void => {
  owner.become(phase)
  const error = Phase.errorOf(phase, owner.plan.key)
  if (error === undefined) return
  Deferred.doneUnsafe(owner.started, Exit.fail(error))
  Deferred.doneUnsafe(owner.failed, Exit.fail(error))
}

/** Waits for the next attempt to claim. False if `retry` has come to its end. */
const awaitRetry = Effect.fnUntraced(function* <M>(owner: Owner<M>, failure: Phase.Failure) {
  const { backoff, phase, plan: { key }, registrar: { recovery } } = owner
  const delay = yield* backoff.next(failure)
  if (Option.isNone(delay)) return false
  if (phase._tag === "Claiming" && phase.lastFailure !== failure) {
    if (phase.attempt === 1 && phase.lostAt === undefined) {
      yield* Effect.logWarning(`cannot register ${JSON.stringify(key)} yet; retrying: ${failure.message}`)
    }
    owner.become(Phase.afterFailure(phase, failure))
  }
  yield* recovery.waitForRetry(delay.value)
  return true
})

/** The backoff of a registration as a schedule that waits by itself, so that an etcd that is back ends the wait. */
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

/** One lease, from its grant to its loss. Returns what the next attempt has to wait for. */
const tenure = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<Phase.Failure | undefined, never, Scope.Scope> {
  const claimed = yield* Effect.result(claim(owner))
  if (Result.isFailure(claimed)) return afterFailedClaim(owner, claimed.failure)
  const session = claimed.success
  const claimedAt = yield* monotonicMillis
  while (owner.phase._tag === "Held") {
    owner.become(yield* step(owner, owner.phase, session, yield* Queue.take(owner.inbox)))
  }
  if (owner.phase._tag === "Ended") return undefined
  if ((yield* monotonicMillis) - claimedAt >= owner.plan.ttl.seconds * 1000) owner.backoff.reset()
  return owner.phase.lastFailure
})

/** Failures of a first claim that no later attempt with the same options can mend. */
const isRefusal = ({ reason }: EtcdError): boolean =>
  reason._tag === "PermissionDenied" || reason._tag === "Unauthenticated" || reason._tag === "InvalidArgument" ||
  reason._tag === "TooLarge"

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

/** Grants a lease and puts the key under it. */
const claim = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<Session, EtcdError | InstanceIdTaken, Scope.Scope> {
  const { plan: { key, releaseTimeout, ttl }, registrar: { etcd, followOptions, recovery, sessions } } = owner
  const session = yield* sessions.open({ ttl, releaseTimeout, retry: retrying(owner) })
  const { leaseId } = session
  const previousLease = owner.ownLeases.at(-1)
  owner.addLease(leaseId)
  const revision = yield* Effect.retry(
    Claim.make(etcd, followOptions, owner, session),
    retrying(owner, session.lost)
  )
  const { phase } = owner
  if (phase._tag !== "Claiming") return session
  if (phase.attempt > 1 || phase.lostAt !== undefined) yield* recovery.succeeded
  owner.become(Phase.afterClaim(phase, leaseId, revision, yield* drainingAt(owner)))
  Deferred.doneUnsafe(owner.started, Exit.void)
  for (const done of owner.unwritten.splice(0)) Deferred.doneUnsafe(done, Exit.void)
  yield* Metric.update(registered, 1)

  yield* session.lost.pipe(
    Effect.map((cause) => owner.offer({ _tag: "LeaseLost", leaseId, cause })),
    Effect.forkScoped
  )
  yield* followKey(etcd, followOptions, key, revision, (seen) => owner.offer({ _tag: "KeySeen", leaseId, seen })).pipe(
    Effect.catch((error) => Effect.logWarning(`cannot watch ${JSON.stringify(key)}: a loss is detected late`, error)),
    Effect.forkScoped
  )
  if (previousLease !== undefined) yield* Effect.forkScoped(Effect.ignore(etcd.leaseRevoke(previousLease)))
  return session
})

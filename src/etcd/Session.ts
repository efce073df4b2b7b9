/**
 * A session: a lease that is kept alive for a scope.
 *
 * The session chooses the id of the lease. So it recognises a repeated grant whose answer was lost, and can revoke the
 * lease whether or not the grant was applied.
 *
 * One `Keeper` sends the heartbeats of all sessions of a registry. Closing the scope revokes the lease.
 *
 * @module
 */
import { Clock, type Context, Deferred, Duration, Effect, Exit, type Schedule, type Scope } from "effect"
import { addFinalizer } from "../internal/finalizers.ts"
import { lastingRetry } from "../internal/lasting.ts"
import { logWarning } from "../internal/log.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import type { Timers } from "../internal/time/Timers.ts"
import { withLimit } from "../internal/time/withLimit.ts"
import * as Backoff from "./Backoff.ts"
import type { Etcd } from "./Etcd.ts"
import type { EtcdError } from "./EtcdError.ts"
import { Keeper, Lease, type LeaseOptions } from "./Keeper.ts"
import { callMillis, isUnanswered, within } from "./leaseCalls.ts"
import { newLeaseId } from "./leaseIds.ts"
import type { LeaseId } from "./messages/lease.ts"
import type { ResponseHeader } from "./messages/ResponseHeader.ts"

/** A lease that is kept alive. */
export interface Session {
  readonly leaseId: LeaseId
  /** A revision from before the grant: every put under the lease has a later one, unless the grant was repeated. */
  readonly grantedAt: bigint
  /** Whether etcd granted the lease at the first attempt. */
  readonly isFirstGrant: boolean
  /** When etcd may drop the lease unless another heartbeat is acknowledged: milliseconds of the monotonic clock. */
  readonly expiresAt: () => number
  /** Completes with the cause when the lease is lost. */
  readonly lost: Effect.Effect<EtcdError>
  /** Calls `report` when the lease is lost, at once if it is. The returned function ends that. */
  readonly onLost: (report: (cause: EtcdError) => void) => () => void
  /** Revokes the lease now instead of when the scope closes; takes at most `timeout`. */
  readonly release: (timeout: Duration.Duration) => Effect.Effect<void>
  /** Ends the heartbeats without revoking the lease. The caller revokes it, or it expires. */
  readonly forget: Effect.Effect<void>
  /** Whether the lease could not be revoked when the session ended: etcd keeps it, and its keys, until it expires. */
  readonly isLeft: () => boolean
}

/** How to keep a lease. */
export interface SessionOptions extends LeaseOptions {
  /** How long closing the scope may take. */
  readonly releaseTimeout: Duration.Duration
  /** Repeats the grant after a retryable failure. Default: never. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /** Runs while the lease of this id is being granted. The session opens once both have ended. */
  readonly alongside?: (id: LeaseId) => Effect.Effect<void>
}

/** The sessions of one etcd. */
export interface Sessions {
  /**
   * Grants a lease and keeps it alive until the scope closes.
   *
   * Fails as the grant does. An interrupted grant leaves no lease behind, provided that etcd answers. Closing the scope
   * revokes the lease, which deletes its keys. If etcd does not answer within `releaseTimeout`, a warning is logged and
   * the lease expires.
   */
  readonly open: (options: SessionOptions) => Effect.Effect<Session, EtcdError, Scope.Scope>
}

/** etcd raises a time to live to 1.5 election timeouts, each of which is at most 50 seconds. */
const maxMinimumSeconds = 75

/** How long revoking a lease that may not exist may take. */
const abandonMillis = Duration.toMillis("2 seconds")

/** Makes the sessions of an etcd. Heartbeats run in this context; no fiber runs while there is no session. */
export const make = (etcd: Etcd, timers: Timers, context: Context.Context<never>): Sessions => {
  const keeper = new Keeper(etcd, timers, context)
  return {
    open: Effect.fnUntraced(function* (options) {
      const { alongside, releaseTimeout, retry, ttl } = options
      const lost = Deferred.makeUnsafe<EtcdError>()
      const reports = new Set<(cause: EtcdError) => void>()
      let lostBy: EtcdError | undefined
      const leaseId = newLeaseId(yield* Clock.currentTimeMillis)
      const lease = new Lease(leaseId, options, keeper, (cause) => {
        lostBy = cause
        Deferred.doneUnsafe(lost, Exit.succeed(cause))
        for (const report of reports) report(cause)
      })

      const end = (timeout: Duration.Duration) =>
        Effect.suspend(() => {
          const { state } = lease
          keeper.leave(lease)
          if (state === "left") return Effect.void
          lease.state = "released"
          if (state === "gone" || state === "released") return Effect.void
          const isRevoked = state === "held" ?
            release(etcd, timers, leaseId, timeout) :
            abandon(etcd, timers, leaseId, timeout)
          return Effect.map(isRevoked, (isRevoked) => {
            if (!isRevoked) lease.state = "left"
          })
        })
      yield* addFinalizer(() => end(releaseTimeout))

      let attempts = 0
      let attemptsWithoutAnswer = 0
      const confirmed = (
        method: string,
        request: (
          limitMillis: number
        ) => Effect.Effect<{ readonly header: ResponseHeader; readonly ttl: number }, EtcdError>
      ) =>
        Effect.flatMap(monotonicMillis, (sentAt) => {
          const limitMillis = callMillis(ttl, attemptsWithoutAnswer)
          return Effect.map(within(request(limitMillis), timers, method, limitMillis), ({ header, ttl }) => ({
            sentAt,
            ttl,
            revision: header.revision
          }))
        })
      const grantOnce = Effect.suspend(() => {
        attempts += 1
        return confirmed("leaseGrant", () => etcd.leaseGrant({ id: leaseId, ttl: ttl.seconds }))
      })
      const grant = grantOnce.pipe(
        // An earlier attempt was applied.
        Effect.catchIf(
          (error) => error.reason._tag === "LeaseExists",
          () => confirmed("leaseKeepAlive", (timeout) => etcd.leaseKeepAlive({ id: leaseId, timeout }))
        ),
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (isUnanswered(error)) attemptsWithoutAnswer += 1
          })
        ),
        Effect.map((granted) => {
          lease.ttlSeconds = Math.min(granted.ttl, Math.max(ttl.seconds, maxMinimumSeconds))
          keeper.keep(lease, granted.sentAt, granted.ttl)
          return granted
        }),
        Effect.uninterruptible
      )
      const granting = retry === undefined ?
        grant :
        lastingRetry(grant, { schedule: retry, while: (error) => error.retryable })
      const granted = yield* alongside === undefined ? granting : Effect.map(
        Effect.all([granting, alongside(leaseId)], { concurrency: "unbounded" }),
        ([granted]) => granted
      )
      return {
        leaseId,
        grantedAt: granted.revision,
        isFirstGrant: attempts === 1,
        expiresAt: () => lease.deadline,
        lost: Deferred.await(lost),
        onLost: (report) => {
          if (lostBy === undefined) reports.add(report)
          else report(lostBy)
          return () => reports.delete(report)
        },
        release: end,
        forget: Effect.sync(() => {
          keeper.leave(lease)
          lease.state = "released"
        }),
        isLeft: () => lease.state === "left"
      }
    })
  }
}

const revoked = Exit.succeed(true)
const notRevoked = Exit.succeed(false)

/** Succeeds with `true` once etcd has revoked the lease. */
const revoke = (etcd: Etcd, id: LeaseId): Effect.Effect<boolean, EtcdError> =>
  lastingRetry(
    Effect.matchEffect(etcd.leaseRevoke(id), {
      onSuccess: () => revoked,
      onFailure: (error) => error.reason._tag === "LeaseNotFound" ? revoked : Effect.fail(error)
    }),
    { schedule: Backoff.untilBack(Backoff.heartbeat, etcd.recovered), while: () => true }
  )

/**
 * Revokes a lease that is held, or may still be. Returns whether etcd has revoked it. If etcd does not answer within
 * `timeout` or refuses, logs a warning.
 */
export const release = (
  etcd: Etcd,
  timers: Timers,
  id: LeaseId,
  timeout: Duration.Duration
): Effect.Effect<boolean> =>
  Effect.matchEffect(withLimit(revoke(etcd, id), timers, Duration.toMillis(timeout), () => notRevoked), {
    onSuccess: (isRevoked) =>
      isRevoked ?
        revoked :
        Effect.as(logWarning(`etcd did not answer in time: lease ${id.toString(16)} is left to expire`), false),
    onFailure: (error) =>
      Effect.as(logWarning(`cannot revoke lease ${id.toString(16)}: it is left to expire`, error), false)
  })

/** Revokes a lease that may not exist, for at most 2 seconds. Returns whether etcd has revoked it. */
const abandon = (etcd: Etcd, timers: Timers, id: LeaseId, timeout: Duration.Duration): Effect.Effect<boolean> =>
  Effect.catch(
    withLimit(revoke(etcd, id), timers, Math.min(abandonMillis, Duration.toMillis(timeout)), () => notRevoked),
    () => notRevoked
  )

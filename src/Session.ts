/**
 * A session: a lease that is kept alive for a scope.
 *
 * The lease is granted under an id chosen here, so that a grant whose answer was lost is recognised when it is repeated
 * and can be revoked whatever became of it. One fiber sends heartbeats. It counts the lease as lost when etcd says so,
 * or when one time to live has passed, on the monotonic clock, since the last acknowledged heartbeat was *sent*. When
 * the process itself was held up for longer than that (a sleeping laptop, a blocked event loop), one more heartbeat
 * asks etcd before anything is decided.
 *
 * Closing the scope revokes the lease.
 *
 * @module
 */
import { Deferred, Duration, Effect, Metric, Option, type Scope } from "effect"
import type { Etcd, LeaseId } from "./etcd/Etcd.ts"
import type { EtcdError } from "./etcd/EtcdError.ts"
import { monotonicMillis, sleepUntil } from "./internal/monotonic.ts"
import * as Steps from "./internal/steps.ts"
import * as Backoff from "./policy/Backoff.ts"
import type { Ttl } from "./policy/Ttl.ts"

/** A lease that is kept alive. */
export interface Session {
  readonly leaseId: LeaseId
  /** Completes when the lease is lost, with what showed it. */
  readonly lost: Effect.Effect<EtcdError>
}

/** How to keep a lease. */
export interface SessionOptions {
  readonly ttl: Ttl
  /** How long closing the scope may take, asked for when it closes. */
  readonly releaseTimeout: () => Duration.Duration
  /** Repeats the grant when it failed: one that was applied unheard is recognised, it is the same lease. */
  readonly retry: <A>(grant: Effect.Effect<A, EtcdError>) => Effect.Effect<A, EtcdError>
}

/** How long an answer to a heartbeat is waited for at most; less when the lease is about to run out. */
const replyTimeout = Duration.toMillis("3 seconds")

/** How long revoking a lease may take that may not even exist. */
const giveUpTimeout = Duration.seconds(1)

const heartbeats = Metric.counter("etcd_discovery_heartbeats", {
  description: "Heartbeats that etcd acknowledged",
  incremental: true
})

/** A random positive int64. */
const randomLeaseId: Effect.Effect<LeaseId> = Effect.sync(() => {
  const [bits = 0n] = crypto.getRandomValues(new BigUint64Array(1))
  return BigInt.asUintN(63, bits) || 1n
})

/**
 * Grants a lease and keeps it alive until the scope closes.
 *
 * Fails as the grant does. Interrupting it, at any step, leaves no lease behind that etcd still answers for. One fiber
 * starts. When the scope closes, the lease is revoked, with all its keys; when etcd does not answer within
 * `releaseTimeout` that is logged as a warning, and the lease runs out by itself.
 */
export const make = Effect.fnUntraced(function* (
  etcd: Etcd,
  options: SessionOptions
): Effect.fn.Return<Session, EtcdError, Scope.Scope> {
  const leaseId = yield* randomLeaseId
  const lost = yield* Deferred.make<EtcdError>()
  let state: "unconfirmed" | "held" | "lost" | "gone" = "unconfirmed"
  let deadline = 0

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      if (state === "gone") return Effect.void
      return state === "held" ? release(etcd, leaseId, options.releaseTimeout()) : abandon(etcd, leaseId)
    })
  )

  const renew = Effect.fnUntraced(function* (timeout: number) {
    const sentAt = yield* monotonicMillis
    const { ttl } = yield* etcd.leaseKeepAlive({ id: leaseId, timeout })
    deadline = sentAt + ttl * 1000
    return sentAt
  })

  const grant = Effect.gen(function* () {
    const sentAt = yield* monotonicMillis
    const { ttl } = yield* etcd.leaseGrant({ id: leaseId, ttl: options.ttl.seconds })
    deadline = sentAt + ttl * 1000
    return sentAt
  }).pipe(
    // An earlier attempt was applied after all.
    Effect.catchIf((error) => error.reason._tag === "LeaseExists", () => renew(replyTimeout)),
    Effect.uninterruptible
  )

  const every = Duration.toMillis(options.ttl.heartbeat)
  const retry = yield* Steps.make(Backoff.heartbeat)

  const keep = Effect.fnUntraced(function* (grantedAt: number): Effect.fn.Return<EtcdError> {
    let next = grantedAt + every
    let failure: EtcdError | undefined
    while (true) {
      yield* sleepUntil(next)
      const now = yield* monotonicMillis
      if (failure !== undefined && now >= deadline) return failure
      // Past the deadline without a failure means that this process was held up: the answer to this heartbeat decides.
      const timeout = Math.min(replyTimeout, every, now < deadline ? deadline - now : Infinity)
      const answer = yield* Effect.result(renew(timeout))
      if (answer._tag === "Success") {
        failure = undefined
        next = answer.success + every
        yield* retry.reset
        yield* Metric.update(heartbeats, 1)
      } else if (answer.failure.reason._tag === "LeaseNotFound") {
        state = "gone"
        return answer.failure
      } else {
        failure = answer.failure
        const delay = Option.getOrElse(yield* retry.next(undefined), () => Duration.zero)
        next = Math.min(deadline, (yield* monotonicMillis) + Duration.toMillis(delay))
      }
    }
  })

  const grantedAt = yield* options.retry(grant)
  state = "held"
  yield* keep(grantedAt).pipe(
    Effect.tap(() =>
      Effect.sync(() => {
        if (state === "held") state = "lost"
      })
    ),
    Effect.flatMap((cause) => Deferred.succeed(lost, cause)),
    Effect.forkScoped({ startImmediately: true })
  )
  return { leaseId, lost: Deferred.await(lost) }
})

const revoke = (etcd: Etcd, id: LeaseId): Effect.Effect<void, EtcdError> =>
  etcd.leaseRevoke(id).pipe(
    Effect.asVoid,
    Effect.catchIf((error) => error.reason._tag === "LeaseNotFound", () => Effect.void)
  )

/** Ends a lease that is held, or may still be; a warning when etcd does not answer in time. */
export const release = (etcd: Etcd, id: LeaseId, timeout: Duration.Duration): Effect.Effect<void> =>
  revoke(etcd, id).pipe(
    Effect.retry({ schedule: Backoff.heartbeat, while: (error) => error.retryable }),
    Effect.timeoutOption(timeout),
    Effect.flatMap(Option.match({
      onSome: () => Effect.void,
      onNone: () => Effect.logWarning(`etcd did not answer in time; lease ${id.toString(16)} runs out by itself`)
    })),
    Effect.catch((error) => Effect.logWarning(`lease ${id.toString(16)} was not revoked and runs out by itself`, error))
  )

/** Ends a lease that may not exist, as far as etcd answers. */
const abandon = (etcd: Etcd, id: LeaseId): Effect.Effect<void> =>
  revoke(etcd, id).pipe(Effect.timeoutOption(giveUpTimeout), Effect.ignore)

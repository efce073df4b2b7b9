/**
 * A session: a lease that is kept alive for a scope.
 *
 * The session chooses the id of the lease. So it recognises a repeated grant whose answer was lost, and can revoke the
 * lease whether or not the grant was applied.
 *
 * A lease is lost when etcd reports it, or when one time to live has passed on the monotonic clock since the last
 * acknowledged heartbeat was *sent*. That deadline is a timer of its own. If the process itself was held up past the
 * deadline (a sleeping laptop, a blocked event loop), one more heartbeat decides. One timer serves all sessions of a
 * registry. A heartbeat has a fiber only until it is answered. Heartbeats that are due at almost the same time are sent
 * together from then on.
 *
 * Closing the scope revokes the lease.
 *
 * @module
 */
import {
  Clock,
  type Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  type Fiber,
  Metric,
  Option,
  type Schedule,
  type Scope
} from "effect"
import type { Etcd } from "./Etcd.ts"
import type { LeaseId } from "./messages/lease.ts"
import type { ResponseHeader } from "./messages/ResponseHeader.ts"
import { DeadlineExceeded, EtcdError } from "./EtcdError.ts"
import { addFinalizer } from "../internal/finalizers.ts"
import { lastingRetry } from "../internal/lasting.ts"
import { Deadline } from "../internal/time/Deadlines.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { Steps } from "../internal/time/Steps.ts"
import type { Timers } from "../internal/time/Timers.ts"
import { withLimit } from "../internal/time/withLimit.ts"
import * as Backoff from "./Backoff.ts"
import type { Ttl } from "./Ttl.ts"
import { logWarning } from "../internal/log.ts"

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
export interface SessionOptions {
  readonly ttl: Ttl
  /** How long closing the scope may take. */
  readonly releaseTimeout: Duration.Duration
  /** Repeats the grant after a retryable failure. Default: never. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /**
   * Ends the lease when etcd refuses a heartbeat, instead of retrying until the lease expires. etcd refuses a heartbeat
   * if the user may not write one of the lease's keys. Default: false.
   */
  readonly endsWhenRefused?: boolean
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

/** No call about a lease may take longer: a release waits for a grant that is in flight (R5). */
const maxCallMillis = Duration.toMillis("3 seconds")

/** etcd raises a time to live to 1.5 election timeouts, each of which is at most 50 seconds. */
const maxMinimumSeconds = 75

/** How long revoking a lease that may not exist may take. */
const abandonMillis = Duration.toMillis("2 seconds")

/** A heartbeat may be sent up to 5 % early so that several leases share one write. */
const coalesceFraction = 0.05

/** If a deadline is handled later than this, the process was held up. */
const heldUpMillis = 1000

const heartbeats = Metric.counter("etcd_discovery_heartbeats_total", {
  description: "Heartbeats that etcd acknowledged",
  incremental: true
})

/**
 * The number of random bits of a lease id. The 16 bits above them are the time of the grant, in seconds of the epoch.
 */
const randomBits = 47n

/** Random numbers, drawn in blocks: on Node a draw takes longer than the rest of a lease id. */
const randomNumbers = new BigUint64Array(64)
let drawn = randomNumbers.length

const nextRandom = (): bigint => {
  if (drawn === randomNumbers.length) {
    crypto.getRandomValues(randomNumbers)
    drawn = 0
  }
  return randomNumbers[drawn++] ?? 0n
}

/** A positive int64 that no other lease has. */
const newLeaseId = (nowMillis: number): LeaseId => {
  const seconds = BigInt.asUintN(16, BigInt(Math.floor(nowMillis / 1000)))
  return (seconds << randomBits | BigInt.asUintN(Number(randomBits), nextRandom())) || 1n
}

/**
 * How long ago a session granted a lease, to the second. Wraps around after 18 hours, so an older lease, or that of
 * another client, may seem new.
 */
export const leaseAgeMillis = (id: LeaseId, nowMillis: number): number => {
  const granted = BigInt.asUintN(16, id >> randomBits)
  return Number(BigInt.asUintN(16, BigInt(Math.floor(nowMillis / 1000)) - granted)) * 1000
}

/**
 * The limit of a call about a lease (R9): a third of the time to live, so that two more attempts fit.
 *
 * A grant or a claim that got no answer within its limit is repeated with twice the limit, up to the time to live and at
 * most 3 seconds. On an overloaded machine each answer may take longer than a third, and with a fixed limit a
 * registration would never get in. Heartbeats keep the third. They replace a silent connection, which ends the longer
 * call as well, and the expiry of the lease depends on neither.
 */
export const callMillis = (ttl: Ttl, attemptsWithoutAnswer: number = 0): number =>
  Math.min(maxCallMillis, ttl.seconds * 1000, ttl.seconds * 1000 / 3 * 2 ** attemptsWithoutAnswer)

/** Whether a call failed because it got no answer within its time. */
export const isUnanswered = ({ reason }: EtcdError): boolean => reason._tag === "DeadlineExceeded"

/** Fails a call that has no answer within `millis`, whatever the client's own timeouts are. */
export const within = <A>(
  call: Effect.Effect<A, EtcdError>,
  timers: Timers,
  method: string,
  millis: number
): Effect.Effect<A, EtcdError> =>
  withLimit(call, timers, millis, () =>
    Exit.fail(
      new EtcdError({ reason: new DeadlineExceeded({ detail: `no answer within ${Math.round(millis)} ms` }), method })
    ))

/** A lease from its grant on. All times are milliseconds of the monotonic clock. */
class Lease {
  readonly id: LeaseId
  readonly heartbeatMillis: number
  readonly callMillis: number
  readonly endsWhenRefused: boolean
  readonly onLost: (cause: EtcdError) => void
  readonly nextHeartbeat: Deadline
  readonly expiry: Deadline
  /** `gone`: etcd reported that the lease does not exist. `left`: the lease could not be revoked. */
  state: "unconfirmed" | "held" | "lost" | "gone" | "released" | "left" = "unconfirmed"
  /** Seconds from a heartbeat to the end of the lease, as granted. A later response may not prolong them. */
  ttlSeconds = 0
  /** When etcd may drop the lease. */
  deadline = 0
  /** When the newest heartbeat was sent, unless it was acknowledged. */
  triedAt: number | undefined
  failure: EtcdError | undefined
  retry: Steps<void> | undefined
  /** The fiber of the pending heartbeat. */
  sending: Fiber.Fiber<void> | undefined

  constructor(id: LeaseId, { endsWhenRefused = false, ttl }: SessionOptions, keeper: Keeper, onLost: Lease["onLost"]) {
    this.id = id
    this.endsWhenRefused = endsWhenRefused
    this.heartbeatMillis = Duration.toMillis(ttl.heartbeat)
    this.callMillis = callMillis(ttl)
    this.onLost = onLost
    this.nextHeartbeat = new Deadline((now) => keeper.beat(this, now))
    this.expiry = new Deadline((now) => keeper.expire(this, now))
  }
}

/** Sends the heartbeats of many leases. */
class Keeper {
  readonly #etcd: Etcd
  readonly #context: Context.Context<never>
  readonly #fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly #timers: Timers
  /** The time of the heartbeat that was scheduled last. */
  #planned = -Infinity
  /** Leases whose last heartbeat failed. */
  readonly #failing = new Set<Lease>()
  /** Waits for etcd's return while a heartbeat has failed. */
  #awaitingReturn: Fiber.Fiber<void> | undefined

  constructor(etcd: Etcd, timers: Timers, context: Context.Context<never>) {
    this.#etcd = etcd
    this.#context = context
    this.#timers = timers
    this.#fork = Effect.runForkWith(context)
  }

  /**
   * Records the acknowledgement of a grant or heartbeat sent at `sentAt`. The next heartbeat follows one period later.
   */
  keep(lease: Lease, sentAt: number, ttlSeconds: number): void {
    lease.state = "held"
    lease.deadline = sentAt + Math.min(lease.ttlSeconds, ttlSeconds) * 1000
    lease.triedAt = undefined
    lease.failure = undefined
    lease.retry = undefined
    const latest = sentAt + lease.heartbeatMillis
    const isTogether = this.#planned <= latest && this.#planned >= latest - lease.heartbeatMillis * coalesceFraction
    this.#planned = isTogether ? this.#planned : latest
    this.#timers.set(lease.nextHeartbeat, this.#planned)
    this.#timers.set(lease.expiry, lease.deadline)
  }

  leave(lease: Lease): void {
    this.#timers.delete(lease.nextHeartbeat)
    this.#timers.delete(lease.expiry)
    this.#removeFailing(lease)
    lease.sending?.interruptUnsafe()
  }

  beat(lease: Lease, now: number): void {
    this.#removeFailing(lease)
    lease.triedAt = now
    const timeout = Math.min(lease.callMillis, now < lease.deadline ? lease.deadline - now : Infinity)
    lease.sending = this.#fork(this.#send(lease, now, timeout))
  }

  /**
   * The lease is lost, unless this process was held up and could send no heartbeat in time. Then one more heartbeat
   * decides.
   */
  expire(lease: Lease, now: number): void {
    const { deadline, triedAt } = lease
    const wasHeldUp = triedAt === undefined || now - deadline > heldUpMillis
    const isAsking = triedAt !== undefined && triedAt >= deadline
    if (isAsking ? now - triedAt < lease.callMillis : wasHeldUp) {
      if (!isAsking) {
        lease.sending?.interruptUnsafe()
        this.#timers.delete(lease.nextHeartbeat)
        this.beat(lease, now)
      }
      this.#timers.set(lease.expiry, (lease.triedAt ?? now) + lease.callMillis)
      return
    }
    this.#end(
      lease,
      "lost",
      lease.failure ?? new EtcdError({
        reason: new DeadlineExceeded({ detail: "no heartbeat was acknowledged for one time to live" }),
        method: "leaseKeepAlive",
        key: lease.id.toString(16)
      })
    )
  }

  #end(lease: Lease, state: "lost" | "gone", cause: EtcdError): void {
    lease.state = state
    this.leave(lease)
    lease.onLost(cause)
  }

  #send(lease: Lease, sentAt: number, timeout: number): Effect.Effect<void> {
    return Effect.matchEffect(this.#etcd.leaseKeepAlive({ id: lease.id, timeout }), {
      onSuccess: ({ ttl }) => {
        this.keep(lease, sentAt, ttl)
        heartbeats.updateUnsafe(1, this.#context)
        return Effect.void
      },
      onFailure: (failure) =>
        failure.reason._tag === "LeaseNotFound" ?
          Effect.sync(() => this.#end(lease, "gone", failure)) :
          failure.reason._tag === "PermissionDenied" && lease.endsWhenRefused ?
          Effect.sync(() => this.#end(lease, "lost", failure)) :
          this.#retry(lease, failure)
    })
  }

  readonly #retry = Effect.fnUntraced({ self: this }, function* (this: Keeper, lease: Lease, failure: EtcdError) {
    lease.failure = failure
    const retry = lease.retry ??= new Steps(Backoff.heartbeat)
    const delay = Option.getOrElse(yield* retry.next(undefined), () => Duration.zero)
    const now = this.#timers.now()
    const at = now + Duration.toMillis(delay)
    if (now >= lease.deadline) return this.#end(lease, "lost", failure)
    if (at < lease.deadline) this.#timers.set(lease.nextHeartbeat, at)
    this.#failing.add(lease)
    this.#awaitingReturn ??= this.#fork(this.#repeatOnReturn)
  })

  /** Repeats the heartbeats that failed, at once when etcd is back (D12). */
  readonly #repeatOnReturn = Effect.suspend(() =>
    Effect.map(this.#etcd.recovered, () => {
      this.#awaitingReturn = undefined
      const now = this.#timers.now()
      for (const lease of this.#failing) this.#timers.set(lease.nextHeartbeat, now)
      this.#failing.clear()
    })
  )

  #removeFailing(lease: Lease): void {
    if (!this.#failing.delete(lease) || this.#failing.size > 0) return
    this.#awaitingReturn?.interruptUnsafe()
    this.#awaitingReturn = undefined
  }
}

/** Makes the sessions of an etcd. Heartbeats run in this context; no fiber runs while there is no session. */
export const make = (etcd: Etcd, timers: Timers, context: Context.Context<never>): Sessions => {
  const keeper = new Keeper(etcd, timers, context)
  heartbeats.updateUnsafe(0, context)
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
        Effect.uninterruptible
      )
      const granting = Effect.map(
        retry === undefined ? grant : lastingRetry(grant, { schedule: retry, while: (error) => error.retryable }),
        (granted) => {
          lease.ttlSeconds = Math.min(granted.ttl, Math.max(ttl.seconds, maxMinimumSeconds))
          keeper.keep(lease, granted.sentAt, granted.ttl)
          return granted
        }
      )
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

/**
 * A session: a lease that is kept alive for a scope.
 *
 * The lease is granted under an id chosen here, so that a grant whose answer was lost is recognised when it is repeated
 * and can be revoked whatever became of it. A lease counts as lost when etcd says so, or when one time to live has
 * passed, on the monotonic clock, since the last acknowledged heartbeat was *sent*. When the process itself was held up
 * for longer than that (a sleeping laptop, a blocked event loop), one more heartbeat asks etcd before anything is decided.
 *
 * No fiber waits for the time of a heartbeat: a timer that all sessions share does, and a heartbeat has a fiber of its
 * own only until it is answered. Heartbeats that would go out shortly after one another go out
 * together, and then stay together.
 *
 * Closing the scope revokes the lease.
 *
 * @module
 */
import { type Context, Deferred, Duration, Effect, Exit, type Fiber, Metric, Option, type Scope } from "effect"
import type { Etcd, LeaseId, ResponseHeader } from "./Etcd.ts"
import type { EtcdError } from "./EtcdError.ts"
import { Deadline } from "../internal/time/Deadlines.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { Steps } from "../internal/time/Steps.ts"
import type { Timers } from "../internal/time/Timers.ts"
import * as Backoff from "./Backoff.ts"
import type { Ttl } from "./Ttl.ts"

/** A lease that is kept alive. */
export interface Session {
  readonly leaseId: LeaseId
  /** A revision that was there when the lease was granted: whatever is put under it comes later. */
  readonly grantedAt: bigint
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
  /** Told at once when the lease is lost, after it was granted. */
  readonly onLost: (leaseId: LeaseId, cause: EtcdError) => void
}

/** The sessions of one etcd. */
export interface Sessions {
  /**
   * Grants a lease and keeps it alive until the scope closes.
   *
   * Fails as the grant does. Interrupting it, at any step, leaves no lease behind that etcd still answers for. When the
   * scope closes, the lease is revoked, with all its keys; when etcd does not answer within `releaseTimeout` that is
   * logged as a warning, and the lease runs out by itself.
   */
  readonly open: (options: SessionOptions) => Effect.Effect<Session, EtcdError, Scope.Scope>
}

/** How long an answer to a heartbeat is waited for at most; less when the lease is about to run out. */
const replyTimeout = Duration.toMillis("3 seconds")

/** How long revoking a lease may take that may not even exist. */
const giveUpTimeout = Duration.seconds(1)

/** By which part of its period a heartbeat may be early, to go out with others. */
const company = 0.05

const heartbeats = Metric.counter("etcd_discovery_heartbeats", {
  description: "Heartbeats that etcd acknowledged",
  incremental: true
})

/** Random numbers for leases to come: asking for one at a time costs more than the rest of a grant. */
const random = new BigUint64Array(64)
let unused = 0

/** A random positive int64. */
const randomLeaseId = (): LeaseId => {
  if (unused === 0) unused = crypto.getRandomValues(random).length
  unused -= 1
  return BigInt.asUintN(63, random[unused] ?? 0n) || 1n
}

/** A lease from its grant on. All times are milliseconds of the monotonic clock. */
class Lease {
  readonly id: LeaseId
  /** Between two heartbeats. */
  readonly every: number
  readonly onEnd: (cause: EtcdError) => void
  readonly next: Deadline
  state: "unconfirmed" | "held" | "lost" | "gone" = "unconfirmed"
  /** When etcd may drop it, as far as is known. */
  deadline = 0
  /** What became of the last heartbeat, if it was not answered. */
  failure: EtcdError | undefined
  retry: Steps<void> | undefined
  /** The heartbeat that has no answer yet. */
  sending: Fiber.Fiber<void> | undefined

  constructor(id: LeaseId, every: number, due: (lease: Lease, now: number) => void, onEnd: (cause: EtcdError) => void) {
    this.id = id
    this.every = every
    this.onEnd = onEnd
    this.next = new Deadline((now) => due(this, now))
  }

  end(state: "lost" | "gone", cause: EtcdError): void {
    this.state = state
    this.onEnd(cause)
  }
}

/** Sends the heartbeats of many leases. */
class Keeper {
  readonly #etcd: Etcd
  readonly #context: Context.Context<never>
  readonly #fork: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  readonly #timers: Timers
  /** The moment that was planned last. */
  #planned = -Infinity

  constructor(etcd: Etcd, timers: Timers, context: Context.Context<never>) {
    this.#etcd = etcd
    this.#context = context
    this.#timers = timers
    this.#fork = Effect.runForkWith(context)
  }

  /** Sends the next heartbeat one period after the last was sent. */
  keep(lease: Lease, sentAt: number): void {
    const latest = sentAt + lease.every
    const isTogether = this.#planned <= latest && this.#planned >= latest - lease.every * company
    this.#planned = isTogether ? this.#planned : latest
    this.#timers.set(lease.next, this.#planned)
  }

  leave(lease: Lease): void {
    this.#timers.delete(lease.next)
    lease.sending?.interruptUnsafe()
  }

  readonly due = (lease: Lease, now: number): void => {
    if (lease.failure !== undefined && now >= lease.deadline) return lease.end("lost", lease.failure)
    // Past the deadline without a failure means that this process was held up: the answer to this heartbeat decides.
    const timeout = Math.min(replyTimeout, lease.every, now < lease.deadline ? lease.deadline - now : Infinity)
    lease.sending = this.#fork(this.#send(lease, now, timeout))
  }

  #send(lease: Lease, sentAt: number, timeout: number): Effect.Effect<void> {
    return Effect.matchEffect(this.#etcd.leaseKeepAlive({ id: lease.id, timeout }), {
      onSuccess: ({ ttl }) => {
        lease.deadline = sentAt + ttl * 1000
        lease.failure = undefined
        lease.retry = undefined
        this.keep(lease, sentAt)
        heartbeats.updateUnsafe(1, this.#context)
        return Effect.void
      },
      onFailure: (failure) =>
        failure.reason._tag === "LeaseNotFound" ?
          Effect.sync(() => lease.end("gone", failure)) :
          this.#retry(lease, failure)
    })
  }

  readonly #retry = Effect.fnUntraced({ self: this }, function* (this: Keeper, lease: Lease, failure: EtcdError) {
    lease.failure = failure
    const retry = lease.retry ??= new Steps(Backoff.heartbeat)
    const delay = Option.getOrElse(yield* retry.next(undefined), () => Duration.zero)
    this.#timers.set(lease.next, Math.min(lease.deadline, this.#timers.now() + Duration.toMillis(delay)))
  })
}

/** The sessions of an etcd; their heartbeats go out in this context. Nothing runs while there is none. */
export const make = (etcd: Etcd, timers: Timers, context: Context.Context<never>): Sessions => {
  const keeper = new Keeper(etcd, timers, context)
  return {
    open: Effect.fnUntraced(function* (options) {
      const lost = Deferred.makeUnsafe<EtcdError>()
      const leaseId = randomLeaseId()
      const lease = new Lease(leaseId, Duration.toMillis(options.ttl.heartbeat), keeper.due, (cause) => {
        Deferred.doneUnsafe(lost, Exit.succeed(cause))
        options.onLost(leaseId, cause)
      })

      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          keeper.leave(lease)
          if (lease.state === "gone") return Effect.void
          return lease.state === "held" ? release(etcd, leaseId, options.releaseTimeout()) : abandon(etcd, leaseId)
        })
      )

      const confirmed = (
        request: Effect.Effect<{ readonly header: ResponseHeader; readonly ttl: number }, EtcdError>
      ) =>
        Effect.flatMap(monotonicMillis, (sentAt) =>
          Effect.map(request, ({ header, ttl }) => {
            lease.deadline = sentAt + ttl * 1000
            return { sentAt, revision: header.revision }
          }))
      const grant = confirmed(etcd.leaseGrant({ id: leaseId, ttl: options.ttl.seconds })).pipe(
        // An earlier attempt was applied after all.
        Effect.catchIf(
          (error) => error.reason._tag === "LeaseExists",
          () => confirmed(etcd.leaseKeepAlive({ id: leaseId, timeout: replyTimeout }))
        ),
        Effect.uninterruptible
      )
      const { revision: grantedAt, sentAt } = yield* options.retry(grant)
      lease.state = "held"
      keeper.keep(lease, sentAt)
      return { leaseId, grantedAt, lost: Deferred.await(lost) }
    })
  }
}

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

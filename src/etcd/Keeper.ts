/**
 * The heartbeats of leases, and when a lease is lost.
 *
 * A lease is lost when etcd reports it, or when one time to live has passed on the monotonic clock since the last
 * acknowledged heartbeat was *sent*. That deadline is a timer of its own. If the process itself was held up past the
 * deadline (a sleeping laptop, a blocked event loop), one more heartbeat decides. A heartbeat has a fiber only until it is
 * answered. Heartbeats that are due at almost the same time are sent together from then on. One timer serves all leases.
 *
 * @module
 */
import { type Context, Duration, Effect, type Fiber, Metric, Option } from "effect"
import { Deadline } from "../internal/time/Deadlines.ts"
import { Steps } from "../internal/time/Steps.ts"
import type { Timers } from "../internal/time/Timers.ts"
import * as Backoff from "./Backoff.ts"
import type { Etcd } from "./Etcd.ts"
import { DeadlineExceeded, EtcdError } from "./EtcdError.ts"
import { callMillis } from "./leaseCalls.ts"
import type { LeaseId } from "./messages/lease.ts"
import type { Ttl } from "./Ttl.ts"

/** A heartbeat may be sent up to 5 % early so that several leases share one write. */
const coalesceFraction = 0.05

/** If a deadline is handled later than this, the process was held up. */
const heldUpMillis = 1000

const heartbeats = Metric.counter("etcd_discovery_heartbeats_total", {
  description: "Heartbeats that etcd acknowledged",
  incremental: true
})

/** How the heartbeats of a lease are sent. */
export interface LeaseOptions {
  readonly ttl: Ttl
  /**
   * Ends the lease when etcd refuses a heartbeat, instead of retrying until the lease expires. etcd refuses a heartbeat
   * if the user may not write one of the lease's keys. Default: false.
   */
  readonly endsWhenRefused?: boolean
}

/** A lease from its grant on. All times are milliseconds of the monotonic clock. */
export class Lease {
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

  constructor(id: LeaseId, { endsWhenRefused = false, ttl }: LeaseOptions, keeper: Keeper, onLost: Lease["onLost"]) {
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
export class Keeper {
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
    heartbeats.updateUnsafe(0, context)
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

/**
 * A lease that is granted on first use, and again on the first use after a loss. Its owner sends the heartbeats.
 *
 * @module
 */
import { type Context, type Duration, Effect, Semaphore } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import * as Session from "../etcd/Session.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { Timers } from "../internal/time/Timers.ts"

/** See the module's description. */
export class LazyLease {
  readonly #etcd: Etcd
  readonly #ttlSeconds: number
  readonly #onLost: () => void
  readonly #granting = Semaphore.makeUnsafe(1)
  #id: LeaseId | undefined
  /** When the last acknowledged heartbeat was sent. */
  #sentAt = -Infinity

  constructor(etcd: Etcd, ttlSeconds: number, onLost: () => void = () => {}) {
    this.#etcd = etcd
    this.#ttlSeconds = ttlSeconds
    this.#onLost = onLost
  }

  /** The lease, or `undefined` if there is none. */
  get id(): LeaseId | undefined {
    return this.#id
  }

  /**
   * Runs an operation under the lease; grants the lease first if there is none. If the lease has ended meanwhile, the
   * operation runs once more under a new lease.
   */
  use<A>(operation: (id: LeaseId) => Effect.Effect<A, EtcdError>): Effect.Effect<A, EtcdError> {
    const run = (recover: (error: EtcdError) => Effect.Effect<A, EtcdError>): Effect.Effect<A, EtcdError> =>
      Effect.flatMap(
        this.#granting.withPermit(Effect.suspend(() => this.#grant())),
        (id) =>
          Effect.catchIf(operation(id), (error) => error.reason._tag === "LeaseNotFound", (error) => {
            this.#forget(id)
            return recover(error)
          })
      )
    return run(() => run(Effect.fail))
  }

  #grant(): Effect.Effect<LeaseId, EtcdError> {
    if (this.#id !== undefined) return Effect.succeed(this.#id)
    return Effect.flatMap(
      monotonicMillis,
      (now) =>
        Effect.map(this.#etcd.leaseGrant({ ttl: this.#ttlSeconds }), ({ id }) => {
          this.#sentAt = now
          this.#id = id
          return id
        })
    )
  }

  #forget(id: LeaseId): void {
    if (this.#id !== id) return
    this.#id = undefined
    this.#onLost()
  }

  /** Whether the last heartbeat was sent more than `millis` ago. */
  isOlderThan(millis: number): Effect.Effect<boolean> {
    return Effect.map(monotonicMillis, (now) => now - this.#sentAt > millis)
  }

  /** Sends a heartbeat if there is a lease. Forgets a lease that does not exist. */
  readonly keepAlive: Effect.Effect<void, EtcdError> = Effect.suspend(() => {
    const id = this.#id
    if (id === undefined) return Effect.void
    return Effect.flatMap(monotonicMillis, (now) =>
      this.#etcd.leaseKeepAlive({ id }).pipe(
        Effect.map(() => {
          this.#sentAt = now
        }),
        Effect.catchIf(
          (error) => error.reason._tag === "LeaseNotFound",
          () => Effect.sync(() => this.#forget(id))
        )
      ))
  })

  /** Revokes the lease, if there is one, and with it all its keys. Keeps the lease if that fails. */
  readonly revoke: Effect.Effect<void, EtcdError> = Effect.suspend(() => {
    const id = this.#id
    if (id === undefined) return Effect.void
    return this.#etcd.leaseRevoke(id).pipe(
      Effect.catchIf((error) => error.reason._tag === "LeaseNotFound", () => Effect.void),
      Effect.andThen(Effect.sync(() => this.#forget(id)))
    )
  })

  /** Revokes the lease for good. Logs a warning if etcd does not answer in time. */
  release(timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.contextWith((context: Context.Context<never>) =>
      this.#id === undefined ?
        Effect.void :
        Effect.asVoid(Session.release(this.#etcd, new Timers(context), this.#id, timeout))
    )
  }
}

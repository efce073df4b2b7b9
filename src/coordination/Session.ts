/**
 * A lease that several locks, leaderships and permits of one process share.
 *
 * Without a session, each lock has a lease of its own.
 *
 * @module
 */
import { Deferred, Duration, Effect, type Scope, Semaphore } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { DeadlineExceeded, EtcdError } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import * as Lease from "../etcd/Session.ts"
import * as Ttl from "../etcd/Ttl.ts"
import { withJson } from "../internal/json.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { monotonicMillis, sleepUntil } from "../internal/time/monotonic.ts"
import { Timers } from "../internal/time/Timers.ts"

/**
 * A lease that is kept alive.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session {
  readonly leaseId: LeaseId
  /**
   * Completes with the cause when the lease is gone or may expire soon.
   *
   * The deadline is the time at which the last acknowledged heartbeat was sent, plus the TTL, minus a tenth of the TTL
   * (at most one second), on the monotonic clock.
   */
  readonly lost: Effect.Effect<EtcdError>
}

/**
 * The options of {@link make}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** How long the lease lasts without a heartbeat: whole seconds, at least 2. Default: 10 seconds. */
  readonly ttl?: Duration.Input
}

/**
 * How long closing the scope may wait for etcd.
 *
 * @internal
 */
export const releaseTimeout: Duration.Duration = Duration.seconds(5)

const maxMarginMillis = 1000

/**
 * Grants a lease and keeps it alive until the scope closes, which revokes it.
 *
 * **Details**
 *
 * Losing the lease loses everything held under the session. Two locks of one name on one session queue in this process,
 * since both would use the same key.
 *
 * Fails with `InvalidOption` before anything is sent, and with an `EtcdError`. Interrupting it leaves no lease behind.
 * One fiber starts, which watches the deadline; it ends with the scope.
 *
 * @example
 * ```ts
 * import { Lock, Session } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const session = yield* Session.make({ ttl: "10 seconds" })
 *   yield* Lock.acquire("/locks/a", { session })
 *   yield* Lock.acquire("/locks/b", { session }) // one lease and one heartbeat for both
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Session, InvalidOption | EtcdError, Etcd | Scope.Scope> =>
  Effect.flatMap(
    Effect.fromResult(checkOptions("Session.make", (check) => Ttl.make(check, options.ttl ?? defaultTtl, undefined))),
    open
  )

/**
 * The default time to live.
 *
 * @internal
 */
export const defaultTtl: Duration.Duration = Duration.seconds(10)

/**
 * Grants the lease of a session, repeatedly while etcd is unreachable.
 *
 * @internal
 */
export const open: (ttl: Ttl.Ttl) => Effect.Effect<Session, EtcdError, Etcd | Scope.Scope> = Effect.fnUntraced(
  function* (
    ttl: Ttl.Ttl
  ): Effect.fn.Return<Session, EtcdError, Etcd | Scope.Scope> {
    const etcd = yield* Etcd
    const context = yield* Effect.context<never>()
    const lease = yield* Lease.make(etcd, new Timers(context), context).open({
      ttl,
      releaseTimeout,
      retry: Backoff.untilBack(Backoff.standard, etcd.recovered)
    })
    const lost = yield* Deferred.make<EtcdError>()
    const margin = Math.min(ttl.seconds * 100, maxMarginMillis)
    yield* Effect.raceFirst(lease.lost, deadline(() => lease.expiresAt() - margin)).pipe(
      Effect.flatMap((cause) => Deferred.succeed(lost, cause)),
      Effect.forkScoped({ startImmediately: true })
    )
    return withJson({ leaseId: lease.leaseId, lost: Deferred.await(lost) })
  }
)

/** Completes when the deadline passes. An acknowledged heartbeat moves the deadline. */
const deadline = (at: () => number): Effect.Effect<EtcdError> =>
  Effect.flatMap(monotonicMillis, (now) =>
    now < at() ? Effect.andThen(sleepUntil(at()), deadline(at)) : Effect.succeed(
      new EtcdError({
        reason: new DeadlineExceeded({ detail: "no heartbeat was acknowledged in time, so the lease may expire" }),
        method: "leaseKeepAlive"
      })
    ))

/** One semaphore for each name in use on a session. */
const turns = new WeakMap<Session, Map<string, Semaphore.Semaphore>>()

/**
 * The semaphore that makes locks of one name on one session take turns.
 *
 * @internal
 */
export const turnOf = (session: Session, name: string): Semaphore.Semaphore => {
  const names = turns.get(session) ?? new Map<string, Semaphore.Semaphore>()
  turns.set(session, names)
  const turn = names.get(name) ?? Semaphore.makeUnsafe(1)
  names.set(name, turn)
  return turn
}

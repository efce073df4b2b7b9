/**
 * Leases: the keys attached to a lease are deleted when it ends.
 *
 * Most programs use {@link make}, which keeps a lease alive until a scope closes. The other functions are etcd's own
 * operations, each sent once. A lease made with {@link grant} expires unless something sends heartbeats.
 *
 * @module
 */
import { Duration, Effect, Option, type Schedule, type Scope } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import * as Session from "../etcd/Session.ts"
import * as Ttl from "../etcd/Ttl.ts"
import { withJson } from "../internal/json.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { Timers } from "../internal/time/Timers.ts"
import type { LeaseLike } from "./Op.ts"
import { leaseId } from "./requests.ts"

/**
 * A lease that is kept alive. Pass it to `Kv.put` as `lease`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly id: LeaseId
  /** Its remaining time and its keys. None if it no longer exists. */
  readonly timeToLive: Effect.Effect<Option.Option<TimeToLive>, EtcdError>
  /** Sends one more heartbeat and returns the remaining time. */
  readonly keepAliveOnce: Effect.Effect<Duration.Duration, EtcdError>
  /**
   * Completes with the cause when the lease is lost: it no longer exists, or one time to live passed without an
   * acknowledged heartbeat.
   *
   * Its keys are deleted now or soon. To continue, make a new lease.
   */
  readonly lost: Effect.Effect<EtcdError>
}

/**
 * The remaining time and the keys of a lease.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimeToLive {
  readonly remaining: Duration.Duration
  /** As granted. */
  readonly granted: Duration.Duration
  /** The keys that are attached to it. Bytes that are not UTF-8 are replaced. */
  readonly keys: ReadonlyArray<string>
}

/**
 * The options of {@link make}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The time between two heartbeats, at most half of the time to live. Default: a third of it. */
  readonly heartbeat?: Duration.Input
  /** How long closing the scope may take. Default: 5 seconds. */
  readonly releaseTimeout?: Duration.Input
  /** The schedule of retries of the grant after a failure that retrying can fix. Default: none. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
}

/**
 * Grants a lease and keeps it alive until the scope closes.
 *
 * **Details**
 *
 * The time to live is at least 2 seconds and rounded up to whole seconds. Fails with `InvalidOption` before anything is
 * sent, and as the grant does. Heartbeats stop when the lease is lost.
 *
 * Closing the scope revokes the lease, which deletes its keys. If etcd does not answer within `releaseTimeout`, a warning
 * is logged and the lease expires. Interrupting the grant leaves no lease behind if etcd still answers.
 *
 * **Example** (Keys that exist as long as the program runs, and come back after the lease was lost)
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Lease } from "@effect-etcd/discovery/kv"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const announce = Effect.gen(function* () {
 *   const lease = yield* Lease.make("10 seconds")
 *   yield* Kv.put("/online/alice", "10.0.0.5:8080", { lease })
 *   return yield* lease.lost
 * }).pipe(Effect.scoped, Effect.forever)
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.forkScoped(announce, { startImmediately: true })
 *   yield* Effect.yieldNow
 *   assert.ok(Option.isSome(yield* Kv.get("/online/alice")))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  ttl: Duration.Input,
  options: Options = {}
): Effect.Effect<Lease, EtcdError | InvalidOption, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const { releaseTimeout, retry, times } = yield* Effect.fromResult(checkOptions("Lease.make", (check) => ({
      times: Ttl.make(check, ttl, options.heartbeat),
      releaseTimeout: check.duration("releaseTimeout", options.releaseTimeout ?? "5 seconds", {
        min: Duration.zero,
        infinite: true
      }),
      retry: options.retry === undefined ? undefined : check.schedule("retry", options.retry)
    })))
    const etcd = yield* Etcd
    const context = yield* Effect.context<never>()
    const { leaseId: id, lost } = yield* Session.make(etcd, new Timers(context), context).open({
      ttl: times,
      releaseTimeout,
      ...(retry === undefined ? {} : { retry })
    })
    const on = Effect.provideService(Etcd, etcd)
    return withJson({ id, lost, timeToLive: on(timeToLive(id)), keepAliveOnce: on(keepAliveOnce(id)) })
  })

/**
 * A lease as granted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Granted {
  readonly id: LeaseId
  /** etcd raises a time to live below its own minimum. */
  readonly ttl: Duration.Duration
}

/** The longest time to live that etcd grants. */
const maxTtl = Duration.seconds(9_000_000_000)

/**
 * Grants a lease of at least 1 second, rounded up to whole seconds, and sends no heartbeats for it.
 *
 * **Gotchas**
 *
 * Without an `id`, a grant whose answer was lost leaves a lease behind until it expires. With an `id` the grant can be
 * repeated: it fails with `LeaseExists` if it was applied before.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Lease } from "@effect-etcd/discovery/kv"
 * import { Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const lease = yield* Lease.grant("10 seconds")
 *   yield* Kv.put("/online/alice", "here", { lease })
 *   yield* TestClock.adjust("9 seconds")
 *   yield* Lease.keepAliveOnce(lease)
 *   yield* TestClock.adjust("9 seconds")
 *   assert.equal(yield* Kv.exists("/online/alice"), true)
 *   yield* TestClock.adjust("1 second")
 *   assert.equal(yield* Kv.exists("/online/alice"), false)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer()), Effect.provide(TestClock.layer())))
 * ```
 *
 * @since 0.1.0
 * @category operations
 */
export const grant = (
  ttl: Duration.Input,
  options: { readonly id?: LeaseId } = {}
): Effect.Effect<Granted, EtcdError | InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const duration = yield* Effect.fromResult(
      checkOptions("Lease.grant", (check) => check.duration("ttl", ttl, { min: Duration.seconds(1), max: maxTtl }))
    )
    const seconds = Math.ceil(Duration.toSeconds(duration))
    const granted = yield* (yield* Etcd).leaseGrant({ ...options, ttl: seconds })
    return withJson({ id: granted.id, ttl: Duration.seconds(granted.ttl) })
  })

/**
 * Revokes a lease and deletes its keys at one revision.
 *
 * **Details**
 *
 * Fails with `LeaseNotFound` if the lease does not exist.
 *
 * @since 0.1.0
 * @category operations
 */
export const revoke = (lease: LeaseLike): Effect.Effect<void, EtcdError, Etcd> =>
  Effect.flatMap(Etcd, (etcd) => Effect.asVoid(etcd.leaseRevoke(leaseId(lease))))

/**
 * Sends one heartbeat and returns the remaining time.
 *
 * **Details**
 *
 * Fails with `LeaseNotFound` if the lease does not exist.
 *
 * @since 0.1.0
 * @category operations
 */
export const keepAliveOnce = (lease: LeaseLike): Effect.Effect<Duration.Duration, EtcdError, Etcd> =>
  Effect.flatMap(
    Etcd,
    (etcd) => Effect.map(etcd.leaseKeepAlive({ id: leaseId(lease) }), ({ ttl }) => Duration.seconds(ttl))
  )

/**
 * Returns the remaining time and the keys of a lease. None if it does not exist.
 *
 * @since 0.1.0
 * @category operations
 */
export const timeToLive = (lease: LeaseLike): Effect.Effect<Option.Option<TimeToLive>, EtcdError, Etcd> =>
  Effect.flatMap(Etcd, (etcd) =>
    Effect.map(
      etcd.leaseTimeToLive({ id: leaseId(lease), keys: true }),
      ({ grantedTtl, keys, ttl }) =>
        ttl < 0 ? Option.none() : Option.some({
          remaining: Duration.seconds(ttl),
          granted: Duration.seconds(grantedTtl),
          keys: keys.map((key) => decoder.decode(key))
        })
    ))

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * The ids of all leases that exist.
 *
 * @since 0.1.0
 * @category operations
 */
export const leases: Effect.Effect<ReadonlyArray<LeaseId>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  (etcd) => Effect.map(etcd.leaseLeases, ({ leases }) => leases)
)

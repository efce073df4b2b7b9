/**
 * Leases: keys attached to one are deleted when it ends.
 *
 * {@link scoped} is what most programs want: a lease that is kept alive for a scope. The rest are etcd's own operations,
 * each sent once; a lease made with {@link grant} ends by itself unless someone sends heartbeats.
 *
 * @module
 */
import { Duration, Effect, Option, Result, type Schedule, type Scope } from "effect"
import { Etcd, invalidArgument, type LeaseId } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { checkOptions, show } from "../internal/options.ts"
import { Timers } from "../internal/time/Timers.ts"
import * as Ttl from "../etcd/Ttl.ts"
import * as Session from "../etcd/Session.ts"
import { leaseId, type LeaseLike } from "./Op.ts"

/** A lease that is kept alive. Give it to `Kv.put` as `lease`. */
export interface Lease {
  readonly id: LeaseId
  /** How long it has left, none when it is gone. */
  readonly timeToLive: Effect.Effect<Option.Option<TimeToLive>, EtcdError>
  /** Sends one heartbeat beside those that are sent anyway; what the lease has left then. */
  readonly keepAliveOnce: Effect.Effect<Duration.Duration, EtcdError>
  /**
   * Completes when the lease is lost, with what showed it: etcd said so, or did not acknowledge a heartbeat for one time
   * to live. Its keys are gone, or will be soon; a new lease is a new {@link scoped}.
   */
  readonly lost: Effect.Effect<EtcdError>
}

/** What is left of a lease. */
export interface TimeToLive {
  readonly remaining: Duration.Duration
  /** As granted. */
  readonly granted: Duration.Duration
  /** The keys that are attached to it. What is not UTF-8 in them is replaced. */
  readonly keys: ReadonlyArray<string>
}

/** How a lease is kept alive. */
export interface ScopedOptions {
  /** How often. Default: every third of the time to live; at most every half. */
  readonly heartbeat?: Duration.Input
  /** How long closing the scope may take. Default: 5 seconds. */
  readonly releaseTimeout?: Duration.Input
  /** When to try the grant again, after a failure that trying again can mend. Default: never. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
}

/**
 * Grants a lease and keeps it alive until the scope closes.
 *
 * The time to live is at least 2 seconds and rounded up to whole ones. Fails with `InvalidArgument` before anything is
 * sent, and as the grant does. One fiber starts, which sends the heartbeats; it ends when the lease is lost.
 *
 * Closing the scope revokes the lease, which deletes its keys. When etcd does not answer within `releaseTimeout`, that
 * is logged as a warning and the lease runs out by itself. Interrupting the grant leaves no lease behind, as far as etcd
 * still answers.
 *
 * @example Keys that are there as long as the program is, and come back when the lease was lost
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Lease } from "@effect-etcd/discovery/kv"
 * import { Effect, Option } from "effect"
 * import assert from "node:assert/strict"
 *
 * const announce = Effect.gen(function* () {
 *   const lease = yield* Lease.scoped("10 seconds")
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
 */
export const scoped = (
  ttl: Duration.Input,
  options: ScopedOptions = {}
): Effect.Effect<Lease, EtcdError, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const { heartbeat, releaseTimeout = "5 seconds", retry } = options
    const checked = checkOptions("Lease.scoped", (check) => ({
      ttl: Ttl.make(check, ttl, heartbeat),
      release: check.duration("releaseTimeout", releaseTimeout, { min: Duration.zero, infinite: true })
    }))
    const { release, ttl: times } = yield* Effect.fromResult(
      Result.mapError(checked, ({ option, rule, value }) =>
        invalidArgument("leaseGrant", `${option} is ${show(value)}; ${rule}`))
    )
    const etcd = yield* Etcd
    const context = yield* Effect.context<never>()
    const { leaseId: id, lost } = yield* Session.make(etcd, new Timers(context), context).open({
      ttl: times,
      releaseTimeout: release,
      ...(retry === undefined ? {} : { retry })
    })
    const on = Effect.provideService(Etcd, etcd)
    return { id, lost, timeToLive: on(timeToLive(id)), keepAliveOnce: on(keepAliveOnce(id)) }
  })

/** A lease that was granted. */
export interface Granted {
  readonly id: LeaseId
  /** As granted: etcd raises what is below its floor. */
  readonly ttl: Duration.Duration
}

/** The longest time to live, in seconds, as etcd has it. */
const maxSeconds = 9_000_000_000

/**
 * Grants a lease that nobody keeps alive, of at least 1 second, rounded up to whole ones.
 *
 * Without an `id` of your own, a grant whose answer was lost leaves a lease behind until it runs out; with one, it can
 * be repeated, and fails with `LeaseExists` when it was granted before.
 *
 * @example
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
 */
export const grant = (
  ttl: Duration.Input,
  options: { readonly id?: LeaseId } = {}
): Effect.Effect<Granted, EtcdError, Etcd> =>
  Effect.gen(function* () {
    const duration = Option.getOrUndefined(Duration.fromInput(ttl))
    const seconds = duration === undefined ? Number.NaN : Math.ceil(Duration.toSeconds(duration))
    if (duration === undefined || !(Duration.toMillis(duration) >= 1000 && seconds <= maxSeconds)) {
      return yield* invalidArgument(
        "leaseGrant",
        `ttl is ${show(ttl)}; it must be a duration of 1 second to ${maxSeconds} seconds`
      )
    }
    const granted = yield* (yield* Etcd).leaseGrant({ ...options, ttl: seconds })
    return { id: granted.id, ttl: Duration.seconds(granted.ttl) }
  })

/** Ends a lease and deletes its keys, at one revision. Fails with `LeaseNotFound` when it is gone already. */
export const revoke = (lease: LeaseLike): Effect.Effect<void, EtcdError, Etcd> =>
  Effect.flatMap(Etcd, (etcd) => Effect.asVoid(etcd.leaseRevoke(leaseId(lease))))

/** Sends one heartbeat; what the lease has left then. Fails with `LeaseNotFound` when it is gone. */
export const keepAliveOnce = (lease: LeaseLike): Effect.Effect<Duration.Duration, EtcdError, Etcd> =>
  Effect.flatMap(
    Etcd,
    (etcd) => Effect.map(etcd.leaseKeepAlive({ id: leaseId(lease) }), ({ ttl }) => Duration.seconds(ttl))
  )

/** How long a lease has left, and its keys; none when it is gone. */
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

/** The ids of all leases that exist. */
export const leases: Effect.Effect<ReadonlyArray<LeaseId>, EtcdError, Etcd> = Effect.flatMap(
  Etcd,
  (etcd) => Effect.map(etcd.leaseLeases, ({ leases }) => leases)
)

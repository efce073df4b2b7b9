/**
 * A lock that one process holds at a time, first come, first served.
 *
 * **Details**
 *
 * Keys and order are those of Go's `clientv3/concurrency`, so `etcdctl lock`, Go programs and this module compete for
 * one name on equal terms. A name is the start of keys; the namespace of the registry is not added.
 *
 * **Gotchas**
 *
 * A lock in a distributed system is a lease. A paused process, or an uninterruptible region, can run on after the
 * lease has expired and another process holds the lock. The fencing token protects against that. Write in a transaction
 * that requires `held.fence`, or let the resource refuse any `held.revision` lower than the highest so far.
 *
 * @example A migration that runs once at a time, guarded by the fence
 * ```ts
 * import { Lock } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Op, Txn } from "@effect-etcd/discovery/kv"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const migrate = Lock.withLock("/locks/migration", { timeout: "1 minute" })((held) =>
 *   Kv.txn(Txn.make({ if: [held.fence], then: [Op.put("/schema/version", "7")] }))
 * )
 *
 * const program = Effect.gen(function* () {
 *   const { succeeded } = yield* migrate
 *   assert.equal(succeeded, true)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Effect, type Option, type Scope } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import type { LockLost, LockTimeout } from "./errors.ts"
import * as Line from "./Line.ts"
import { type AcquireOptions, type Plan, plan } from "./options.ts"

/**
 * A lock that this process holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Held extends Line.Held {}

/**
 * The options of {@link acquire}, {@link tryAcquire} and {@link withLock}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends AcquireOptions {}

const planned = (of: string, name: string, options: Options): Effect.Effect<Plan, InvalidOption> =>
  Effect.fromResult(checkOptions(of, (check) => plan(check, name, options)))

const entry: Line.Entry = { value: "", permits: 1 }

/**
 * Waits for the lock and holds it until the scope closes.
 *
 * **Details**
 *
 * A waiter costs etcd one lease and one watch, on its predecessor only. An outage of etcd prolongs the wait. The wait
 * fails with `LockLost` if the lease is lost meanwhile, with `LockTimeout` after `timeout`, with `InvalidOption` before
 * anything is sent, and with the `EtcdError` of a request that etcd refuses.
 *
 * `held.lost` fails before the lease can have expired in etcd, if the key is deleted, and if the lease is revoked.
 *
 * Closing the scope revokes the lease, which deletes the key. So does an interruption at any point. If etcd does not
 * answer within 5 seconds, a warning is logged and the lease expires. With `session` only the key is deleted. One fiber
 * starts, which watches the key.
 *
 * @example
 * ```ts
 * import { Lock } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const held = yield* Lock.acquire("/locks/orders")
 *   assert.equal(held.key, `/locks/orders/${held.leaseId.toString(16)}`)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = (
  name: string,
  options: Options = {}
): Effect.Effect<Held, InvalidOption | LockLost | LockTimeout | EtcdError, Etcd | Scope.Scope> =>
  Effect.flatMap(planned("Lock.acquire", name, options), (plan) => Line.acquire(plan, entry))

/**
 * Acquires the lock for a scope if nobody holds it or waits for it, and returns `None` otherwise.
 *
 * **Details**
 *
 * Nothing remains in etcd after `None`. `timeout` has no effect. Fails as {@link acquire} does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const tryAcquire = (
  name: string,
  options: Options = {}
): Effect.Effect<Option.Option<Held>, InvalidOption | LockLost | EtcdError, Etcd | Scope.Scope> =>
  Effect.flatMap(planned("Lock.tryAcquire", name, options), (plan) => Line.tryAcquire(plan, entry))

/**
 * Runs an effect while it holds the lock, and interrupts it if the lock is lost.
 *
 * **Details**
 *
 * The lock is released when the effect has ended. If the lock is lost first, the effect is interrupted, its finalizers
 * run, and the result is `LockLost`. Fails as {@link acquire} does, too.
 *
 * **Gotchas**
 *
 * The interruption starts before the lease can have expired, by a tenth of `ttl` and at most one second. Uninterruptible
 * regions run on: protect them with `held.fence`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withLock = (
  name: string,
  options: Options = {}
): <A, E, R>(
  effect: Effect.Effect<A, E, R> | ((held: Held) => Effect.Effect<A, E, R>)
) => Effect.Effect<
  A,
  E | InvalidOption | LockLost | LockTimeout | EtcdError,
  Etcd | Exclude<R, Scope.Scope>
> =>
(effect) =>
  Effect.scoped(Effect.gen(function* () {
    const plan = yield* planned("Lock.withLock", name, options)
    const held = yield* Line.acquire(plan, entry)
    return yield* Effect.raceFirst(typeof effect === "function" ? effect(held) : effect, held.lost)
  }))

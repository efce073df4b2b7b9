/**
 * A barrier: processes wait while it is held.
 *
 * **Details**
 *
 * Compatible with the barrier of etcd's recipes (client/v3/experimental/recipes/barrier.go): it is held while its key
 * exists. The key has no lease, so a barrier outlives the process that holds it.
 *
 * @module
 */
import { Deferred, Effect } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import * as Line from "./Line.ts"
import { validName } from "./options.ts"

/**
 * A barrier: processes wait while its key exists.
 *
 * @since 0.1.0
 * @category models
 */
export interface Barrier {
  /** The key. */
  readonly name: string
  /** Closes the barrier. Returns `false` if it was already closed. */
  readonly hold: Effect.Effect<boolean, EtcdError>
  /** Opens the barrier for all processes. Returns `false` if it was already open. */
  readonly release: Effect.Effect<boolean, EtcdError>
  /** Waits until the barrier is open. Outages of etcd prolong the wait. */
  readonly wait: Effect.Effect<void, EtcdError>
}

/**
 * Makes a barrier whose key is `name`. Nothing is sent.
 *
 * **Details**
 *
 * Fails with `InvalidOption` for an empty name. `hold` and `release` run once, fail with an `EtcdError`, and are safe
 * to repeat. `wait` fails with the `EtcdError` of a request that etcd refuses.
 *
 * @example
 * ```ts
 * import { Barrier } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const barrier = yield* Barrier.make("/barriers/migration")
 *   yield* barrier.hold
 *   yield* Effect.forkScoped(Effect.andThen(Effect.sleep("10 millis"), barrier.release))
 *   yield* barrier.wait
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (name: string): Effect.Effect<Barrier, InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const key = yield* Effect.fromResult(checkOptions("Barrier.make", (check) => validName(check, name)))
    const etcd = yield* Etcd
    return {
      name,
      hold: etcd.txn({
        compare: [{ key, target: "create", result: "equal", value: 0n }],
        then: [{ _tag: "Put", request: { key, value: "" } }]
      }).pipe(Effect.map(({ succeeded }) => succeeded)),
      release: Effect.map(etcd.deleteRange({ key }), ({ deleted }) => deleted > 0n),
      wait: Effect.gen(function* () {
        const opened = yield* Deferred.make<void>()
        const isOpen = (followed: Followed): boolean =>
          (followed._tag === "Listed" && followed.kvs.length === 0) ||
          (followed._tag === "Changed" && followed.events.some(({ type }) => type === "delete"))
        yield* Effect.raceFirst(
          follow(
            etcd,
            { ...Line.followOptions, range: { key } },
            (followed) => isOpen(followed) ? Effect.asVoid(Deferred.succeed(opened, undefined)) : Effect.void
          ),
          Deferred.await(opened)
        )
      })
    }
  })

/**
 * A configuration key whose value reloads itself: as a reference, as a stream, or applied to an effect.
 *
 * **Details**
 *
 * {@link make} is for code that reads the value often, {@link stream} for code that reacts to each state, and
 * {@link apply} for code that runs with the value.
 *
 * A value that does not parse or that the schema refuses is logged, counted (`etcd_config_rejected`) and shown as
 * `rejected`, while the last good value stays. If the first value is bad, the last good one is read from etcd's history,
 * unless that was compacted or is more than 16 values back.
 *
 * @module
 */
import { Effect, Option, type Scope, Stream } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { ConfigRefError } from "./ConfigRefError.ts"
import type { ConfigState } from "./ConfigState.ts"
import type { ConfigSchema } from "./decode.ts"
import { followKey, type Options } from "./followKey.ts"

export { apply, type ApplyOptions } from "./apply.ts"
export type { Options }

/**
 * The state of a configuration key, held in memory.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConfigRef<A> {
  /** The newest state. It never fails: when etcd is unreachable the last state stays, with `freshness` `Stale`. */
  readonly get: Effect.Effect<ConfigState<A>>
  /** The newest state, and later ones. A slow reader skips states. Fails as {@link stream} does. */
  readonly changes: Stream.Stream<ConfigState<A>, ConfigRefError>
}

/**
 * Follows a key until the scope closes, for any number of readers.
 *
 * **Details**
 *
 * It completes when the first state is known, however long etcd takes to answer. It fails as {@link stream} does. One
 * watch in one fiber starts. Nothing is written.
 *
 * **Example**
 *
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { ConfigRef } from "@effect-etcd/discovery/config"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/greeting", value: `"hello"` })
 *   const greeting = yield* ConfigRef.make("/config/greeting", Schema.String)
 *   const state = yield* greeting.get
 *   assert.equal(state._tag === "Present" && state.value, "hello")
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A>(
  key: string,
  schema: ConfigSchema<A>,
  options: Options = {}
): Effect.Effect<ConfigRef<A>, ConfigRefError, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const { changes, current } = yield* followKey("ConfigRef.make", key, schema, options)
    const first = yield* Effect.flatMap(
      Stream.runHead(changes),
      Option.match({ onNone: () => Effect.never, onSome: Effect.succeed })
    )
    return { get: Effect.sync(() => current() ?? first), changes }
  })

/**
 * Emits the current state of a key, then a new one after each change. It never ends by itself.
 *
 * **Details**
 *
 * It emits the first state once a linearizable read has returned it, `Absent` if the key does not exist. A slow consumer
 * receives the newest state and costs constant memory. While etcd is unreachable the last state stays: one element
 * announces that it is `Stale`, one that it is `Live` again. Restarts of etcd and compactions change nothing.
 *
 * Each run of the stream has one watch in one fiber. To share a watch, use {@link make}. Nothing is written.
 *
 * It fails with `InvalidOption` before anything is sent, and with `ConfigRefused` for errors that retrying cannot fix:
 * permission denied, authentication refused, an invalid request. A defect of the schedule `retry` ends it, too.
 *
 * **Example**
 *
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { ConfigRef } from "@effect-etcd/discovery/config"
 * import { Effect, Schema, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/limits", value: `{ "requestsPerSecond": 100 }` })
 *   const states = yield* ConfigRef.stream("/config/limits", Limits).pipe(Stream.take(1), Stream.runCollect)
 *   assert.deepEqual(states.map((state) => state._tag === "Present" && state.value.requestsPerSecond), [100])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const stream = <A>(
  key: string,
  schema: ConfigSchema<A>,
  options: Options = {}
): Stream.Stream<ConfigState<A>, ConfigRefError, Etcd> =>
  Stream.unwrap(Effect.map(followKey("ConfigRef.stream", key, schema, options), ({ changes }) => changes))

/**
 * A live configuration key: as a reference, as a stream, or applied to an effect.
 *
 * **Details**
 *
 * Use {@link make} if you read the value often, {@link stream} if you react to each state, and {@link apply} if an
 * effect runs with the value.
 *
 * If a value does not parse or the schema rejects it, the last good value stays. The bad value is logged (at most 20 a
 * minute), counted (`etcd_discovery_config_rejected_total`) and shown as `rejected`. If the first value is bad, the last
 * good one is read from etcd's history, unless it was compacted or is more than 16 values back.
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
  /** The newest state. Never fails: while etcd is unreachable, the last state stays with `freshness` `Stale`. */
  readonly get: Effect.Effect<ConfigState<A>>
  /** The newest state, then later ones. A slow reader skips states. Fails as {@link stream} does. */
  readonly changes: Stream.Stream<ConfigState<A>, ConfigRefError>
}

/**
 * Follows a key until the scope closes, for any number of readers.
 *
 * **Details**
 *
 * Completes when the first state is known, however long etcd takes to answer. Fails as {@link stream} does. Starts one
 * watch in one fiber. Writes nothing.
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
 * Emits the current state of a key, then a new one after each change. Never ends by itself.
 *
 * **Details**
 *
 * Emits the first state after a linearizable read: `Absent` if the key does not exist. A slow consumer receives the
 * newest state and costs constant memory. While etcd is unreachable the last state stays: one element reports that it
 * is `Stale`, and one that it is `Live` again. Restarts of etcd and compactions have no effect.
 *
 * Each run of the stream has one watch in one fiber. To share a watch, use {@link make}. Writes nothing.
 *
 * Fails with `InvalidOption` before anything is sent. Fails with `ConfigRefused` for errors that retrying cannot fix:
 * permission denied, authentication refused, invalid request. A defect of the schedule `retry` also ends it.
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

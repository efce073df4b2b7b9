/**
 * A configuration value for those who read it often.
 *
 * @module
 */
import { Effect, Option, type Scope, Stream } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { ConfigError } from "./ConfigError.ts"
import type { ConfigState } from "./ConfigState.ts"
import type { ConfigSchema } from "./decode.ts"
import { followConfig, type WatchConfigOptions } from "./followConfig.ts"

/** What is known of a configuration key, at hand without asking etcd. */
export interface ConfigRef<A> {
  /**
   * The newest state. It never fails: whatever becomes of etcd, the last one stays, and `freshness` says how things are.
   */
  readonly get: Effect.Effect<ConfigState<A>>
  /** The newest state, and each later one that the reader is quick enough to see. Fails as `watchConfig` does. */
  readonly changes: Stream.Stream<ConfigState<A>, ConfigError>
}

/**
 * Follows a key for the lifetime of the scope, for any number of readers: one watch, one fiber.
 *
 * `ConfigRef.make` completes when the first state is known, however long etcd takes to answer. What counts as good and
 * what becomes of the rest is as with {@link watchConfig}; it fails as that does.
 *
 * @example
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
 */
export const ConfigRef: {
  readonly make: <A>(
    key: string,
    schema: ConfigSchema<A>,
    options?: WatchConfigOptions
  ) => Effect.Effect<ConfigRef<A>, ConfigError, Etcd | Scope.Scope>
} = {
  make: Effect.fnUntraced(function* <A>(key: string, schema: ConfigSchema<A>, options: WatchConfigOptions = {}) {
    const { changes, current } = yield* followConfig(key, schema, options)
    const first = yield* Stream.runHead(changes)
    // The stream only ends with an error, after `current` was set.
    const get = Effect.suspend(() => Effect.fromOption(Option.orElse(Option.fromUndefinedOr(current()), () => first)))
    return { get: Effect.orDie(get), changes }
  })
}

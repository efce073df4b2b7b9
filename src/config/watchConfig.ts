import { Effect, Stream } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { ConfigError } from "./ConfigError.ts"
import type { ConfigState } from "./ConfigState.ts"
import type { ConfigSchema } from "./decode.ts"
import { followConfig, type WatchConfigOptions } from "./followConfig.ts"

/**
 * What is known of a configuration key, as a stream that never ends by itself: the current state first, a new one after
 * each change.
 *
 * The first state is emitted once a linearizable read has shown it, `Absent` when the key does not exist. A value that
 * does not parse or that the schema refuses is logged, counted (`etcd_config_rejected`) and shown as `rejected`, while
 * the last good value stays; whoever starts, or comes back, while a bad value is there finds the last good one in etcd's
 * history, if that was not compacted and is no more than 16 values back. A slow consumer gets the newest state and costs constant memory. While etcd cannot be
 * reached the last state stays; one element says `Stale`, and one that it is `Live` again. Restarts of etcd and
 * compactions change nothing.
 *
 * Each run of the stream keeps one watch, in one fiber, until it ends; readers that share one use a {@link ConfigRef}.
 * Nothing is written. Fails with `InvalidConfigOption` before anything is sent, and with `ConfigRefused` for what trying
 * again cannot mend: permission denied, authentication refused, an invalid request.
 *
 * @example
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { watchConfig } from "@effect-etcd/discovery/config"
 * import { Effect, Schema, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/limits", value: `{ "requestsPerSecond": 100 }` })
 *   const states = yield* watchConfig("/config/limits", Limits).pipe(Stream.take(1), Stream.runCollect)
 *   assert.deepEqual(states.map((state) => state._tag === "Present" && state.value.requestsPerSecond), [100])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 */
export const watchConfig = <A>(
  key: string,
  schema: ConfigSchema<A>,
  options: WatchConfigOptions = {}
): Stream.Stream<ConfigState<A>, ConfigError, Etcd> =>
  Stream.unwrap(Effect.map(followConfig(key, schema, options), ({ changes }) => changes))

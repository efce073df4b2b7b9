/**
 * Live configuration: values in etcd that reload themselves.
 *
 * A key holds a value, in JSON unless told otherwise, that a schema decodes. {@link watchConfig} is the stream of what is
 * known of it, {@link ConfigRef} keeps that at hand for many readers, {@link onConfigChange} applies each newest value,
 * and {@link etcdConfigProvider} gives the keys below a prefix to Effect's `Config`. A bad value is reported and changes
 * nothing: the last good one stays.
 *
 * All of it runs on the `Etcd` of the context, `EtcdGrpc.layer` or `EtcdMemory.layer`.
 *
 * @example
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { ConfigRef } from "@effect-etcd/discovery/config"
 * import { Effect, Schema, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   yield* etcd.put({ key: "/config/limit", value: "100" })
 *   const limit = yield* ConfigRef.make("/config/limit", Schema.Int)
 *
 *   yield* etcd.put({ key: "/config/limit", value: `"many"` })
 *   const state = yield* limit.changes.pipe(
 *     Stream.filter(({ rejected }) => rejected !== undefined),
 *     Stream.runHead,
 *     Effect.flatMap(Effect.fromOption)
 *   )
 *   assert.equal(state._tag === "Present" && state.value, 100)
 *   assert.equal(state.rejected?.message, `"/config/limit" at revision 3 is not used: Expected number`)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
export { type ConfigError, ConfigRefused, InvalidConfig, InvalidConfigOption } from "./ConfigError.ts"
export { ConfigRef } from "./ConfigRef.ts"
export { type Absent, ConfigState, type Present } from "./ConfigState.ts"
export type { ConfigFormat, ConfigSchema } from "./decode.ts"
export { type EtcdConfigProvider, etcdConfigProvider, type EtcdConfigProviderOptions } from "./etcdConfigProvider.ts"
export type { WatchConfigOptions } from "./followConfig.ts"
export { onConfigChange, type OnConfigChangeOptions } from "./onConfigChange.ts"
export type { FollowConfigOptions } from "./settings.ts"
export { watchConfig } from "./watchConfig.ts"

/**
 * Live configuration: values in etcd that reload themselves.
 *
 * {@link ConfigRef} follows one key, whose value is JSON by default and decoded by a schema. {@link EtcdConfigProvider}
 * provides the keys below a prefix to Effect's `Config`. A bad value is reported and changes nothing: the last good one
 * stays. Both use the `Etcd` of the context, which `EtcdGrpc.layer` or `EtcdMemory.layer` provides.
 *
 * **Example**
 *
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
export { InvalidOption } from "../internal/options.ts"
export * as ConfigRef from "./ConfigRef.ts"
export { type ConfigRefError, ConfigRefused, InvalidConfig } from "./ConfigRefError.ts"
export * as ConfigState from "./ConfigState.ts"
export type { ConfigFormat, ConfigSchema } from "./decode.ts"
export * as EtcdConfigProvider from "./EtcdConfigProvider.ts"
export type { WatchOptions } from "./settings.ts"

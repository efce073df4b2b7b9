/**
 * Keys and values, transactions, leases and watches of etcd, typed by Schema.
 *
 * {@link Kv} has the daily operations, optimistic writes and `watch`. {@link Txn}, {@link Compare} and {@link Op} are the
 * parts of a transaction. {@link Lease} is a lease as a scoped resource.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Lease } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const limit = Kv.key("/app/limit", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(limit, 10)
 *   const raised = yield* Kv.update(limit, (before) => Option.getOrElse(before, () => 0) + 5)
 *   assert.equal(raised.value, 15)
 *
 *   const lease = yield* Lease.make("10 seconds")
 *   yield* Kv.put("/app/nodes/a", "10.0.0.5", { lease })
 *   assert.equal((yield* Kv.getPrefix("/app/nodes/")).entries.length, 1)
 * })
 *
 * // With etcd: EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] })
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
export { InvalidOption } from "../internal/options.ts"
export * as Compare from "./Compare.ts"
export type { Entry, Listing } from "./Entry.ts"
export {
  InvalidValue,
  type Key,
  type KeyLike,
  type Prefix,
  type PrefixLike,
  type ValueCodec,
  type ValueOf
} from "./Key.ts"
export * as Kv from "./Kv.ts"
export * as Lease from "./Lease.ts"
export * as Op from "./Op.ts"
export * as Txn from "./Txn.ts"

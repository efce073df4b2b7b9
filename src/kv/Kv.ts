/**
 * Keys and values of etcd, typed by Schema: the daily operations as functions over an `Etcd`.
 *
 * A plain string is a key (or, where the name of the function says so, a prefix) with values of text. {@link key} and
 * {@link prefix} attach a schema, and every operation takes and returns values of its type.
 *
 * **Details**
 *
 * Each operation is sent once. Interrupting one cancels it on the wire.
 *
 * Invalid input fails before anything is sent: an option with `InvalidOption`, a value that its schema refuses with
 * `InvalidValue`, and a key or a revision that etcd does not allow with `InvalidArgument`.
 *
 * **Gotchas**
 *
 * After `Unavailable` and `DeadlineExceeded` a write may have been applied.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const User = Schema.Struct({ name: Schema.String, admin: Schema.Boolean })
 * const users = Kv.prefix("/users/", User)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put("/motd", "hello")
 *   yield* Kv.put(users.key("alice"), { name: "Alice", admin: true })
 *
 *   const motd = yield* Kv.get("/motd") // Option<Entry<string>>
 *   const alice = yield* Kv.get(users.key("alice")) // Option<Entry<{ name: string, admin: boolean }>>
 *   assert.deepEqual(Option.map(motd, ({ value }) => value), Option.some("hello"))
 *   assert.deepEqual(Option.map(alice, ({ version, value }) => [version, value.name]), Option.some([1n, "Alice"]))
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Effect, Option, Stream } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import { after } from "../etcd/KeyRange.ts"
import { rangeAll } from "../etcd/rangeAll.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { withJson } from "../internal/json.ts"
import * as Compare from "./Compare.ts"
import { type Entry, type Listing, readListingInSlices } from "./Entry.ts"
import { codecFor, type InvalidValue, type KeyLike, type PrefixLike, toPrefix, type ValueOf } from "./Key.ts"
import * as Op from "./Op.ts"
import { rangeRequest, run } from "./requests.ts"
import * as Txn from "./Txn.ts"

export { atomically, type AtomicallyOptions, type Transaction } from "./atomically.ts"
export { UpdateConflict } from "./conflict.ts"
export { bytes, json, key, prefix, text } from "./Key.ts"
export { update, updateEffect, type UpdateOptions } from "./update.ts"
export { type Event, watch, type WatchOptions } from "./watch.ts"

/**
 * Reads a key. Fails with `InvalidValue` if its value does not decode.
 *
 * @since 0.1.0
 * @category reads
 */
export const get = <K extends KeyLike>(
  key: K,
  options?: Op.ReadOptions
): Effect.Effect<Option.Option<Entry<ValueOf<K>>>, EtcdError | InvalidValue, Etcd> => run(Op.get(key, options))

/**
 * Returns whether a key exists.
 *
 * @since 0.1.0
 * @category reads
 */
export const exists = (key: KeyLike, options?: Op.ReadOptions): Effect.Effect<boolean, EtcdError, Etcd> =>
  run(Op.exists(key, options))

/**
 * Returns the number of keys under a prefix, or of all keys if it is empty.
 *
 * @since 0.1.0
 * @category reads
 */
export const count = (prefix: PrefixLike, options?: Op.ReadOptions): Effect.Effect<number, EtcdError, Etcd> =>
  run(Op.count(prefix, options))

/**
 * Reads all keys under a prefix at one revision, or all keys if it is empty.
 *
 * **Details**
 *
 * It reads in as many pages as necessary. A value that does not decode is in `rejected`.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const limits = Kv.prefix("/limits/", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(limits.key("reads"), 100)
 *   yield* Kv.put("/limits/writes", "many")
 *   const { entries, rejected } = yield* Kv.getPrefix(limits)
 *   assert.deepEqual(entries.map(({ key, value }) => [key, value]), [["/limits/reads", 100]])
 *   assert.deepEqual(rejected.map(({ key }) => key), ["/limits/writes"])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category reads
 */
export const getPrefix = <P extends PrefixLike>(
  prefix: P,
  options: Op.ReadOptions = {}
): Effect.Effect<Listing<ValueOf<P>>, EtcdError, Etcd> =>
  Effect.gen(function* () {
    const request = yield* Effect.fromResult(rangeRequest(toPrefix(prefix), options))
    const { header, kvs } = yield* rangeAll(yield* Etcd, request)
    return yield* readListingInSlices(codecFor(prefix), kvs, options.revision ?? header.revision)
  })

/**
 * The options of {@link pages}.
 *
 * @since 0.1.0
 * @category options
 */
export interface PagesOptions extends Op.ReadOptions {
  /** The maximum number of keys in a page. A page that is too large for one response gets fewer. Default: 1,000. */
  readonly pageSize?: number
}

/**
 * Reads all keys under a prefix page by page, all at the revision of the first page.
 *
 * **Details**
 *
 * It reads a page once the page before it has been consumed. There is always a first page, even if it is empty. Fails
 * with `Compacted` if the revision is compacted before the last page: consume faster, or start over.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   for (const name of ["a", "b", "c"]) yield* Kv.put(`/names/${name}`, name)
 *   const pages = yield* Kv.pages("/names/", { pageSize: 2 }).pipe(
 *     Stream.map(({ entries }) => entries.map(({ value }) => value)),
 *     Stream.runCollect
 *   )
 *   assert.deepEqual(pages, [["a", "b"], ["c"]])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category reads
 */
export const pages = <P extends PrefixLike>(
  prefix: P,
  options: PagesOptions = {}
): Stream.Stream<Listing<ValueOf<P>>, EtcdError | InvalidOption, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    const limit = yield* Effect.fromResult(
      checkOptions("Kv.pages", (check) => check.number("pageSize", options.pageSize ?? 1000, { min: 1, whole: true }))
    )
    const request = yield* Effect.fromResult(rangeRequest(toPrefix(prefix), options))
    const etcd = yield* Etcd
    const codec = codecFor(prefix)
    return Stream.paginate({ ...request, limit }, (request) =>
      etcd.range(request).pipe(
        Effect.flatMap(({ header, kvs, more }) => {
          const revision = request.revision ?? header.revision
          const last = kvs.at(-1)
          const next = more && last !== undefined ?
            Option.some({ ...request, key: after(last.key), revision }) :
            Option.none()
          return Effect.map(readListingInSlices(codec, kvs, revision), (listing) => [[listing], next] as const)
        }),
        Effect.catchIf(
          ({ reason }) => reason._tag === "TooLarge" && request.limit > 1,
          () => Effect.succeed([[], Option.some({ ...request, limit: Math.ceil(request.limit / 4) })] as const)
        )
      ))
  }))

/**
 * Writes a key and returns the revision.
 *
 * **Gotchas**
 *
 * Without `lease`, the key is detached from its lease. Fails with `LeaseNotFound` if `lease` does not exist.
 *
 * @since 0.1.0
 * @category writes
 */
export const put = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<bigint, EtcdError | InvalidValue, Etcd> => run(Op.put(key, value, options))

/**
 * Whether a conditional write was applied, or else the current entry of the key.
 *
 * @since 0.1.0
 * @category models
 */
export type Written<Found> =
  | { readonly succeeded: true; readonly revision: bigint }
  | { readonly succeeded: false; readonly current: Found }

/**
 * Writes a key unless it exists.
 *
 * **Details**
 *
 * Also fails with `InvalidValue` if the key exists and its value does not decode.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const first = yield* Kv.putIfAbsent("/leader", "a")
 *   const second = yield* Kv.putIfAbsent("/leader", "b")
 *   assert.ok(first.succeeded && !second.succeeded)
 *   assert.equal(second.current.value, "a")
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category optimistic writes
 */
export const putIfAbsent = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<Written<Entry<ValueOf<K>>>, EtcdError | InvalidValue, Etcd> =>
  Effect.map(
    compareAndSet(key, { revision: 0n }, value, options),
    // The comparison failed at this revision, so the read of the same transaction found the key.
    (written) => written.succeeded ? written : { ...written, current: Option.getOrThrow(written.current) }
  )

/**
 * Writes a key if its last write is still the expected one.
 *
 * **Details**
 *
 * `expected` is an `Entry` that was read, or its revision. With `0n` the key must not exist. The key keeps its lease
 * unless `lease` says otherwise. Also fails with `InvalidValue` if the key was changed and its value does not decode.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const limit = Kv.key("/limit", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   const revision = yield* Kv.put(limit, 10)
 *   yield* Kv.put(limit, 11)
 *   const result = yield* Kv.compareAndSet(limit, { revision }, 20)
 *   assert.ok(!result.succeeded) // result.current has 11
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category optimistic writes
 */
export const compareAndSet = <K extends KeyLike>(
  key: K,
  expected: { readonly revision: bigint },
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<Written<Option.Option<Entry<ValueOf<K>>>>, EtcdError | InvalidValue, Etcd> =>
  Effect.map(
    txn(Txn.make({
      if: [Compare.modRevision(key).equals(expected.revision)],
      then: [Op.put(key, value, { lease: expected.revision === 0n ? 0n : "keep", ...options })],
      else: [Op.get(key)]
    })),
    (result) =>
      result.succeeded ?
        withJson({ succeeded: true, revision: result.revision }) :
        { succeeded: false, current: result.results[0] }
  )

/**
 * Deletes a key and returns whether it existed.
 *
 * @since 0.1.0
 * @category writes
 */
const delete_ = (key: KeyLike): Effect.Effect<boolean, EtcdError, Etcd> => run(Op.delete(key))

export { delete_ as delete }

/**
 * Deletes all keys under a prefix, which must not be empty, and returns their number.
 *
 * @since 0.1.0
 * @category writes
 */
export const deletePrefix = (prefix: PrefixLike): Effect.Effect<number, EtcdError, Etcd> => run(Op.deletePrefix(prefix))

/**
 * Runs a transaction that `Txn.make` describes.
 *
 * **Gotchas**
 *
 * It may also fail with `InvalidValue`: the transaction was applied, but a value it read does not decode.
 *
 * @since 0.1.0
 * @category transactions
 */
export const txn = <Then extends Txn.Ops, Else extends Txn.Ops, E>(
  txn: Txn.Txn<Then, Else, E>
): Effect.Effect<Txn.TxnResult<Then, Else>, EtcdError | E, Etcd> => run(txn)

/**
 * Keys and values of etcd, typed by Schema: the daily operations as functions over an `Etcd`.
 *
 * A plain string stands for a key (or, where the function's name says so, a prefix) with values of text. {@link key} and
 * {@link prefix} attach a schema, and every operation then takes and gives its type:
 *
 * @example
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
 * Each operation is sent once, and nothing is repeated: on `Unavailable` and `DeadlineExceeded` a write may have been
 * applied. Interrupting one cancels it on the wire. Input that cannot be fails before anything is sent: with
 * `InvalidArgument` (an empty key) or {@link InvalidValue} (a value that its schema refuses).
 *
 * @module
 */
import { Data, Effect, Option, Schedule, Stream } from "effect"
import { after, Etcd, invalidArgument, rangeAll, type RequestOp, type ResponseOp } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { Steps } from "../internal/time/Steps.ts"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import * as Backoff from "../etcd/Backoff.ts"
import * as Compare from "./Compare.ts"
import { type Entry, type Listing, readListing } from "./Entry.ts"
import { codecFor, type InvalidValue, type KeyLike, nameOf, type PrefixLike, toPrefix, type ValueOf } from "./Key.ts"
import * as Op from "./Op.ts"
import * as Txn from "./Txn.ts"

export { bytes, json, key, prefix, text } from "./Key.ts"
export { watch } from "./watch.ts"

/** Sends an operation by itself. */
const run = <A, E>(op: Op.Op<A, E>): Effect.Effect<A, EtcdError | E, Etcd> =>
  Effect.gen(function* () {
    const request = yield* Effect.fromResult(op.request)
    const response = yield* send(yield* Etcd, request)
    return yield* Effect.fromResult(op.read(response, response.response.header.revision))
  })

const send = (etcd: Etcd, op: RequestOp): Effect.Effect<ResponseOp, EtcdError> => {
  switch (op._tag) {
    case "Range":
      return Effect.map(etcd.range(op.request), (response) => ({ _tag: "Range", response }))
    case "Put":
      return Effect.map(etcd.put(op.request), (response) => ({ _tag: "Put", response }))
    case "DeleteRange":
      return Effect.map(etcd.deleteRange(op.request), (response) => ({ _tag: "DeleteRange", response }))
    case "Txn":
      return Effect.map(etcd.txn(op.request), (response) => ({ _tag: "Txn", response }))
  }
}

/** Reads a key. Fails with `InvalidValue` when its value is none. */
export const get = <K extends KeyLike>(
  key: K,
  options?: Op.ReadOptions
): Effect.Effect<Option.Option<Entry<ValueOf<K>>>, EtcdError | InvalidValue, Etcd> => run(Op.get(key, options))

/** Whether a key exists. */
export const exists = (key: KeyLike, options?: Op.ReadOptions): Effect.Effect<boolean, EtcdError, Etcd> =>
  run(Op.exists(key, options))

/** The number of keys under a prefix; an empty one is that of all keys. */
export const count = (prefix: PrefixLike, options?: Op.ReadOptions): Effect.Effect<number, EtcdError, Etcd> =>
  run(Op.count(prefix, options))

/**
 * Reads all keys under a prefix at one revision, in as many pages as that takes; an empty prefix is that of all keys.
 * A value that is none is in `rejected`.
 *
 * @example
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
 */
export const getPrefix = <P extends PrefixLike>(
  prefix: P,
  options: Op.ReadOptions = {}
): Effect.Effect<Listing<ValueOf<P>>, EtcdError, Etcd> =>
  Effect.gen(function* () {
    const request = yield* Effect.fromResult(Op.rangeRequest(toPrefix(prefix), options))
    const { header, kvs } = yield* rangeAll(yield* Etcd, request)
    return readListing(codecFor(prefix), kvs, options.revision ?? header.revision)
  })

/** How to read in pages. */
export interface PagesOptions extends Op.ReadOptions {
  /** Keys in a page at most; one that is too large for an answer gets fewer. Default: 1,000. */
  readonly pageSize?: number
}

/**
 * Reads all keys under a prefix, page by page, all at the revision of the first page, which there always is.
 *
 * A page is asked for when the one before has been taken. Fails with `Compacted` when the revision is compacted before
 * the last page: read on quickly, or start over.
 *
 * @example
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
 */
export const pages = <P extends PrefixLike>(
  prefix: P,
  { pageSize = 1000, ...options }: PagesOptions = {}
): Stream.Stream<Listing<ValueOf<P>>, EtcdError, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    const request = yield* Effect.fromResult(Op.rangeRequest(toPrefix(prefix), options))
    if (!Number.isSafeInteger(pageSize) || pageSize < 1) {
      return yield* invalidArgument("range", `pageSize must be a whole number above 0, got ${pageSize}`, nameOf(prefix))
    }
    const etcd = yield* Etcd
    const codec = codecFor(prefix)
    return Stream.paginate({ ...request, limit: pageSize }, (request) =>
      etcd.range(request).pipe(
        Effect.map(({ header, kvs, more }) => {
          const revision = request.revision ?? header.revision
          const last = kvs.at(-1)
          const next = more && last !== undefined ?
            Option.some({ ...request, key: after(last.key), revision }) :
            Option.none()
          return [[readListing(codec, kvs, revision)], next] as const
        }),
        Effect.catchIf(
          ({ reason }) => reason._tag === "TooLarge" && request.limit > 1,
          () => Effect.succeed([[], Option.some({ ...request, limit: Math.ceil(request.limit / 4) })] as const)
        )
      ))
  }))

/**
 * Writes a key. Answers with the revision.
 *
 * Without `lease`, a lease that the key had is dropped. Fails with `LeaseNotFound` when the lease is gone.
 */
export const put = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<bigint, EtcdError | InvalidValue, Etcd> => run(Op.put(key, value, options))

/** Whether a conditional write was applied, and if not, what was there instead. */
export type Written<Found> =
  | { readonly succeeded: true; readonly revision: bigint }
  | { readonly succeeded: false; readonly current: Found }

/**
 * Writes a key unless it exists. Fails with `InvalidValue`, too, when it exists and its value is none.
 *
 * @example
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
 */
export const putIfAbsent = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<Written<Entry<ValueOf<K>>>, EtcdError | InvalidValue, Etcd> =>
  Effect.map(
    compareAndSet(key, { revision: 0n }, value, options),
    // What is not absent at this revision is there at this revision.
    (written) => written.succeeded ? written : { ...written, current: Option.getOrThrow(written.current) }
  )

/**
 * Writes a key if its last write is still the one that was seen: an `Entry` that was read, or its revision (`0n`: the
 * key must not exist). The key keeps its lease unless told otherwise.
 *
 * Fails with `InvalidValue`, too, when the key was changed and its value is none.
 *
 * @example
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
 */
export const compareAndSet = <K extends KeyLike>(
  key: K,
  expected: { readonly revision: bigint },
  value: ValueOf<K>,
  options?: Op.PutOptions
): Effect.Effect<Written<Option.Option<Entry<ValueOf<K>>>>, EtcdError | InvalidValue, Etcd> =>
  Effect.map(
    txn(
      Txn.when(Compare.modRevision(key).equals(expected.revision))
        .then(Op.put(key, value, { lease: expected.revision === 0n ? 0n : "keep", ...options }))
        .otherwise(Op.get(key))
    ),
    (result) =>
      result.succeeded ?
        { succeeded: true, revision: result.revision } :
        { succeeded: false, current: result.results[0] }
  )

const UpdateConflictBase: TaggedErrorClass<"UpdateConflict", {
  readonly key: string
  readonly attempts: number
}> = Data.TaggedError("UpdateConflict")

/** An update was given up: each time, somebody else wrote the key between its read and its write. */
export class UpdateConflict extends UpdateConflictBase {
  override get message(): string {
    return `cannot update ${
      JSON.stringify(this.key)
    }: others wrote it during each of ${this.attempts} attempts; allow more with \`retry\``
  }
}

/** How to update. */
export interface UpdateOptions extends Op.PutOptions {
  /** When to try again after a conflict. Default: up to 20 times, after 10 ms doubling up to 1 s, with full jitter. */
  readonly retry?: Schedule.Schedule<unknown>
}

const conflictRetry: Schedule.Schedule<unknown> = Schedule.max([
  Backoff.fullJitter("10 millis", "1 second"),
  Schedule.recurs(20)
])

/**
 * Writes what `f` makes of the value that a key has, or of none, and answers with the new entry.
 *
 * Optimistic: it reads, and writes on the condition that nobody else has written meanwhile; otherwise it begins again
 * after the delay of `retry`. So `f` may run many times, and no update of others is lost. The key keeps its lease
 * unless told otherwise.
 *
 * Fails with `UpdateConflict` when `retry` runs out. It tries nothing again but a conflict: on `Unavailable` and
 * `DeadlineExceeded` the update may have been applied, and to repeat it could apply it twice.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const visits = Kv.key("/visits", Schema.Int)
 * const visit = Kv.update(visits, (before) => Option.getOrElse(before, () => 0) + 1)
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.all(Array.from({ length: 5 }, () => visit), { concurrency: "unbounded" })
 *   const { value, version } = yield* visit
 *   assert.deepEqual([value, version], [6, 6n])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 */
export const update = <K extends KeyLike>(
  key: K,
  f: (before: Option.Option<ValueOf<K>>) => ValueOf<K>,
  options?: UpdateOptions
): Effect.Effect<Entry<ValueOf<K>>, EtcdError | InvalidValue | UpdateConflict, Etcd> =>
  updateEffect(key, (before) => Effect.sync(() => f(before)), options)

/** The place in history of a key that does not exist. */
const absent = { revision: 0n, createRevision: 0n, version: 0n, lease: 0n }

/** As {@link update}, with an effect. When that fails nothing is written, and the update fails with it. */
export const updateEffect = <K extends KeyLike, E, R>(
  key: K,
  f: (before: Option.Option<ValueOf<K>>) => Effect.Effect<ValueOf<K>, E, R>,
  { retry = conflictRetry, ...options }: UpdateOptions = {}
): Effect.Effect<Entry<ValueOf<K>>, EtcdError | InvalidValue | UpdateConflict | E, Etcd | R> =>
  Effect.gen(function* () {
    const steps = new Steps(retry)
    for (let attempts = 1;; attempts++) {
      const before = yield* get(key)
      const value = yield* f(Option.map(before, ({ value }) => value))
      const seen = Option.getOrElse(before, () => absent)
      const lease = options.lease === undefined || options.lease === "keep" ? seen.lease : Op.leaseId(options.lease)
      const written = yield* compareAndSet(key, seen, value, { lease })
      if (written.succeeded) {
        const { revision } = written
        const createRevision = seen.createRevision === 0n ? revision : seen.createRevision
        return { key: nameOf(key), value, revision, createRevision, version: seen.version + 1n, lease }
      }
      const delay = yield* steps.next(undefined)
      if (Option.isNone(delay)) return yield* new UpdateConflict({ key: nameOf(key), attempts })
      yield* Effect.sleep(delay.value)
    }
  })

const delete_ = (key: KeyLike): Effect.Effect<boolean, EtcdError, Etcd> => run(Op.delete(key))

export {
  /** Deletes a key. Answers whether there was one. */
  delete_ as delete
}

/** Deletes all keys under a prefix, which must not be empty. Answers how many there were. */
export const deletePrefix = (prefix: PrefixLike): Effect.Effect<number, EtcdError, Etcd> => run(Op.deletePrefix(prefix))

/**
 * Runs a transaction. Fails with `InvalidValue`, too, when it was applied and a value that it read is none.
 */
export const txn = <Then extends Txn.Ops, Else extends Txn.Ops, E>(
  txn: Txn.Txn<Then, Else, E>
): Effect.Effect<Txn.TxnResult<Then, Else>, EtcdError | E, Etcd> => run(txn)

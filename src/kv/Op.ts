/**
 * Operations as values, for a Txn; each is also a function of `Kv` that runs it by itself.
 *
 * The keys that one Txn writes must differ. An operation sees what those before it have written.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Op, Txn } from "@effect-etcd/discovery/kv"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put("/a", "1")
 *   // Without conditions: both or neither, and the count after them.
 *   const moved = yield* Kv.txn(Txn.when().then(Op.delete("/a"), Op.put("/b", "1"), Op.count("/")))
 *   assert.deepEqual(moved.results, [true, moved.revision, 1])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Option, Result } from "effect"
import {
  type DeleteRangeResponse,
  invalidArgument,
  type KeyRange,
  type LeaseId,
  type PutRequest,
  type RangeRequest,
  type RangeResponse,
  type RequestOp,
  type ResponseOp
} from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { type Entry, type Listing, readEntry, readListing } from "./Entry.ts"
import {
  type AnyPrefix,
  codecFor,
  encode,
  type InvalidValue,
  type KeyLike,
  nameOf,
  type PrefixLike,
  rangeOf,
  toPrefix,
  type ValueOf
} from "./Key.ts"

/** An operation that answers with `A`; `E` is what can be wrong with a value. */
export interface Op<out A, out E = never> {
  /** What etcd is asked, or why it cannot be. */
  readonly request: Result.Result<RequestOp, EtcdError | E>
  /** The answer, made at `revision`. */
  readonly read: (response: ResponseOp, revision: bigint) => Result.Result<A, E>
}

/** How to read. */
export interface ReadOptions {
  /** The state at this revision. Default: the newest. */
  readonly revision?: bigint
  /** Read what the asked member has, which may be old. Default `false`: linearizable. */
  readonly serializable?: boolean
}

/** How to write. */
export interface PutOptions {
  /**
   * The lease the key is attached to from now on: its id, a `Lease`, or `"keep"` for the one that the key has (etcd then
   * refuses to create the key). Default: none; one that the key had is dropped.
   */
  readonly lease?: LeaseLike | "keep"
}

/** A lease, or its id. */
export type LeaseLike = LeaseId | { readonly id: LeaseId }

/** Reads a key. */
export const get = <K extends KeyLike>(
  key: K,
  options: ReadOptions = {}
): Op<Option.Option<Entry<ValueOf<K>>>, InvalidValue> => {
  const codec = codecFor(key)
  return range(
    rangeRequest(key, options),
    ({ kvs: [kv] }) => kv === undefined ? Result.succeed(Option.none()) : Result.map(readEntry(codec, kv), Option.some)
  )
}

/** Reads all keys under a prefix, in one answer. */
export const getPrefix = <P extends PrefixLike>(prefix: P, options: ReadOptions = {}): Op<Listing<ValueOf<P>>> => {
  const codec = codecFor(prefix)
  return range(
    rangeRequest(toPrefix(prefix), options),
    ({ kvs }, revision) => Result.succeed(readListing(codec, kvs, options.revision ?? revision))
  )
}

/** Whether a key exists. */
export const exists = (key: KeyLike, options: ReadOptions = {}): Op<boolean> =>
  range(counting(key, options), ({ count }) => Result.succeed(count > 0n))

/** The number of keys under a prefix. */
export const count = (prefix: PrefixLike, options: ReadOptions = {}): Op<number> =>
  range(counting(toPrefix(prefix), options), ({ count }) => Result.succeed(Number(count)))

/** Writes a key. Answers with the revision. */
export const put = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options: PutOptions = {}
): Op<bigint, InvalidValue> => ({
  request: Result.gen(function* () {
    const { key: name } = yield* rangeOf("put", key)
    const request: PutRequest = { key: name, value: yield* encode(key, value), ...leaseOf(options.lease) }
    return { _tag: "Put" as const, request }
  }),
  read: (_, revision) => Result.succeed(revision)
})

const leaseOf = (lease: PutOptions["lease"]): Pick<PutRequest, "lease" | "ignoreLease"> => {
  if (lease === undefined) return {}
  if (lease === "keep") return { ignoreLease: true }
  return { lease: leaseId(lease) }
}

/** The id of a lease. */
export const leaseId = (lease: LeaseLike): LeaseId => typeof lease === "bigint" ? lease : lease.id

const delete_ = (key: KeyLike): Op<boolean> => deletion(rangeOf("deleteRange", key), ({ deleted }) => deleted > 0n)

export {
  /** Deletes a key. Answers whether there was one. */
  delete_ as delete
}

/** Deletes all keys under a prefix, which must not be empty. Answers how many there were. */
export const deletePrefix = (prefix: PrefixLike): Op<number> => {
  const target = toPrefix(prefix)
  return deletion(
    target.name === "" ?
      Result.fail(invalidArgument("deleteRange", "a prefix of keys to be deleted is not empty", "")) :
      rangeOf("deleteRange", target),
    ({ deleted }) => Number(deleted)
  )
}

/** The request of a read. */
export const rangeRequest = (
  target: KeyLike | AnyPrefix,
  options: ReadOptions
): Result.Result<RangeRequest, EtcdError> =>
  Result.flatMap(rangeOf("range", target), (range) => {
    const { revision, serializable = false } = options
    if (revision === undefined) return Result.succeed({ ...range, serializable })
    return revision > 0n ?
      Result.succeed({ ...range, serializable, revision }) :
      Result.fail(invalidArgument("range", `the revision must be above 0, got ${revision}`, nameOf(target)))
  })

const counting = (target: KeyLike | AnyPrefix, options: ReadOptions): Result.Result<RangeRequest, EtcdError> =>
  Result.map(rangeRequest(target, options), (request) => ({ ...request, countOnly: true }))

const range = <A, E>(
  request: Result.Result<RangeRequest, EtcdError>,
  read: (response: RangeResponse, revision: bigint) => Result.Result<A, E>
): Op<A, E> => ({
  request: Result.map(request, (request) => ({ _tag: "Range", request })),
  read: (response, revision) => response._tag === "Range" ? read(response.response, revision) : unasked(response)
})

const deletion = <A>(
  request: Result.Result<KeyRange, EtcdError>,
  read: (response: DeleteRangeResponse) => A
): Op<A> => ({
  request: Result.map(request, (request) => ({ _tag: "DeleteRange", request })),
  read: (response) => response._tag === "DeleteRange" ? Result.succeed(read(response.response)) : unasked(response)
})

/** No `Etcd` answers so. */
export const unasked = ({ _tag }: ResponseOp): never => {
  throw new Error(`etcd gave the answer to a ${_tag}, which was not asked`)
}

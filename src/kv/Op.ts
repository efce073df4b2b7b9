/**
 * Operations as values, for a transaction. `Kv` has a function of the same name that sends each by itself.
 *
 * **Gotchas**
 *
 * One transaction writes each key at most once. An operation reads the writes of the operations before it.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv, Op, Txn } from "@effect-etcd/discovery/kv"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put("/a", "1")
 *   // Without conditions: both writes or neither, and the count after them.
 *   const moved = yield* Kv.txn(Txn.make({ then: [Op.delete("/a"), Op.put("/b", "1"), Op.count("/")] }))
 *   assert.deepEqual(moved.results, [true, moved.revision, 1])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Option, Result } from "effect"
import { invalidArgument } from "../etcd/invalidArgument.ts"
import type { KeyRange } from "../etcd/KeyRange.ts"
import type { DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse } from "../etcd/messages/kv.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { type Entry, type Listing, readEntry, readListing } from "./Entry.ts"
import {
  codecFor,
  encode,
  type InvalidValue,
  type KeyLike,
  type PrefixLike,
  rangeOf,
  toPrefix,
  type ValueOf
} from "./Key.ts"
import {
  checkLease,
  leaseId,
  type LeaseLike,
  type Op,
  rangeRequest,
  type ReadOptions,
  unexpectedResponse
} from "./requests.ts"

export type { LeaseLike, Op, ReadOptions }

/**
 * The options of writes.
 *
 * @since 0.1.0
 * @category options
 */
export interface PutOptions {
  /**
   * The lease to attach the key to: an id, a `Lease`, or `"keep"` for the lease that the key has.
   *
   * With `"keep"` etcd refuses to create the key. Default: none, which detaches the key from its lease.
   */
  readonly lease?: LeaseLike | "keep"
}

/**
 * Reads a key.
 *
 * @since 0.1.0
 * @category operations
 */
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

/**
 * Reads all keys under a prefix in one response.
 *
 * @since 0.1.0
 * @category operations
 */
export const getPrefix = <P extends PrefixLike>(prefix: P, options: ReadOptions = {}): Op<Listing<ValueOf<P>>> => {
  const codec = codecFor(prefix)
  return range(
    rangeRequest(toPrefix(prefix), options),
    ({ kvs }, revision) => Result.succeed(readListing(codec, kvs, options.revision ?? revision))
  )
}

/**
 * Returns whether a key exists.
 *
 * @since 0.1.0
 * @category operations
 */
export const exists = (key: KeyLike, options: ReadOptions = {}): Op<boolean> =>
  range(counting(key, options), ({ count }) => Result.succeed(count > 0n))

/**
 * Returns the number of keys under a prefix.
 *
 * @since 0.1.0
 * @category operations
 */
export const count = (prefix: PrefixLike, options: ReadOptions = {}): Op<number> =>
  range(counting(toPrefix(prefix), options), ({ count }) => Result.succeed(Number(count)))

/**
 * Writes a key and returns the revision.
 *
 * @since 0.1.0
 * @category operations
 */
export const put = <K extends KeyLike>(
  key: K,
  value: ValueOf<K>,
  options: PutOptions = {}
): Op<bigint, InvalidValue> => ({
  request: Result.gen(function* () {
    const { key: name } = yield* rangeOf("put", key)
    const lease = yield* leaseOf(options.lease)
    const request: PutRequest = { key: name, value: yield* encode(key, value), ...lease }
    return { _tag: "Put" as const, request }
  }),
  read: (_, revision) => Result.succeed(revision)
})

const leaseOf = (
  lease: PutOptions["lease"]
): Result.Result<Pick<PutRequest, "lease" | "ignoreLease">, EtcdError> => {
  if (lease === undefined) return Result.succeed({})
  if (lease === "keep") return Result.succeed({ ignoreLease: true })
  return Result.map(checkLease(leaseId(lease)), (lease) => ({ lease }))
}

/**
 * Deletes a key and returns whether it existed.
 *
 * @since 0.1.0
 * @category operations
 */
const delete_ = (key: KeyLike): Op<boolean> => deletion(rangeOf("deleteRange", key), ({ deleted }) => deleted > 0n)

export { delete_ as delete }

/**
 * Deletes all keys under a prefix, which must not be empty, and returns their number.
 *
 * @since 0.1.0
 * @category operations
 */
export const deletePrefix = (prefix: PrefixLike): Op<number> => {
  const target = toPrefix(prefix)
  return deletion(
    target.name === "" ?
      Result.fail(invalidArgument("deleteRange", "the prefix of keys to delete must not be empty", "")) :
      rangeOf("deleteRange", target),
    ({ deleted }) => Number(deleted)
  )
}

const counting = (target: KeyLike | PrefixLike, options: ReadOptions): Result.Result<RangeRequest, EtcdError> =>
  Result.map(rangeRequest(target, options), (request) => ({ ...request, countOnly: true }))

const range = <A, E>(
  request: Result.Result<RangeRequest, EtcdError>,
  read: (response: RangeResponse, revision: bigint) => Result.Result<A, E>
): Op<A, E> => ({
  request: Result.map(request, (request) => ({ _tag: "Range", request })),
  read: (response, revision) =>
    response._tag === "Range" ? read(response.response, revision) : unexpectedResponse(response)
})

const deletion = <A>(
  request: Result.Result<KeyRange, EtcdError>,
  read: (response: DeleteRangeResponse) => A
): Op<A> => ({
  request: Result.map(request, (request) => ({ _tag: "DeleteRange", request })),
  read: (response) =>
    response._tag === "DeleteRange" ? Result.succeed(read(response.response)) : unexpectedResponse(response)
})

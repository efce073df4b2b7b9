/**
 * What the operations share: requests, sending them, and lease ids.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { invalidArgument } from "../etcd/invalidArgument.ts"
import type { RangeRequest, RequestOp, ResponseOp } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { show } from "../internal/options.ts"
import { type KeyLike, nameOf, type PrefixLike, rangeOf } from "./Key.ts"

/**
 * An operation that returns `A`. `E` is the error for a value that does not encode or decode.
 *
 * @since 0.1.0
 * @category models
 */
export interface Op<out A, out E = never> {
  /** The request, or why it is invalid. */
  readonly request: Result.Result<RequestOp, EtcdError | E>
  /** Reads the response, which etcd made at `revision`. */
  readonly read: (response: ResponseOp, revision: bigint) => Result.Result<A, E>
}

/**
 * The options of reads.
 *
 * @since 0.1.0
 * @category options
 */
export interface ReadOptions {
  /** Read the state at this revision. Default: the newest. */
  readonly revision?: bigint
  /** Read the local state of the member, which may be stale. Default: `false`, a linearizable read. */
  readonly serializable?: boolean
}

/**
 * A lease or its id.
 *
 * @since 0.1.0
 * @category models
 */
export type LeaseLike = LeaseId | { readonly id: LeaseId }

/** Sends an operation by itself. */
export const run = <A, E>(op: Op<A, E>): Effect.Effect<A, EtcdError | E, Etcd> =>
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

/** The request of a read. */
export const rangeRequest = (
  target: KeyLike | PrefixLike,
  options: ReadOptions
): Result.Result<RangeRequest, EtcdError> =>
  Result.flatMap(rangeOf("range", target), (range) => {
    const { revision, serializable = false } = options
    if (revision === undefined) return Result.succeed({ ...range, serializable })
    return isRevision(revision) ?
      Result.succeed({ ...range, serializable, revision }) :
      Result.fail(invalidArgument("range", `the revision is ${show(revision)}; ${revisionRule}`, nameOf(target)))
  })

/** The rule for a revision to read or to start at. */
export const revisionRule = "it must be a bigint above 0, such as 7n"

export const isRevision = (revision: bigint): boolean => typeof revision === "bigint" && revision > 0n

/** The id of a lease. Anything else stays as it is, so that {@link checkLease} refuses it. */
export const leaseId = (lease: LeaseLike): LeaseId =>
  typeof lease === "object" && lease !== null && "id" in lease ? lease.id : lease

/** A key whose lease is not one would never expire. */
export const checkLease = (lease: LeaseId): Result.Result<LeaseId, EtcdError> =>
  typeof lease === "bigint" ?
    Result.succeed(lease) :
    Result.fail(invalidArgument("put", `a lease must be a Lease or a bigint, not ${show(lease)}`))

/** Throws for a response whose kind is not that of the request. No `Etcd` returns one. */
export const unexpectedResponse = ({ _tag }: ResponseOp): never => {
  throw new Error(`etcd returned a ${_tag} response to another kind of request`)
}

/**
 * The messages of etcd's KV service: reads, writes, transactions and compaction.
 *
 * @module
 */
import type { Bytes, KeyRange } from "../KeyRange.ts"
import type { LeaseId } from "./lease.ts"
import type { ResponseHeader } from "./ResponseHeader.ts"

/**
 * A key with its value, its revisions and its lease.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyValue {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly createRevision: bigint
  readonly modRevision: bigint
  /** The number of writes since the key was created: `1n` after the first. */
  readonly version: bigint
  /** The lease that the key is attached to; `0n` for none. */
  readonly lease: LeaseId
}

/**
 * A read of one key or of a range.
 *
 * @since 0.1.0
 * @category requests
 */
export interface RangeRequest extends KeyRange {
  /** At most this many keys; `0` (the default) means all. `more` is true if keys remain. */
  readonly limit?: number
  /** Reads the state at this revision. Default: the newest. */
  readonly revision?: bigint
  /** Default: ascending by key. */
  readonly sort?: {
    readonly target: "key" | "version" | "create" | "mod" | "value"
    readonly order: "ascend" | "descend"
  }
  /** Reads the local state of the member, which may be stale. Default `false`: linearizable. */
  readonly serializable?: boolean
  /** Leaves the values out. */
  readonly keysOnly?: boolean
  /** Reads only the number of keys. */
  readonly countOnly?: boolean
  readonly minModRevision?: bigint
  readonly maxModRevision?: bigint
  readonly minCreateRevision?: bigint
  readonly maxCreateRevision?: bigint
}

/**
 * The keys that a range read.
 *
 * @since 0.1.0
 * @category responses
 */
export interface RangeResponse {
  readonly header: ResponseHeader
  readonly kvs: ReadonlyArray<KeyValue>
  /** Whether `limit` left out keys. */
  readonly more: boolean
  /** The number of keys in the range, regardless of `limit`. */
  readonly count: bigint
}

/**
 * A write of one key.
 *
 * @since 0.1.0
 * @category requests
 */
export interface PutRequest {
  readonly key: Bytes
  readonly value: Bytes
  /** The lease to attach the key to. Default `0n`: none, which detaches an earlier lease. */
  readonly lease?: LeaseId
  /** Returns the previous value of the key. */
  readonly prevKv?: boolean
  /** Keeps the current value. The key must exist and `value` must be empty. */
  readonly ignoreValue?: boolean
  /** Keeps the current lease. The key must exist and `lease` must be missing. */
  readonly ignoreLease?: boolean
}

/**
 * The response to a put.
 *
 * @since 0.1.0
 * @category responses
 */
export interface PutResponse {
  readonly header: ResponseHeader
  readonly prevKv?: KeyValue
}

/**
 * A deletion of one key or of a range.
 *
 * @since 0.1.0
 * @category requests
 */
export interface DeleteRangeRequest extends KeyRange {
  /** Returns the deleted keys and values. */
  readonly prevKv?: boolean
}

/**
 * The response to a deletion.
 *
 * @since 0.1.0
 * @category responses
 */
export interface DeleteRangeResponse {
  readonly header: ResponseHeader
  /** The number of deleted keys. */
  readonly deleted: bigint
  /** Empty unless requested. */
  readonly prevKvs: ReadonlyArray<KeyValue>
}

/**
 * A condition on one key, or with `rangeEnd` on each key of the range.
 *
 * **Details**
 *
 * A key that does not exist has version, create revision, mod revision and lease `0n`. A comparison of its value is
 * false.
 *
 * @since 0.1.0
 * @category requests
 */
export type Compare =
  & KeyRange
  & { readonly result: "equal" | "notEqual" | "greater" | "less" }
  & (
    | { readonly target: "version" | "create" | "mod" | "lease"; readonly value: bigint }
    | { readonly target: "value"; readonly value: Bytes }
  )

/**
 * One operation inside a Txn.
 *
 * @since 0.1.0
 * @category requests
 */
export type RequestOp =
  | { readonly _tag: "Range"; readonly request: RangeRequest }
  | { readonly _tag: "Put"; readonly request: PutRequest }
  | { readonly _tag: "DeleteRange"; readonly request: DeleteRangeRequest }
  | { readonly _tag: "Txn"; readonly request: TxnRequest }

/**
 * Runs `then` if every comparison holds and `else` otherwise, at one revision or not at all.
 *
 * @since 0.1.0
 * @category requests
 */
export interface TxnRequest {
  readonly compare?: ReadonlyArray<Compare>
  readonly then?: ReadonlyArray<RequestOp>
  readonly else?: ReadonlyArray<RequestOp>
}

/**
 * The response to one operation inside a Txn. Only the header of the whole Txn is complete.
 *
 * @since 0.1.0
 * @category responses
 */
export type ResponseOp =
  | { readonly _tag: "Range"; readonly response: RangeResponse }
  | { readonly _tag: "Put"; readonly response: PutResponse }
  | { readonly _tag: "DeleteRange"; readonly response: DeleteRangeResponse }
  | { readonly _tag: "Txn"; readonly response: TxnResponse }

/**
 * The response to a Txn.
 *
 * @since 0.1.0
 * @category responses
 */
export interface TxnResponse {
  readonly header: ResponseHeader
  /** Whether the comparisons held. */
  readonly succeeded: boolean
  /** One response for each operation of the branch that ran, in order. */
  readonly responses: ReadonlyArray<ResponseOp>
}

/**
 * A compaction.
 *
 * @since 0.1.0
 * @category requests
 */
export interface CompactRequest {
  /** History before this revision is dropped. */
  readonly revision: bigint
  /** Responds after the space is freed. */
  readonly physical?: boolean
}

/**
 * The response to a compaction.
 *
 * @since 0.1.0
 * @category responses
 */
export interface CompactResponse {
  readonly header: ResponseHeader
}

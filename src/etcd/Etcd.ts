/**
 * The contract with etcd: its KV, Lease, Watch and Maintenance services in etcd's own terms, as one Effect service.
 *
 * Everything else in this package uses {@link Etcd} and does not depend on the transport. There are two
 * implementations: `EtcdGrpc` for servers, and `EtcdMemory`, etcd's data model in this process. One conformance suite
 * runs against both.
 *
 * Revisions, lease ids and versions are `bigint` (int64 on the wire). Times to live are in seconds.
 *
 * @since 0.1.0
 * @module
 */
import { Context, type Duration, Effect, type Stream } from "effect"
import type { Administration, StatusResponse } from "./Administration.ts"
import { EtcdError, InvalidArgument, Unavailable, Unknown } from "./EtcdError.ts"
import type { ResponseHeader } from "./ResponseHeader.ts"

export type { StatusResponse } from "./Administration.ts"
export type { ResponseHeader } from "./ResponseHeader.ts"

/**
 * A key or a value: bytes, or text that stands for its UTF-8 bytes.
 *
 * @since 0.1.0
 * @category models
 */
export type Bytes = string | Uint8Array

/**
 * The id of a lease, a positive int64. `0n` means no lease.
 *
 * @since 0.1.0
 * @category models
 */
export type LeaseId = bigint

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
 * One key, or with `rangeEnd` the keys `key ≤ k < rangeEnd` in byte order.
 *
 * **Details**
 *
 * A `rangeEnd` of one zero byte means the end of the keyspace. An empty `key` is refused. To start at the first key,
 * use one zero byte.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyRange {
  readonly key: Bytes
  readonly rangeEnd?: Bytes
}

/**
 * The range of all keys that start with `prefix`, or of every key if it is empty.
 *
 * @since 0.1.0
 * @category ranges
 */
export const prefix = (prefix: Bytes): Required<KeyRange> => {
  const start = toBytes(prefix)
  if (start.length === 0) return { key: zeroByte, rangeEnd: zeroByte }
  let last = start.length - 1
  while (last >= 0 && start[last] === 0xff) last--
  if (last < 0) return { key: start, rangeEnd: zeroByte }
  const rangeEnd = start.slice(0, last + 1)
  rangeEnd[last]! += 1
  return { key: start, rangeEnd }
}

const zeroByte = new Uint8Array(1)
const encoder = new TextEncoder()

/** The bytes of a key or a value. */
export const toBytes = (bytes: Bytes): Uint8Array => typeof bytes === "string" ? encoder.encode(bytes) : bytes

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
 * A lease to grant.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseGrantRequest {
  /** Seconds. The server raises a value below its minimum. */
  readonly ttl: number
  /** Chosen by the caller, so that a repeated grant is recognised. Default: the server chooses. */
  readonly id?: LeaseId
}

/**
 * The lease that was granted.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseGrantResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Seconds, as granted. */
  readonly ttl: number
}

/**
 * The response to a revocation.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseRevokeResponse {
  readonly header: ResponseHeader
}

/**
 * A read of the remaining time of a lease.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseTimeToLiveRequest {
  readonly id: LeaseId
  /** Returns the keys that are attached to the lease. */
  readonly keys?: boolean
}

/**
 * The remaining time of a lease.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseTimeToLiveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Remaining seconds; `-1` if the lease does not exist. */
  readonly ttl: number
  /** Granted seconds; `0` if the lease does not exist. */
  readonly grantedTtl: number
  /** Empty unless requested. */
  readonly keys: ReadonlyArray<Uint8Array>
}

/**
 * The leases that exist.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseLeasesResponse {
  readonly header: ResponseHeader
  readonly leases: ReadonlyArray<LeaseId>
}

/**
 * One heartbeat.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseKeepAliveRequest {
  readonly id: LeaseId
  /** How long to wait for the response. Default: the request timeout of the client. */
  readonly timeout?: Duration.Input
}

/**
 * The response to a heartbeat.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseKeepAliveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Remaining seconds from now. */
  readonly ttl: number
}

/**
 * A watch on one key or on a range.
 *
 * @since 0.1.0
 * @category requests
 */
export interface WatchRequest extends KeyRange {
  /** The first revision to report. Default: the one after the newest. */
  readonly startRevision?: bigint
  /** Events have the previous value of the key. */
  readonly prevKv?: boolean
  /** Leaves out puts or deletions. */
  readonly filters?: ReadonlyArray<"noPut" | "noDelete">
  /** How often progress is requested on an idle watch. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long the server may take to respond to that. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
}

/**
 * One change of one key. The `kv` of a deletion has only the key and the revision of the deletion.
 *
 * @since 0.1.0
 * @category responses
 */
export interface WatchEvent {
  readonly type: "put" | "delete"
  readonly kv: KeyValue
  readonly prevKv?: KeyValue
}

/**
 * A message of a watch.
 *
 * **Details**
 *
 * - `Created` comes first, once.
 * - `Events` has all events of one or more whole revisions, in order.
 * - `Progress` comes in between: everything up to the revision of its header was delivered.
 *
 * @since 0.1.0
 * @category responses
 */
export type WatchResponse =
  | { readonly _tag: "Created"; readonly header: ResponseHeader }
  | { readonly _tag: "Events"; readonly header: ResponseHeader; readonly events: ReadonlyArray<WatchEvent> }
  | { readonly _tag: "Progress"; readonly header: ResponseHeader }

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

/**
 * The operations of etcd, in etcd's own terms.
 *
 * **Details**
 *
 * Each operation runs once and is not retried: the schedule of the caller decides. Interruption cancels it on the wire;
 * an interrupted write may have been applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Etcd {
  /** Reads one key or a range, in one response. Use {@link rangeAll} for ranges of any size. */
  readonly range: (request: RangeRequest) => Effect.Effect<RangeResponse, EtcdError>
  /** Writes a key. Fails with `LeaseNotFound` if the lease does not exist. */
  readonly put: (request: PutRequest) => Effect.Effect<PutResponse, EtcdError>
  /** Deletes a key or a range. A deletion of nothing succeeds and makes no revision. */
  readonly deleteRange: (request: DeleteRangeRequest) => Effect.Effect<DeleteRangeResponse, EtcdError>
  /** Compares, and then applies one branch, at one revision. */
  readonly txn: (request: TxnRequest) => Effect.Effect<TxnResponse, EtcdError>
  /** Grants a lease. Fails with `LeaseExists` if the chosen id exists. */
  readonly leaseGrant: (request: LeaseGrantRequest) => Effect.Effect<LeaseGrantResponse, EtcdError>
  /** Ends a lease and deletes its keys, at one revision. Fails with `LeaseNotFound`. */
  readonly leaseRevoke: (id: LeaseId) => Effect.Effect<LeaseRevokeResponse, EtcdError>
  /** Reads the remaining time of a lease. Returns `ttl: -1` if the lease does not exist. */
  readonly leaseTimeToLive: (request: LeaseTimeToLiveRequest) => Effect.Effect<LeaseTimeToLiveResponse, EtcdError>
  /** Lists the leases that exist. */
  readonly leaseLeases: Effect.Effect<LeaseLeasesResponse, EtcdError>
  /**
   * Sends one heartbeat and waits for its response. Fails with `LeaseNotFound` if the lease does not exist, and with
   * `DeadlineExceeded` if no response arrives in time. All heartbeats of a client share one stream. If that stream is
   * silent, the client gives up its connection, which also ends the watches on it.
   */
  readonly leaseKeepAlive: (request: LeaseKeepAliveRequest) => Effect.Effect<LeaseKeepAliveResponse, EtcdError>
  /**
   * Watches a key or a range until it is interrupted or fails. All watches of a client share one stream. Each fails if
   * that stream breaks or is silent for `progressEvery` + `progressTimeout`; the caller watches again from the revision
   * after the last event. Fails with `Compacted`, possibly after `Created`, if `startRevision` was compacted.
   */
  readonly watch: (request: WatchRequest) => Stream.Stream<WatchResponse, EtcdError>
  /** Drops the history before a revision. */
  readonly compact: (request: CompactRequest) => Effect.Effect<CompactResponse, EtcdError>
  /** Reads the state of the member that answers. */
  readonly status: Effect.Effect<StatusResponse, EtcdError>
  /**
   * Completes when etcd answers again after an outage. Race a backoff against it, so that nothing sleeps through the
   * return of etcd (D12).
   *
   * An outage begins with a call that gets no response, and ends with the first response to a call that requires a
   * leader; a refusal counts. If there is no outage, this waits for the end of the next one. While etcd is away and
   * something waits here, the client probes all endpoints.
   */
  readonly recovered: Effect.Effect<void>
  /** The members of the cluster, and what an operator does with them. See `@effect-etcd/discovery/admin`. */
  readonly administration: Administration
}

/**
 * The service key of {@link Etcd}.
 *
 * @since 0.1.0
 * @category services
 */
export const Etcd: Context.Service<Etcd, Etcd> = Context.Service("@effect-etcd/discovery/Etcd")

const compare = (a: Uint8Array, b: Uint8Array): number => {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Whether a key lies in a range. @internal */
export const rangeTest = ({ key, rangeEnd }: KeyRange): (key: Uint8Array) => boolean => {
  const start = toBytes(key)
  const end = rangeEnd === undefined ? new Uint8Array() : toBytes(rangeEnd)
  if (end.length === 0) return (key) => compare(key, start) === 0
  if (end.length === 1 && end[0] === 0) return (key) => compare(key, start) >= 0
  return (key) => compare(key, start) >= 0 && compare(key, end) < 0
}

/** The number of keys in the first page of {@link rangeAll}. Later pages have about {@link pageBytes}. */
const pageLimit = 2000

/** How often a read starts over because its revision was compacted. */
const maxRestarts = 5

/** Small enough to share the connection with other calls, and large enough to hide the round trip. */
const pageBytes = 4 * 1024 * 1024

/**
 * Reads a range of any size at one revision, in pages.
 *
 * **Details**
 *
 * The first page is linearizable and sets the revision of the others. If that revision is compacted in between, the
 * read starts over, up to five times. A page that is too large for one response is read again in smaller ones. The
 * header is that of the first page. `limit` and `sort` do not apply. Fails with `Unavailable` if a page holds keys of
 * another range, as a proxy that confuses its clients may send it.
 *
 * @since 0.1.0
 * @category ranges
 */
export const rangeAll: (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
) => Effect.Effect<RangeResponse, EtcdError> = Effect.fnUntraced(function* (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
): Effect.fn.Return<RangeResponse, EtcdError> {
  const isInRange = rangeTest(request)
  let limit = pageLimit
  let maxKeys = Infinity
  let key: Bytes = request.key
  let kvs: Array<KeyValue> = []
  let first: RangeResponse | undefined
  let restarts = 0
  while (true) {
    const revision = request.revision ?? first?.header.revision
    const page: Effect.Effect<RangeResponse, EtcdError> = etcd.range({
      ...request,
      key,
      limit,
      ...(revision === undefined ? {} : { revision })
    })
    const answer = yield* Effect.result(page)
    if (answer._tag === "Failure") {
      const reason = answer.failure.reason._tag
      if (reason === "TooLarge" && limit > 1) {
        maxKeys = limit = Math.max(1, limit >> 2)
      } else if (
        reason === "Compacted" && request.revision === undefined && first !== undefined && restarts < maxRestarts
      ) {
        restarts += 1
        first = undefined
        key = request.key
        kvs = []
      } else {
        return yield* answer.failure
      }
      continue
    }
    const { kvs: more } = answer.success
    const [next] = more
    // Pages are in the order of keys: if its ends lie in the range, everything between them does.
    if ([next, more.at(-1)].some((kv) => kv !== undefined && !isInRange(kv.key))) {
      const reason = new Unavailable({ detail: "the server sent keys of another range" })
      return yield* new EtcdError({ reason, method: "range", key: new TextDecoder().decode(toBytes(request.key)) })
    }
    if (next !== undefined && compare(next.key, toBytes(key)) < 0) return yield* outOfOrder
    first ??= answer.success
    let bytes = 0
    for (const kv of more) {
      bytes += kv.key.length + kv.value.length
      kvs.push(kv)
    }
    const last = more.at(-1)
    if (!answer.success.more || last === undefined) {
      return { header: first.header, kvs, more: false, count: BigInt(kvs.length) }
    }
    key = after(last.key)
    limit = Math.min(maxKeys, Math.max(1, Math.floor(more.length * pageBytes / bytes)))
  }
})

/** A server that repeats keys would be read for ever. */
const outOfOrder = new EtcdError({
  reason: new Unknown({ detail: "the server returned a page of keys that it had returned before" }),
  method: "range"
})

/** The first key after a key. */
export const after = (key: Uint8Array): Uint8Array => {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

/** The error for an invalid request that is found before anything is sent. */
export const invalidArgument = (method: string, detail: string, key?: string): EtcdError =>
  new EtcdError({ reason: new InvalidArgument({ detail }), method, ...(key === undefined ? {} : { key }) })

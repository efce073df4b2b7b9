/**
 * The border with etcd: its KV, Lease, Watch and Maintenance services in etcd's own terms, as one Effect service.
 *
 * Everything else in this package is written against {@link Etcd} and knows nothing of the transport. Two
 * implementations exist: `EtcdGrpc` speaks to servers, `EtcdMemory` is the data model in process. One conformance suite
 * holds both to the same behaviour.
 *
 * Operations run once. They are neither retried nor repeated here: the schedule that decides lives with the caller.
 * Interrupting one cancels it on the wire; what was interrupted may still have been applied.
 *
 * Revisions, lease ids and versions are `bigint` (int64 on the wire), times to live are seconds.
 *
 * @module
 */
import { Context, type Duration, Effect, type Stream } from "effect"
import { EtcdError, InvalidArgument } from "./EtcdError.ts"

/** A key or a value: bytes, or text that stands for its UTF-8 bytes. */
export type Bytes = string | Uint8Array

/** The id of a lease, a positive int64. `0n` means "no lease". */
export type LeaseId = bigint

/** What etcd says about itself with each answer. */
export interface ResponseHeader {
  readonly clusterId: bigint
  readonly memberId: bigint
  /** The revision of the store when the answer was made. */
  readonly revision: bigint
  readonly raftTerm: bigint
}

/** A key with its value and its place in history. */
export interface KeyValue {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly createRevision: bigint
  readonly modRevision: bigint
  /** Number of writes since the key was created: `1n` after the first. */
  readonly version: bigint
  /** The lease the key is attached to, `0n` for none. */
  readonly lease: LeaseId
}

/**
 * One key, or with `rangeEnd` the keys `key ≤ k < rangeEnd` in byte order. A `rangeEnd` of one zero byte means "to the
 * end of the keyspace". An empty `key` is refused (to start at the first key, use one zero byte).
 */
export interface KeyRange {
  readonly key: Bytes
  readonly rangeEnd?: Bytes
}

/** The range of all keys that start with `prefix`; every key when it is empty. */
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

/** A read of one key or of a range. */
export interface RangeRequest extends KeyRange {
  /** At most this many keys; `0` (the default) means all. `more` tells whether some were left out. */
  readonly limit?: number
  /** The state at this revision; default: the newest. */
  readonly revision?: bigint
  /** Default: ascending by key. */
  readonly sort?: {
    readonly target: "key" | "version" | "create" | "mod" | "value"
    readonly order: "ascend" | "descend"
  }
  /** Read what the asked member has, which may be old. Default `false`: linearizable. */
  readonly serializable?: boolean
  /** Leave the values out. */
  readonly keysOnly?: boolean
  /** Only the number of keys. */
  readonly countOnly?: boolean
  readonly minModRevision?: bigint
  readonly maxModRevision?: bigint
  readonly minCreateRevision?: bigint
  readonly maxCreateRevision?: bigint
}

/** The answer to a range. */
export interface RangeResponse {
  readonly header: ResponseHeader
  readonly kvs: ReadonlyArray<KeyValue>
  /** Whether `limit` left keys out. */
  readonly more: boolean
  /** Number of keys in the range, whatever the limit. */
  readonly count: bigint
}

/** A write of one key. */
export interface PutRequest {
  readonly key: Bytes
  readonly value: Bytes
  /** The lease the key is attached to from now on; default `0n`: none, and an earlier one is dropped. */
  readonly lease?: LeaseId
  /** Answer with what the key held before. */
  readonly prevKv?: boolean
  /** Keep the value the key has. The key must exist, `value` must be empty. */
  readonly ignoreValue?: boolean
  /** Keep the lease the key has. The key must exist, `lease` must be left out. */
  readonly ignoreLease?: boolean
}

/** The answer to a put. */
export interface PutResponse {
  readonly header: ResponseHeader
  readonly prevKv?: KeyValue
}

/** A deletion of one key or of a range. */
export interface DeleteRangeRequest extends KeyRange {
  /** Answer with what was deleted. */
  readonly prevKv?: boolean
}

/** The answer to a deletion. */
export interface DeleteRangeResponse {
  readonly header: ResponseHeader
  /** Number of keys that were deleted. */
  readonly deleted: bigint
  /** Empty unless asked for. */
  readonly prevKvs: ReadonlyArray<KeyValue>
}

/**
 * A condition on one key (with `rangeEnd`: on each key of the range). A key that does not exist has version, create
 * revision, mod revision and lease `0n`; a comparison of its value is false.
 */
export type Compare =
  & KeyRange
  & { readonly result: "equal" | "notEqual" | "greater" | "less" }
  & (
    | { readonly target: "version" | "create" | "mod" | "lease"; readonly value: bigint }
    | { readonly target: "value"; readonly value: Bytes }
  )

/** One operation inside a Txn. */
export type RequestOp =
  | { readonly _tag: "Range"; readonly request: RangeRequest }
  | { readonly _tag: "Put"; readonly request: PutRequest }
  | { readonly _tag: "DeleteRange"; readonly request: DeleteRangeRequest }
  | { readonly _tag: "Txn"; readonly request: TxnRequest }

/** `then` when every comparison holds, `else` otherwise; applied at one revision or not at all. */
export interface TxnRequest {
  readonly compare?: ReadonlyArray<Compare>
  readonly then?: ReadonlyArray<RequestOp>
  readonly else?: ReadonlyArray<RequestOp>
}

/** The answer to one operation inside a Txn. Only the header of the whole Txn is complete. */
export type ResponseOp =
  | { readonly _tag: "Range"; readonly response: RangeResponse }
  | { readonly _tag: "Put"; readonly response: PutResponse }
  | { readonly _tag: "DeleteRange"; readonly response: DeleteRangeResponse }
  | { readonly _tag: "Txn"; readonly response: TxnResponse }

/** The answer to a Txn. */
export interface TxnResponse {
  readonly header: ResponseHeader
  /** Whether the comparisons held. */
  readonly succeeded: boolean
  /** One for each operation of the branch that ran, in order. */
  readonly responses: ReadonlyArray<ResponseOp>
}

/** A lease to grant. */
export interface LeaseGrantRequest {
  /** Seconds. The server raises what is below its floor. */
  readonly ttl: number
  /** Chosen by the caller, so that a repeated grant is recognised; default: the server chooses. */
  readonly id?: LeaseId
}

/** The lease that was granted. */
export interface LeaseGrantResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Seconds, as granted. */
  readonly ttl: number
}

/** The answer to a revocation. */
export interface LeaseRevokeResponse {
  readonly header: ResponseHeader
}

/** A question for what is left of a lease. */
export interface LeaseTimeToLiveRequest {
  readonly id: LeaseId
  /** Answer with the keys that are attached to it. */
  readonly keys?: boolean
}

/** What is left of a lease. */
export interface LeaseTimeToLiveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Seconds left; `-1` when there is no such lease. */
  readonly ttl: number
  /** Seconds, as granted; `0` when there is no such lease. */
  readonly grantedTtl: number
  /** Empty unless asked for. */
  readonly keys: ReadonlyArray<Uint8Array>
}

/** The leases that exist. */
export interface LeaseLeasesResponse {
  readonly header: ResponseHeader
  readonly leases: ReadonlyArray<LeaseId>
}

/** One heartbeat. */
export interface LeaseKeepAliveRequest {
  readonly id: LeaseId
  /** How long to wait for the answer; default: the client's request timeout. */
  readonly timeout?: Duration.Input
}

/** The answer to a heartbeat. */
export interface LeaseKeepAliveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Seconds from now on. */
  readonly ttl: number
}

/** A watch on one key or on a range. */
export interface WatchRequest extends KeyRange {
  /** The first revision of interest; default: the one after the newest. */
  readonly startRevision?: bigint
  /** Events carry what the key held before. */
  readonly prevKv?: boolean
  /** Leave puts or deletions out. */
  readonly filters?: ReadonlyArray<"noPut" | "noDelete">
  /** An idle watch hears from the server at least this often; default 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long the server may take to show that it is there; default 5 seconds. */
  readonly progressTimeout?: Duration.Input
}

/** One change of one key. The `kv` of a deletion has the key and the revision of the deletion only. */
export interface WatchEvent {
  readonly type: "put" | "delete"
  readonly kv: KeyValue
  readonly prevKv?: KeyValue
}

/**
 * A message of a watch: first `Created`, once; then `Events`, each with all events of one or more whole revisions in
 * order; in between `Progress`: everything up to the header's revision has been delivered.
 */
export type WatchResponse =
  | { readonly _tag: "Created"; readonly header: ResponseHeader }
  | { readonly _tag: "Events"; readonly header: ResponseHeader; readonly events: ReadonlyArray<WatchEvent> }
  | { readonly _tag: "Progress"; readonly header: ResponseHeader }

/** A compaction. */
export interface CompactRequest {
  /** History before this revision is dropped. */
  readonly revision: bigint
  /** Answer once the space is free. */
  readonly physical?: boolean
}

/** The answer to a compaction. */
export interface CompactResponse {
  readonly header: ResponseHeader
}

/** The state of a member. */
export interface StatusResponse {
  readonly header: ResponseHeader
  /** The server's version, such as `3.5.16`. */
  readonly version: string
  /** Bytes. */
  readonly dbSize: bigint
  /** The member id of the leader, `0n` when there is none. */
  readonly leader: bigint
  readonly raftIndex: bigint
  readonly raftTerm: bigint
}

/** The operations of etcd. */
export interface Etcd {
  /** Reads one key or a range. One answer: use {@link rangeAll} for ranges of any size. */
  readonly range: (request: RangeRequest) => Effect.Effect<RangeResponse, EtcdError>
  /** Writes a key. Fails with `LeaseNotFound` when the lease is gone. */
  readonly put: (request: PutRequest) => Effect.Effect<PutResponse, EtcdError>
  /** Deletes a key or a range. Deleting nothing is no error and makes no revision. */
  readonly deleteRange: (request: DeleteRangeRequest) => Effect.Effect<DeleteRangeResponse, EtcdError>
  /** Compares and then applies one branch, at one revision. */
  readonly txn: (request: TxnRequest) => Effect.Effect<TxnResponse, EtcdError>
  /** Grants a lease. Fails with `LeaseExists` when the chosen id is taken. */
  readonly leaseGrant: (request: LeaseGrantRequest) => Effect.Effect<LeaseGrantResponse, EtcdError>
  /** Ends a lease and deletes its keys, at one revision. Fails with `LeaseNotFound`. */
  readonly leaseRevoke: (id: LeaseId) => Effect.Effect<LeaseRevokeResponse, EtcdError>
  /** How long a lease has left. A lease that is none answers with a `ttl` of `-1`. */
  readonly leaseTimeToLive: (request: LeaseTimeToLiveRequest) => Effect.Effect<LeaseTimeToLiveResponse, EtcdError>
  /** The leases that exist. */
  readonly leaseLeases: Effect.Effect<LeaseLeasesResponse, EtcdError>
  /**
   * Sends one heartbeat and waits for its answer. Fails with `LeaseNotFound` when the lease is gone, and with
   * `DeadlineExceeded` when no answer came in time. All heartbeats of a client share one stream; one that goes silent
   * is given up with its connection, which also ends the watches there.
   */
  readonly leaseKeepAlive: (request: LeaseKeepAliveRequest) => Effect.Effect<LeaseKeepAliveResponse, EtcdError>
  /**
   * Watches a key or a range until it is interrupted or fails; it never ends by itself. All watches of a client share
   * one stream; each fails when that stream breaks or goes silent (`progressEvery` + `progressTimeout`), and it is for
   * the caller to watch again from the revision after the last event. Fails with `Compacted`, perhaps after
   * `Created`, when `startRevision` is gone.
   */
  readonly watch: (request: WatchRequest) => Stream.Stream<WatchResponse, EtcdError>
  /** Drops history before a revision. */
  readonly compact: (request: CompactRequest) => Effect.Effect<CompactResponse, EtcdError>
  /** The state of the member that answers. */
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
}

/** The service key of {@link Etcd}. */
export const Etcd: Context.Service<Etcd, Etcd> = Context.Service("@effect-etcd/discovery/Etcd")

/** Keys that the first page of {@link rangeAll} asks for; those after it ask for about {@link pageBytes}. */
const pageLimit = 2000

/** Small enough to leave the connection to others in between, large enough that its round trip does not count. */
const pageBytes = 4 * 1024 * 1024

/**
 * Reads a range of any size at one revision, in pages.
 *
 * The first page is linearizable and sets the revision of the rest. When that revision is compacted in between, the
 * read starts over; a page that is too large for one answer is asked for again in smaller ones. The header is that of
 * the first page. `limit` and `sort` have no meaning here.
 */
export const rangeAll: (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
) => Effect.Effect<RangeResponse, EtcdError> = Effect.fnUntraced(function* (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
): Effect.fn.Return<RangeResponse, EtcdError> {
  let limit = pageLimit
  let mostKeys = Infinity
  let key: Bytes = request.key
  let kvs: Array<KeyValue> = []
  let first: RangeResponse | undefined
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
        mostKeys = limit = Math.max(1, limit >> 2)
      } else if (reason === "Compacted" && request.revision === undefined && first !== undefined) {
        first = undefined
        key = request.key
        kvs = []
      } else {
        return yield* answer.failure
      }
      continue
    }
    const { kvs: more } = answer.success
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
    limit = Math.min(mostKeys, Math.max(1, Math.floor(more.length * pageBytes / bytes)))
  }
})

/** The first key after a key. */
export const after = (key: Uint8Array): Uint8Array => {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

/** Fails with `InvalidArgument`: what a request may not look like, found before anything is sent. */
export const invalidArgument = (method: string, detail: string, key?: string): EtcdError =>
  new EtcdError({ reason: new InvalidArgument({ detail }), method, ...(key === undefined ? {} : { key }) })

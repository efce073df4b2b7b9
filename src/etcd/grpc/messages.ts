/**
 * etcd's messages as `etcd3` reads and writes them, and the way between them and the contract's types.
 *
 * int64 fields are decimal text, bytes are Buffers, fields that were left out have their default. An enum is sent as a
 * number: the loader would silently encode an unknown name as 0, which means something else.
 *
 * @module
 */
import type {
  Compare,
  DeleteRangeRequest,
  DeleteRangeResponse,
  KeyRange,
  KeyValue,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseHeader,
  ResponseOp,
  TxnRequest,
  TxnResponse,
  WatchEvent,
  WatchRequest
} from "../Etcd.ts"
import { toBytes } from "../Etcd.ts"

export interface HeaderMessage {
  readonly cluster_id: string
  readonly member_id: string
  readonly revision: string
  readonly raft_term: string
}

export interface KeyValueMessage {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly create_revision: string
  readonly mod_revision: string
  readonly version: string
  readonly lease: string
}

export interface RangeMessage {
  readonly header: HeaderMessage | null
  readonly kvs: ReadonlyArray<KeyValueMessage>
  readonly more: boolean
  readonly count: string
}

export interface PutMessage {
  readonly header: HeaderMessage | null
  readonly prev_kv: KeyValueMessage | null
}

export interface DeleteRangeMessage {
  readonly header: HeaderMessage | null
  readonly deleted: string
  readonly prev_kvs: ReadonlyArray<KeyValueMessage>
}

export interface TxnMessage {
  readonly header: HeaderMessage | null
  readonly succeeded: boolean
  readonly responses: ReadonlyArray<ResponseOpMessage>
}

/** One of the four, as `response` says. */
export interface ResponseOpMessage {
  readonly response_range?: RangeMessage
  readonly response_put?: PutMessage
  readonly response_delete_range?: DeleteRangeMessage
  readonly response_txn?: TxnMessage
}

/** The answer to what only needs a header: a revocation, a compaction. */
export interface HeaderOnlyMessage {
  readonly header: HeaderMessage | null
}

export interface LeaseGrantMessage extends HeaderOnlyMessage {
  readonly ID: string
  readonly TTL: string
}

/** The answer to a heartbeat. */
export type LeaseKeepAliveMessage = LeaseGrantMessage

export interface LeaseTimeToLiveMessage extends LeaseGrantMessage {
  readonly grantedTTL: string
  readonly keys: ReadonlyArray<Uint8Array>
}

export interface LeaseLeasesMessage extends HeaderOnlyMessage {
  readonly leases: ReadonlyArray<{ readonly ID: string }>
}

export interface StatusMessage extends HeaderOnlyMessage {
  readonly version: string
  readonly dbSize: string
  readonly leader: string
  readonly raftIndex: string
  readonly raftTerm: string
}

export interface EventMessage {
  readonly type: string
  readonly kv: KeyValueMessage
  readonly prev_kv: KeyValueMessage | null
}

export interface WatchMessage extends HeaderOnlyMessage {
  /** `-1` when it is about no watch: a progress report for all, a watch that was refused. */
  readonly watch_id: string
  readonly created: boolean
  readonly canceled: boolean
  /** `0` unless that is why the watch was cancelled. */
  readonly compact_revision: string
  readonly cancel_reason: string
  /** More of the same revision follows. */
  readonly fragment: boolean
  readonly events: ReadonlyArray<EventMessage>
}

const noHeader: HeaderMessage = { cluster_id: "0", member_id: "0", revision: "0", raft_term: "0" }

export const toHeader = (message: HeaderMessage | null): ResponseHeader => {
  const { cluster_id, member_id, raft_term, revision } = message ?? noHeader
  return {
    clusterId: BigInt(cluster_id),
    memberId: BigInt(member_id),
    revision: BigInt(revision),
    raftTerm: BigInt(raft_term)
  }
}

/** The same bytes without the ways of a Buffer, whose `slice` shares and whose `toString` decodes. */
export const toPlain = ({ buffer, byteLength, byteOffset }: Uint8Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

export const toKeyValue = (message: KeyValueMessage): KeyValue => ({
  key: toPlain(message.key),
  value: toPlain(message.value),
  createRevision: BigInt(message.create_revision),
  modRevision: BigInt(message.mod_revision),
  version: BigInt(message.version),
  lease: BigInt(message.lease)
})

export const toRangeResponse = ({ count, header, kvs, more }: RangeMessage): RangeResponse => ({
  header: toHeader(header),
  kvs: kvs.map(toKeyValue),
  more,
  count: BigInt(count)
})

export const toPutResponse = ({ header, prev_kv }: PutMessage): PutResponse => ({
  header: toHeader(header),
  ...(prev_kv === null ? {} : { prevKv: toKeyValue(prev_kv) })
})

export const toDeleteRangeResponse = ({ deleted, header, prev_kvs }: DeleteRangeMessage): DeleteRangeResponse => ({
  header: toHeader(header),
  deleted: BigInt(deleted),
  prevKvs: prev_kvs.map(toKeyValue)
})

export const toTxnResponse = ({ header, responses, succeeded }: TxnMessage): TxnResponse => ({
  header: toHeader(header),
  succeeded,
  responses: responses.map(toResponseOp)
})

const toResponseOp = (message: ResponseOpMessage): ResponseOp => {
  if (message.response_range) return { _tag: "Range", response: toRangeResponse(message.response_range) }
  if (message.response_put) return { _tag: "Put", response: toPutResponse(message.response_put) }
  if (message.response_txn) return { _tag: "Txn", response: toTxnResponse(message.response_txn) }
  return {
    _tag: "DeleteRange",
    response: toDeleteRangeResponse(message.response_delete_range ?? { header: null, deleted: "0", prev_kvs: [] })
  }
}

export const toWatchEvent = ({ kv, prev_kv, type }: EventMessage): WatchEvent => ({
  type: type === "Delete" ? "delete" : "put",
  kv: toKeyValue(kv),
  ...(prev_kv === null ? {} : { prevKv: toKeyValue(prev_kv) })
})

/** Thrown by the encoders below: a request that cannot be put on the wire, or would mean something else there. */
export class Unsendable {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

/** An int64 as text. A larger one would silently be sent without its upper bits. */
export const int64 = (value: bigint, name: string): string => {
  if (BigInt.asIntN(64, value) !== value) throw new Unsendable(`${name} must fit into 64 bits, got ${value}`)
  return String(value)
}

/** A whole number as text. A fraction would silently be cut off. */
export const integer = (value: number, name: string): string => {
  if (!Number.isSafeInteger(value)) throw new Unsendable(`${name} must be a whole number, got ${value}`)
  return String(value)
}

const number = <Name extends string>(numbers: Record<Name, number>, name: Name, field: string): number => {
  if (Object.hasOwn(numbers, name)) return numbers[name]
  throw new Unsendable(`${field} must be one of ${Object.keys(numbers).join(", ")}, got ${JSON.stringify(name)}`)
}

const sortTargets = { key: 0, version: 1, create: 2, mod: 3, value: 4 }
const sortOrders = { ascend: 1, descend: 2 }
const compareResults = { equal: 0, greater: 1, less: 2, notEqual: 3 }
const compareTargets = { version: 0, create: 1, mod: 2, value: 3, lease: 4 }
const compareFields = {
  version: "version",
  create: "create_revision",
  mod: "mod_revision",
  value: "value",
  lease: "lease"
} as const
const filters = { noPut: 0, noDelete: 1 }

/** etcd would take an empty end for the end of the keyspace, and none for one key. */
const range = ({ key, rangeEnd = "" }: KeyRange) => ({
  key: toBytes(key),
  ...(rangeEnd.length === 0 ? {} : { range_end: toBytes(rangeEnd) })
})

export const fromRangeRequest = (request: RangeRequest): object => ({
  ...range(request),
  limit: integer(request.limit ?? 0, "limit"),
  revision: int64(request.revision ?? 0n, "revision"),
  ...(request.sort === undefined ? {} : {
    sort_target: number(sortTargets, request.sort.target, "sort.target"),
    sort_order: number(sortOrders, request.sort.order, "sort.order")
  }),
  serializable: request.serializable ?? false,
  keys_only: request.keysOnly ?? false,
  count_only: request.countOnly ?? false,
  min_mod_revision: int64(request.minModRevision ?? 0n, "minModRevision"),
  max_mod_revision: int64(request.maxModRevision ?? 0n, "maxModRevision"),
  min_create_revision: int64(request.minCreateRevision ?? 0n, "minCreateRevision"),
  max_create_revision: int64(request.maxCreateRevision ?? 0n, "maxCreateRevision")
})

export const fromPutRequest = (request: PutRequest): object => ({
  key: toBytes(request.key),
  value: toBytes(request.value),
  lease: int64(request.lease ?? 0n, "lease"),
  prev_kv: request.prevKv ?? false,
  ignore_value: request.ignoreValue ?? false,
  ignore_lease: request.ignoreLease ?? false
})

export const fromDeleteRangeRequest = (request: DeleteRangeRequest): object => ({
  ...range(request),
  prev_kv: request.prevKv ?? false
})

export const fromTxnRequest = (request: TxnRequest): object => ({
  compare: (request.compare ?? []).map(fromCompare),
  success: (request.then ?? []).map(fromRequestOp),
  failure: (request.else ?? []).map(fromRequestOp)
})

const fromCompare = (compare: Compare): object => ({
  ...range(compare),
  result: number(compareResults, compare.result, "compare.result"),
  target: number(compareTargets, compare.target, "compare.target"),
  [compareFields[compare.target]]: compare.target === "value" ?
    toBytes(compare.value) :
    int64(compare.value, "compare.value")
})

const fromRequestOp = (op: RequestOp): object => {
  switch (op._tag) {
    case "Range":
      return { request_range: fromRangeRequest(op.request) }
    case "Put":
      return { request_put: fromPutRequest(op.request) }
    case "DeleteRange":
      return { request_delete_range: fromDeleteRangeRequest(op.request) }
    case "Txn":
      return { request_txn: fromTxnRequest(op.request) }
  }
}

/** etcd would take an empty key for the first of the keyspace. */
export const fromWatchRequest = (request: WatchRequest): object => {
  if (request.key.length === 0) throw new Unsendable("etcdserver: key is not provided")
  return {
    ...range(request),
    start_revision: int64(request.startRevision ?? 0n, "startRevision"),
    prev_kv: request.prevKv ?? false,
    filters: (request.filters ?? []).map((name) => number(filters, name, "filters")),
    progress_notify: true,
    fragment: true
  }
}

/** A watch that never says anything, on a key that another one watches. */
export const silentWatchRequest = (request: WatchRequest): object =>
  fromWatchRequest({ key: request.key, filters: ["noPut", "noDelete"] })

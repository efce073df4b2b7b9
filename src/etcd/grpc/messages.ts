/**
 * etcd's messages, and the way between them and the contract's types.
 *
 * Answers of every day are read straight into the contract's types: that is where the time goes when there is much to
 * read. The rest is as `etcd3` reads and writes it: int64 fields are decimal text, bytes are Buffers, fields that were left out have their default. An enum is sent as a
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
  LeaseGrantResponse,
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
import { Reader } from "./protobuf.ts"

/** Headers of rare answers, as `etcd3` reads them. */
export interface HeaderMessage {
  readonly cluster_id: string
  readonly member_id: string
  readonly revision: string
  readonly raft_term: string
}

export interface LeaseTimeToLiveMessage {
  readonly header: HeaderMessage
  readonly ID: string
  readonly TTL: string
  readonly grantedTTL: string
  readonly keys: ReadonlyArray<Uint8Array>
}

export interface LeaseLeasesMessage {
  readonly header: HeaderMessage
  readonly leases: ReadonlyArray<{ readonly ID: string }>
}

export interface StatusMessage {
  readonly header: HeaderMessage
  readonly version: string
  readonly dbSize: string
  readonly leader: string
  readonly raftIndex: string
  readonly raftTerm: string
}

export const toHeader = ({ cluster_id, member_id, raft_term, revision }: HeaderMessage): ResponseHeader => ({
  clusterId: BigInt(cluster_id),
  memberId: BigInt(member_id),
  revision: BigInt(revision),
  raftTerm: BigInt(raft_term)
})

/** The same bytes without the ways of a Buffer, whose `slice` shares and whose `toString` decodes. */
export const toPlain = ({ buffer, byteLength, byteOffset }: Uint8Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** The answer of a watch stream. */
export interface WatchMessage {
  readonly header: ResponseHeader
  /** `-1` when it is about no watch: a progress report for all, a watch that was refused. */
  readonly watchId: number
  readonly created: boolean
  readonly canceled: boolean
  /** `0n` unless that is why the watch was cancelled. */
  readonly compactRevision: bigint
  readonly cancelReason: string
  /** More of the same revision follows. */
  readonly fragment: boolean
  readonly events: ReadonlyArray<WatchEvent>
}

/** A field whose value is a message, bytes or text. */
const delimited = (field: number): number => field << 3 | 2

const noBytes: Uint8Array = new Uint8Array(0)
const noHeader: ResponseHeader = { clusterId: 0n, memberId: 0n, revision: 0n, raftTerm: 0n }

const readHeader = (reader: Reader): ResponseHeader => {
  let { clusterId, memberId, raftTerm, revision } = noHeader
  while (reader.more) {
    const tag = reader.tag()
    if (tag === 1 << 3) clusterId = reader.uint64()
    else if (tag === 2 << 3) memberId = reader.uint64()
    else if (tag === 3 << 3) revision = reader.int64()
    else if (tag === 4 << 3) raftTerm = reader.uint64()
    else reader.skip(tag)
  }
  return { clusterId, memberId, revision, raftTerm }
}

const readKeyValue = (reader: Reader): KeyValue => {
  let key = noBytes
  let value = noBytes
  let createRevision = 0n
  let modRevision = 0n
  let version = 0n
  let lease = 0n
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) key = reader.bytes()
    else if (tag === 2 << 3) createRevision = reader.int64()
    else if (tag === 3 << 3) modRevision = reader.int64()
    else if (tag === 4 << 3) version = reader.int64()
    else if (tag === delimited(5)) value = reader.bytes()
    else if (tag === 6 << 3) lease = reader.int64()
    else reader.skip(tag)
  }
  return { key, value, createRevision, modRevision, version, lease }
}

const noKeyValue: KeyValue = {
  key: noBytes,
  value: noBytes,
  createRevision: 0n,
  modRevision: 0n,
  version: 0n,
  lease: 0n
}

const readEvent = (reader: Reader): WatchEvent => {
  let type: WatchEvent["type"] = "put"
  let kv = noKeyValue
  let prevKv: KeyValue | undefined
  while (reader.more) {
    const tag = reader.tag()
    if (tag === 1 << 3) type = reader.bool() ? "delete" : "put"
    else if (tag === delimited(2)) kv = reader.message(readKeyValue)
    else if (tag === delimited(3)) prevKv = reader.message(readKeyValue)
    else reader.skip(tag)
  }
  return prevKv === undefined ? { type, kv } : { type, kv, prevKv }
}

const readRange = (reader: Reader): RangeResponse => {
  const kvs: Array<KeyValue> = []
  let header = noHeader
  let more = false
  let count = 0n
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === delimited(2)) kvs.push(reader.message(readKeyValue))
    else if (tag === 3 << 3) more = reader.bool()
    else if (tag === 4 << 3) count = reader.int64()
    else reader.skip(tag)
  }
  return { header, kvs, more, count }
}

const readPut = (reader: Reader): PutResponse => {
  let header = noHeader
  let prevKv: KeyValue | undefined
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === delimited(2)) prevKv = reader.message(readKeyValue)
    else reader.skip(tag)
  }
  return prevKv === undefined ? { header } : { header, prevKv }
}

const readDeleteRange = (reader: Reader): DeleteRangeResponse => {
  const prevKvs: Array<KeyValue> = []
  let header = noHeader
  let deleted = 0n
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === 2 << 3) deleted = reader.int64()
    else if (tag === delimited(3)) prevKvs.push(reader.message(readKeyValue))
    else reader.skip(tag)
  }
  return { header, deleted, prevKvs }
}

const readTxn = (reader: Reader): TxnResponse => {
  const responses: Array<ResponseOp> = []
  let header = noHeader
  let succeeded = false
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === 2 << 3) succeeded = reader.bool()
    else if (tag === delimited(3)) responses.push(reader.message(readResponseOp))
    else reader.skip(tag)
  }
  return { header, succeeded, responses }
}

const readResponseOp = (reader: Reader): ResponseOp => {
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) return { _tag: "Range", response: reader.message(readRange) }
    if (tag === delimited(2)) return { _tag: "Put", response: reader.message(readPut) }
    if (tag === delimited(3)) return { _tag: "DeleteRange", response: reader.message(readDeleteRange) }
    if (tag === delimited(4)) return { _tag: "Txn", response: reader.message(readTxn) }
    reader.skip(tag)
  }
  throw new Error("an operation has no answer")
}

const readLease = (reader: Reader): LeaseGrantResponse => {
  let header = noHeader
  let id = 0n
  let ttl = 0
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === 2 << 3) id = reader.int64()
    else if (tag === 3 << 3) ttl = reader.number()
    else reader.skip(tag)
  }
  return { header, id, ttl }
}

const readHeaderOnly = (reader: Reader): { readonly header: ResponseHeader } => {
  let header = noHeader
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else reader.skip(tag)
  }
  return { header }
}

const readWatch = (reader: Reader): WatchMessage => {
  const events: Array<WatchEvent> = []
  let header = noHeader
  let watchId = 0
  let created = false
  let canceled = false
  let compactRevision = 0n
  let cancelReason = ""
  let fragment = false
  while (reader.more) {
    const tag = reader.tag()
    if (tag === delimited(1)) header = reader.message(readHeader)
    else if (tag === 2 << 3) watchId = reader.number()
    else if (tag === 3 << 3) created = reader.bool()
    else if (tag === 4 << 3) canceled = reader.bool()
    else if (tag === 5 << 3) compactRevision = reader.int64()
    else if (tag === delimited(6)) cancelReason = reader.text()
    else if (tag === 7 << 3) fragment = reader.bool()
    else if (tag === delimited(11)) events.push(reader.message(readEvent))
    else reader.skip(tag)
  }
  return { header, watchId, created, canceled, compactRevision, cancelReason, fragment, events }
}

const decodeWith = <A>(read: (reader: Reader) => A) => (bytes: Uint8Array): A => read(new Reader(bytes))

/** The answers of every day. Fields are those of etcd's `rpc.proto` and `kv.proto`. */
export const decode: {
  readonly range: (bytes: Uint8Array) => RangeResponse
  readonly put: (bytes: Uint8Array) => PutResponse
  readonly deleteRange: (bytes: Uint8Array) => DeleteRangeResponse
  readonly txn: (bytes: Uint8Array) => TxnResponse
  readonly lease: (bytes: Uint8Array) => LeaseGrantResponse
  readonly headerOnly: (bytes: Uint8Array) => { readonly header: ResponseHeader }
  readonly watch: (bytes: Uint8Array) => WatchMessage
} = {
  range: decodeWith(readRange),
  put: decodeWith(readPut),
  deleteRange: decodeWith(readDeleteRange),
  txn: decodeWith(readTxn),
  lease: decodeWith(readLease),
  headerOnly: decodeWith(readHeaderOnly),
  watch: decodeWith(readWatch)
}

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

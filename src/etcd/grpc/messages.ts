/**
 * etcd's messages, and the way between them and the contract's types.
 *
 * Requests are written, and answers of every day are read, straight from and into the contract's types: that is where the
 * time goes. Rare answers are as `etcd3` reads them: int64 fields are decimal text, bytes are Buffers, fields that were
 * left out have their default.
 *
 * @module
 */
import type { Buffer } from "node:buffer"
import type {
  CompactRequest,
  Compare,
  DeleteRangeRequest,
  DeleteRangeResponse,
  KeyRange,
  KeyValue,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseId,
  LeaseTimeToLiveRequest,
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
import { Reader, Writer } from "./protobuf.ts"

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

/** A larger one would silently be sent without its upper bits. */
const int64 = (value: bigint, name: string): bigint => {
  if (BigInt.asIntN(64, value) !== value) throw new Unsendable(`${name} must fit into 64 bits, got ${value}`)
  return value
}

/** A fraction would silently be cut off. */
const integer = (value: number, name: string): number => {
  if (!Number.isSafeInteger(value)) throw new Unsendable(`${name} must be a whole number, got ${value}`)
  return value
}

/** An unknown name would silently be sent as 0, which means something else. */
const number = <Name extends string>(numbers: Record<Name, number>, name: Name, field: string): number => {
  if (Object.hasOwn(numbers, name)) return numbers[name]
  throw new Unsendable(`${field} must be one of ${Object.keys(numbers).join(", ")}, got ${JSON.stringify(name)}`)
}

const sortTargets = { key: 0, version: 1, create: 2, mod: 3, value: 4 }
const sortOrders = { ascend: 1, descend: 2 }
const compareResults = { equal: 0, greater: 1, less: 2, notEqual: 3 }
const compareTargets = { version: 0, create: 1, mod: 2, value: 3, lease: 4 }
/** The fields that hold what is compared with. */
const compareFields = { version: 4, create: 5, mod: 6, value: 7, lease: 8 }
const filters = { noPut: 0, noDelete: 1 }

/** An empty end is left out: etcd would take it for the end of the keyspace, and none for one key. */
const writeKeyRange = (writer: Writer, { key, rangeEnd = noBytes }: KeyRange): void => {
  writer.bytes(1, toBytes(key))
  writer.bytes(2, toBytes(rangeEnd))
}

const writeRange = (writer: Writer, request: RangeRequest): void => {
  writeKeyRange(writer, request)
  writer.int64(3, integer(request.limit ?? 0, "limit"))
  writer.int64(4, int64(request.revision ?? 0n, "revision"))
  if (request.sort !== undefined) {
    writer.int64(6, number(sortTargets, request.sort.target, "sort.target"))
    writer.int64(5, number(sortOrders, request.sort.order, "sort.order"))
  }
  writer.bool(7, request.serializable ?? false)
  writer.bool(8, request.keysOnly ?? false)
  writer.bool(9, request.countOnly ?? false)
  writer.int64(10, int64(request.minModRevision ?? 0n, "minModRevision"))
  writer.int64(11, int64(request.maxModRevision ?? 0n, "maxModRevision"))
  writer.int64(12, int64(request.minCreateRevision ?? 0n, "minCreateRevision"))
  writer.int64(13, int64(request.maxCreateRevision ?? 0n, "maxCreateRevision"))
}

const writePut = (writer: Writer, request: PutRequest): void => {
  writer.bytes(1, toBytes(request.key))
  writer.bytes(2, toBytes(request.value))
  writer.int64(3, int64(request.lease ?? 0n, "lease"))
  writer.bool(4, request.prevKv ?? false)
  writer.bool(5, request.ignoreValue ?? false)
  writer.bool(6, request.ignoreLease ?? false)
}

const writeDeleteRange = (writer: Writer, request: DeleteRangeRequest): void => {
  writeKeyRange(writer, request)
  writer.bool(3, request.prevKv ?? false)
}

const writeTxn = (writer: Writer, request: TxnRequest): void => {
  for (const compare of request.compare ?? []) writer.message(1, writeCompare, compare)
  for (const op of request.then ?? []) writer.message(2, writeRequestOp, op)
  for (const op of request.else ?? []) writer.message(3, writeRequestOp, op)
}

/** What is compared with is always written: without it, etcd takes every value for equal. */
const writeCompare = (writer: Writer, compare: Compare): void => {
  writer.int64(1, number(compareResults, compare.result, "compare.result"))
  writer.int64(2, number(compareTargets, compare.target, "compare.target"))
  writer.bytes(3, toBytes(compare.key))
  if (compare.target === "value") writer.bytes(compareFields.value, toBytes(compare.value), true)
  else writer.int64(compareFields[compare.target], int64(compare.value, "compare.value"), true)
  writer.bytes(64, toBytes(compare.rangeEnd ?? noBytes))
}

const writeRequestOp = (writer: Writer, op: RequestOp): void => {
  switch (op._tag) {
    case "Range":
      return writer.message(1, writeRange, op.request)
    case "Put":
      return writer.message(2, writePut, op.request)
    case "DeleteRange":
      return writer.message(3, writeDeleteRange, op.request)
    case "Txn":
      return writer.message(4, writeTxn, op.request)
  }
}

const writeLeaseGrant = (writer: Writer, { id = 0n, ttl }: LeaseGrantRequest): void => {
  writer.int64(2, int64(id, "id"))
  writer.int64(1, integer(ttl, "ttl"))
}

const writeLease = (writer: Writer, id: LeaseId): void => writer.int64(1, int64(id, "id"))

const writeLeaseTimeToLive = (writer: Writer, { id, keys = false }: LeaseTimeToLiveRequest): void => {
  writeLease(writer, id)
  writer.bool(2, keys)
}

const writeCompact = (writer: Writer, { physical = false, revision }: CompactRequest): void => {
  writer.int64(1, int64(revision, "revision"))
  writer.bool(2, physical)
}

const writeCredentials = (writer: Writer, credentials: { readonly name: string; readonly password: string }): void => {
  writer.bytes(1, toBytes(credentials.name))
  writer.bytes(2, toBytes(credentials.password))
}

/** etcd would take an empty key for the first of the keyspace. */
const writeWatch = (writer: Writer, request: WatchRequest): void => {
  if (request.key.length === 0) throw new Unsendable("etcdserver: key is not provided")
  writeKeyRange(writer, request)
  writer.int64(3, int64(request.startRevision ?? 0n, "startRevision"))
  writer.bool(4, true)
  writer.bytes(5, Uint8Array.from(request.filters ?? [], (name) => number(filters, name, "filters")))
  writer.bool(6, request.prevKv ?? false)
  writer.bool(8, true)
}

/** A watch that never says anything, on a key that another one watches. */
const writeSilentWatch = (writer: Writer, { key }: WatchRequest): void =>
  writeWatch(writer, { key, filters: ["noPut", "noDelete"] })

const writeWatchCreate = (writer: Writer, watch: Uint8Array, id: number): void => {
  writer.append(watch)
  writer.int64(7, id)
}

const writeWatchCancel = (writer: Writer, id: number): void => writer.int64(1, id)

const writeNothing = (): void => {}

const encodeWith =
  <A extends ReadonlyArray<unknown>>(write: (writer: Writer, ...request: A) => void) => (...request: A): Buffer => {
    const writer = new Writer()
    write(writer, ...request)
    return writer.finish()
  }

/** The requests. Fields are those of etcd's `rpc.proto` and `kv.proto`. */
export const encode: {
  readonly range: (request: RangeRequest) => Buffer
  readonly put: (request: PutRequest) => Buffer
  readonly deleteRange: (request: DeleteRangeRequest) => Buffer
  readonly txn: (request: TxnRequest) => Buffer
  readonly compact: (request: CompactRequest) => Buffer
  readonly leaseGrant: (request: LeaseGrantRequest) => Buffer
  readonly leaseRevoke: (id: LeaseId) => Buffer
  readonly leaseKeepAlive: (id: LeaseId) => Buffer
  readonly leaseTimeToLive: (request: LeaseTimeToLiveRequest) => Buffer
  /** A request that has no fields. */
  readonly nothing: () => Buffer
  readonly authenticate: (credentials: { readonly name: string; readonly password: string }) => Buffer
  /** A watch without a number: what `watchCreate` sends. */
  readonly watch: (request: WatchRequest) => Buffer
  readonly silentWatch: (request: WatchRequest) => Buffer
  readonly watchCreate: (watch: Uint8Array, id: number) => Buffer
  readonly watchCancel: (id: number) => Buffer
  readonly watchProgress: () => Buffer
} = {
  range: encodeWith(writeRange),
  put: encodeWith(writePut),
  deleteRange: encodeWith(writeDeleteRange),
  txn: encodeWith(writeTxn),
  compact: encodeWith(writeCompact),
  leaseGrant: encodeWith(writeLeaseGrant),
  leaseRevoke: encodeWith(writeLease),
  leaseKeepAlive: encodeWith(writeLease),
  leaseTimeToLive: encodeWith(writeLeaseTimeToLive),
  nothing: encodeWith(writeNothing),
  authenticate: encodeWith(writeCredentials),
  watch: encodeWith(writeWatch),
  silentWatch: encodeWith(writeSilentWatch),
  watchCreate: encodeWith((writer, watch, id) => writer.message(1, writeWatchCreate, watch, id)),
  watchCancel: encodeWith((writer, id) => writer.message(2, writeWatchCancel, id)),
  watchProgress: encodeWith((writer) => writer.message(3, writeNothing))
}

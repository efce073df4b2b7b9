/**
 * etcd's messages as protobuf, to and from the types of the {@link Etcd} contract.
 *
 * Fields are those of etcd's `rpc.proto` and `kv.proto`. The readers and writers below cover the fields that this package
 * uses and skip all others, so newer servers may add some.
 *
 * @module
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire"
import type { Alarm, AlarmResponse, Member, MemberListResponse, StatusResponse } from "../Administration.ts"
import { type KeyRange, toBytes } from "../KeyRange.ts"
import type {
  CompactRequest,
  Compare,
  DeleteRangeRequest,
  DeleteRangeResponse,
  KeyValue,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse
} from "../messages/kv.ts"
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseId,
  LeaseLeasesResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse
} from "../messages/lease.ts"
import type { ResponseHeader } from "../messages/ResponseHeader.ts"
import type { WatchEvent, WatchRequest } from "../messages/watch.ts"

/** A message of a watch stream. */
export interface WatchMessage {
  readonly header: ResponseHeader
  /** `-1` for a progress report on all watches, and for a refused creation. */
  readonly watchId: number
  readonly created: boolean
  readonly canceled: boolean
  /** `0n` unless compaction ended the watch. */
  readonly compactRevision: bigint
  readonly cancelReason: string
  /** The next message continues this revision. */
  readonly fragment: boolean
  readonly events: ReadonlyArray<WatchEvent>
}

/** The tag of a field that holds a message, bytes or text. */
const delimited = (field: number): number => field << 3 | WireType.LengthDelimited

/** Reads the fields of a message that ends at `end`. */
type Read<A> = (reader: BinaryReader, end: number) => A

/** Reads a message inside another message. */
const nested = <A>(reader: BinaryReader, read: Read<A>): A => {
  const length = reader.uint32()
  const end = reader.pos + length
  if (end > reader.len) throw new RangeError("the message is truncated")
  const value = read(reader, end)
  if (reader.pos !== end) throw new RangeError("a field is longer than its message")
  return value
}

/** The library returns text instead of a bigint if `BUF_BIGINT_DISABLE` is set. */
const readInt64 = (reader: BinaryReader): bigint => BigInt(reader.int64())
const readUint64 = (reader: BinaryReader): bigint => BigInt(reader.uint64())

/** Skips the value of an unknown field. */
const skip = (reader: BinaryReader, tag: number): void => {
  reader.skip(tag & 7, tag >>> 3)
}

const noBytes: Uint8Array = new Uint8Array(0)
const noHeader: ResponseHeader = { clusterId: 0n, memberId: 0n, revision: 0n, raftTerm: 0n }

const readHeader = (reader: BinaryReader, end: number): ResponseHeader => {
  let { clusterId, memberId, raftTerm, revision } = noHeader
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) clusterId = readUint64(reader)
    else if (tag === 2 << 3) memberId = readUint64(reader)
    else if (tag === 3 << 3) revision = readInt64(reader)
    else if (tag === 4 << 3) raftTerm = readUint64(reader)
    else skip(reader, tag)
  }
  return { clusterId, memberId, revision, raftTerm }
}

const readKeyValue = (reader: BinaryReader, end: number): KeyValue => {
  let key = noBytes
  let value = noBytes
  let createRevision = 0n
  let modRevision = 0n
  let version = 0n
  let lease = 0n
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) key = reader.bytes()
    else if (tag === 2 << 3) createRevision = readInt64(reader)
    else if (tag === 3 << 3) modRevision = readInt64(reader)
    else if (tag === 4 << 3) version = readInt64(reader)
    else if (tag === delimited(5)) value = reader.bytes()
    else if (tag === 6 << 3) lease = readInt64(reader)
    else skip(reader, tag)
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

const readEvent = (reader: BinaryReader, end: number): WatchEvent => {
  let type: WatchEvent["type"] = "put"
  let kv = noKeyValue
  let prevKv: KeyValue | undefined
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) type = reader.bool() ? "delete" : "put"
    else if (tag === delimited(2)) kv = nested(reader, readKeyValue)
    else if (tag === delimited(3)) prevKv = nested(reader, readKeyValue)
    else skip(reader, tag)
  }
  return prevKv === undefined ? { type, kv } : { type, kv, prevKv }
}

const readRange = (reader: BinaryReader, end: number): RangeResponse => {
  const kvs: Array<KeyValue> = []
  let header = noHeader
  let more = false
  let count = 0n
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) kvs.push(nested(reader, readKeyValue))
    else if (tag === 3 << 3) more = reader.bool()
    else if (tag === 4 << 3) count = readInt64(reader)
    else skip(reader, tag)
  }
  return { header, kvs, more, count }
}

const readPut = (reader: BinaryReader, end: number): PutResponse => {
  let header = noHeader
  let prevKv: KeyValue | undefined
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) prevKv = nested(reader, readKeyValue)
    else skip(reader, tag)
  }
  return prevKv === undefined ? { header } : { header, prevKv }
}

const readDeleteRange = (reader: BinaryReader, end: number): DeleteRangeResponse => {
  const prevKvs: Array<KeyValue> = []
  let header = noHeader
  let deleted = 0n
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === 2 << 3) deleted = readInt64(reader)
    else if (tag === delimited(3)) prevKvs.push(nested(reader, readKeyValue))
    else skip(reader, tag)
  }
  return { header, deleted, prevKvs }
}

const readTxn = (reader: BinaryReader, end: number): TxnResponse => {
  const responses: Array<ResponseOp> = []
  let header = noHeader
  let succeeded = false
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === 2 << 3) succeeded = reader.bool()
    else if (tag === delimited(3)) responses.push(nested(reader, readResponseOp))
    else skip(reader, tag)
  }
  return { header, succeeded, responses }
}

const readResponseOp = (reader: BinaryReader, end: number): ResponseOp => {
  let op: ResponseOp | undefined
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) op = { _tag: "Range", response: nested(reader, readRange) }
    else if (tag === delimited(2)) op = { _tag: "Put", response: nested(reader, readPut) }
    else if (tag === delimited(3)) op = { _tag: "DeleteRange", response: nested(reader, readDeleteRange) }
    else if (tag === delimited(4)) op = { _tag: "Txn", response: nested(reader, readTxn) }
    else skip(reader, tag)
  }
  if (op === undefined) throw new Error("an operation of the Txn has no response")
  return op
}

const readLease = (reader: BinaryReader, end: number): LeaseGrantResponse => {
  let header = noHeader
  let id = 0n
  let ttl = 0
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === 2 << 3) id = readInt64(reader)
    else if (tag === 3 << 3) ttl = Number(readInt64(reader))
    else skip(reader, tag)
  }
  return { header, id, ttl }
}

const readLeaseTimeToLive = (reader: BinaryReader, end: number): LeaseTimeToLiveResponse => {
  const keys: Array<Uint8Array> = []
  let header = noHeader
  let id = 0n
  let ttl = 0
  let grantedTtl = 0
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === 2 << 3) id = readInt64(reader)
    else if (tag === 3 << 3) ttl = Number(readInt64(reader))
    else if (tag === 4 << 3) grantedTtl = Number(readInt64(reader))
    else if (tag === delimited(5)) keys.push(reader.bytes())
    else skip(reader, tag)
  }
  return { header, id, ttl, grantedTtl, keys }
}

const readLeaseStatus = (reader: BinaryReader, end: number): LeaseId => {
  let id = 0n
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) id = readInt64(reader)
    else skip(reader, tag)
  }
  return id
}

const readLeaseLeases = (reader: BinaryReader, end: number): LeaseLeasesResponse => {
  const leases: Array<LeaseId> = []
  let header = noHeader
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) leases.push(nested(reader, readLeaseStatus))
    else skip(reader, tag)
  }
  return { header, leases }
}

const readStatus = (reader: BinaryReader, end: number): StatusResponse => {
  const errors: Array<string> = []
  let header = noHeader
  let version = ""
  let dbSize = 0n
  let leader = 0n
  let raftIndex = 0n
  let raftTerm = 0n
  let raftAppliedIndex = 0n
  let dbSizeInUse = 0n
  let isLearner = false
  let newer: Pick<StatusResponse, "storageVersion" | "dbSizeQuota" | "downgradeTarget"> = {}
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) version = reader.string()
    else if (tag === 3 << 3) dbSize = readInt64(reader)
    else if (tag === 4 << 3) leader = readUint64(reader)
    else if (tag === 5 << 3) raftIndex = readUint64(reader)
    else if (tag === 6 << 3) raftTerm = readUint64(reader)
    else if (tag === 7 << 3) raftAppliedIndex = readUint64(reader)
    else if (tag === delimited(8)) errors.push(reader.string())
    else if (tag === 9 << 3) dbSizeInUse = readInt64(reader)
    else if (tag === 10 << 3) isLearner = reader.bool()
    else if (tag === delimited(11)) newer = { ...newer, storageVersion: reader.string() }
    else if (tag === 12 << 3) newer = { ...newer, dbSizeQuota: readInt64(reader) }
    else if (tag === delimited(13)) newer = { ...newer, ...nested(reader, readDowngrade) }
    else skip(reader, tag)
  }
  return {
    header,
    version,
    dbSize,
    leader,
    raftIndex,
    raftTerm,
    raftAppliedIndex,
    errors,
    dbSizeInUse,
    isLearner,
    ...newer
  }
}

const readDowngrade = (reader: BinaryReader, end: number): Pick<StatusResponse, "downgradeTarget"> => {
  let isEnabled = false
  let target = ""
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) isEnabled = reader.bool()
    else if (tag === delimited(2)) target = reader.string()
    else skip(reader, tag)
  }
  return isEnabled ? { downgradeTarget: target } : {}
}

const readMember = (reader: BinaryReader, end: number): Member => {
  const peerUrls: Array<string> = []
  const clientUrls: Array<string> = []
  let id = 0n
  let name = ""
  let isLearner = false
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) id = readUint64(reader)
    else if (tag === delimited(2)) name = reader.string()
    else if (tag === delimited(3)) peerUrls.push(reader.string())
    else if (tag === delimited(4)) clientUrls.push(reader.string())
    else if (tag === 5 << 3) isLearner = reader.bool()
    else skip(reader, tag)
  }
  return { id, name, peerUrls, clientUrls, isLearner }
}

const readMemberList = (reader: BinaryReader, end: number): MemberListResponse => {
  const members: Array<Member> = []
  let header = noHeader
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) members.push(nested(reader, readMember))
    else skip(reader, tag)
  }
  return { header, members }
}

const alarmTypes: ReadonlyArray<Alarm["type"]> = ["unknown", "nospace", "corrupt"]

const readAlarm = (reader: BinaryReader, end: number): Alarm => {
  let memberId = 0n
  let type: Alarm["type"] = "unknown"
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) memberId = readUint64(reader)
    else if (tag === 2 << 3) type = alarmTypes[reader.int32()] ?? "unknown"
    else skip(reader, tag)
  }
  return { memberId, type }
}

const readAlarms = (reader: BinaryReader, end: number): AlarmResponse => {
  const alarms: Array<Alarm> = []
  let header = noHeader
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === delimited(2)) alarms.push(nested(reader, readAlarm))
    else skip(reader, tag)
  }
  return { header, alarms }
}

const readToken = (reader: BinaryReader, end: number): string => {
  let token = ""
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(2)) token = reader.string()
    else skip(reader, tag)
  }
  return token
}

const readHeaderOnly = (reader: BinaryReader, end: number): { readonly header: ResponseHeader } => {
  let header = noHeader
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else skip(reader, tag)
  }
  return { header }
}

const readWatch = (reader: BinaryReader, end: number): WatchMessage => {
  const events: Array<WatchEvent> = []
  let header = noHeader
  let watchId = 0
  let created = false
  let canceled = false
  let compactRevision = 0n
  let cancelReason = ""
  let fragment = false
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === delimited(1)) header = nested(reader, readHeader)
    else if (tag === 2 << 3) watchId = Number(readInt64(reader))
    else if (tag === 3 << 3) created = reader.bool()
    else if (tag === 4 << 3) canceled = reader.bool()
    else if (tag === 5 << 3) compactRevision = readInt64(reader)
    else if (tag === delimited(6)) cancelReason = reader.string()
    else if (tag === 7 << 3) fragment = reader.bool()
    else if (tag === delimited(11)) events.push(nested(reader, readEvent))
    else skip(reader, tag)
  }
  return { header, watchId, created, canceled, compactRevision, cancelReason, fragment, events }
}

/** Bytes in the result are views of the input: plain `Uint8Array`s, also where the input is a `Buffer`. */
const decodeWith = <A>(read: Read<A>) => ({ buffer, byteLength, byteOffset }: Uint8Array): A => {
  const reader = new BinaryReader(new Uint8Array(buffer, byteOffset, byteLength))
  const value = read(reader, reader.len)
  if (reader.pos !== reader.len) throw new RangeError("the message is truncated")
  return value
}

/** Decodes a response. Throws if the bytes are not that message. */
export const decode: {
  readonly range: (bytes: Uint8Array) => RangeResponse
  readonly put: (bytes: Uint8Array) => PutResponse
  readonly deleteRange: (bytes: Uint8Array) => DeleteRangeResponse
  readonly txn: (bytes: Uint8Array) => TxnResponse
  readonly lease: (bytes: Uint8Array) => LeaseGrantResponse
  readonly leaseTimeToLive: (bytes: Uint8Array) => LeaseTimeToLiveResponse
  readonly leaseLeases: (bytes: Uint8Array) => LeaseLeasesResponse
  readonly status: (bytes: Uint8Array) => StatusResponse
  readonly memberList: (bytes: Uint8Array) => MemberListResponse
  readonly alarms: (bytes: Uint8Array) => AlarmResponse
  /** The token of an `AuthenticateResponse`. */
  readonly token: (bytes: Uint8Array) => string
  readonly headerOnly: (bytes: Uint8Array) => { readonly header: ResponseHeader }
  readonly watch: (bytes: Uint8Array) => WatchMessage
} = {
  range: decodeWith(readRange),
  put: decodeWith(readPut),
  deleteRange: decodeWith(readDeleteRange),
  txn: decodeWith(readTxn),
  lease: decodeWith(readLease),
  leaseTimeToLive: decodeWith(readLeaseTimeToLive),
  leaseLeases: decodeWith(readLeaseLeases),
  status: decodeWith(readStatus),
  memberList: decodeWith(readMemberList),
  alarms: decodeWith(readAlarms),
  token: decodeWith(readToken),
  headerOnly: decodeWith(readHeaderOnly),
  watch: decodeWith(readWatch)
}

/** Thrown by the encoders below: the wire has no value for this request, or the value has another meaning there. */
export class Unsendable {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

/** Refuses a value whose upper bits would be lost silently. */
const int64 = (value: bigint, name: string): bigint => {
  if (BigInt.asIntN(64, value) !== value) throw new Unsendable(`${name} must fit into 64 bits, got ${value}`)
  return value
}

/** Refuses a fraction, which would be truncated silently. */
const integer = (value: number, name: string): number => {
  if (!Number.isSafeInteger(value)) throw new Unsendable(`${name} must be a whole number, got ${value}`)
  return value
}

/** Refuses an unknown name, which would be sent as 0 and so mean something else. */
const number = <Name extends string>(numbers: Record<Name, number>, name: Name, field: string): number => {
  if (Object.hasOwn(numbers, name)) return numbers[name]
  throw new Unsendable(`${field} must be one of ${Object.keys(numbers).join(", ")}, got ${JSON.stringify(name)}`)
}

const sortTargets = { key: 0, version: 1, create: 2, mod: 3, value: 4 }
const sortOrders = { ascend: 1, descend: 2 }
const compareResults = { equal: 0, greater: 1, less: 2, notEqual: 3 }
const compareTargets = { version: 0, create: 1, mod: 2, value: 3, lease: 4 }
/** The fields of the operand. */
const compareFields = { version: 4, create: 5, mod: 6, value: 7, lease: 8 }
const filters = { noPut: 0, noDelete: 1 }

const writeBool = (writer: BinaryWriter, field: number, value: boolean): void => {
  if (value) writer.tag(field, WireType.Varint).bool(value)
}

/** Writes an int64 or an enum. `always` writes the default value, too: a oneof needs it to say which member is set. */
const writeInt64 = (writer: BinaryWriter, field: number, value: bigint | number, always = false): void => {
  if (always || (value !== 0 && value !== 0n)) writer.tag(field, WireType.Varint).int64(value)
}

const writeBytes = (writer: BinaryWriter, field: number, value: Uint8Array, always = false): void => {
  if (always || value.length > 0) writer.tag(field, WireType.LengthDelimited).bytes(value)
}

const writeMessage = <A extends ReadonlyArray<unknown>>(
  writer: BinaryWriter,
  field: number,
  write: (writer: BinaryWriter, ...args: A) => void,
  ...args: A
): void => {
  writer.tag(field, WireType.LengthDelimited).fork()
  write(writer, ...args)
  writer.join()
}

/** Omits an empty end: on the wire it would mean a range, and to leave it out means one key. */
const writeKeyRange = (writer: BinaryWriter, { key, rangeEnd = noBytes }: KeyRange): void => {
  writeBytes(writer, 1, toBytes(key))
  writeBytes(writer, 2, toBytes(rangeEnd))
}

const writeRange = (writer: BinaryWriter, request: RangeRequest): void => {
  writeKeyRange(writer, request)
  writeInt64(writer, 3, integer(request.limit ?? 0, "limit"))
  writeInt64(writer, 4, int64(request.revision ?? 0n, "revision"))
  if (request.sort !== undefined) {
    writeInt64(writer, 6, number(sortTargets, request.sort.target, "sort.target"))
    writeInt64(writer, 5, number(sortOrders, request.sort.order, "sort.order"))
  }
  writeBool(writer, 7, request.serializable ?? false)
  writeBool(writer, 8, request.keysOnly ?? false)
  writeBool(writer, 9, request.countOnly ?? false)
  writeInt64(writer, 10, int64(request.minModRevision ?? 0n, "minModRevision"))
  writeInt64(writer, 11, int64(request.maxModRevision ?? 0n, "maxModRevision"))
  writeInt64(writer, 12, int64(request.minCreateRevision ?? 0n, "minCreateRevision"))
  writeInt64(writer, 13, int64(request.maxCreateRevision ?? 0n, "maxCreateRevision"))
}

const writePut = (writer: BinaryWriter, request: PutRequest): void => {
  writeBytes(writer, 1, toBytes(request.key))
  writeBytes(writer, 2, toBytes(request.value))
  writeInt64(writer, 3, int64(request.lease ?? 0n, "lease"))
  writeBool(writer, 4, request.prevKv ?? false)
  writeBool(writer, 5, request.ignoreValue ?? false)
  writeBool(writer, 6, request.ignoreLease ?? false)
}

const writeDeleteRange = (writer: BinaryWriter, request: DeleteRangeRequest): void => {
  writeKeyRange(writer, request)
  writeBool(writer, 3, request.prevKv ?? false)
}

const writeTxn = (writer: BinaryWriter, request: TxnRequest): void => {
  for (const compare of request.compare ?? []) writeMessage(writer, 1, writeCompare, compare)
  for (const op of request.then ?? []) writeMessage(writer, 2, writeRequestOp, op)
  for (const op of request.else ?? []) writeMessage(writer, 3, writeRequestOp, op)
}

/** Always writes the operand: without it, etcd treats every value as equal. */
const writeCompare = (writer: BinaryWriter, compare: Compare): void => {
  writeInt64(writer, 1, number(compareResults, compare.result, "compare.result"))
  writeInt64(writer, 2, number(compareTargets, compare.target, "compare.target"))
  writeBytes(writer, 3, toBytes(compare.key))
  if (compare.target === "value") writeBytes(writer, compareFields.value, toBytes(compare.value), true)
  else writeInt64(writer, compareFields[compare.target], int64(compare.value, "compare.value"), true)
  writeBytes(writer, 64, toBytes(compare.rangeEnd ?? noBytes))
}

const writeRequestOp = (writer: BinaryWriter, op: RequestOp): void => {
  switch (op._tag) {
    case "Range":
      return writeMessage(writer, 1, writeRange, op.request)
    case "Put":
      return writeMessage(writer, 2, writePut, op.request)
    case "DeleteRange":
      return writeMessage(writer, 3, writeDeleteRange, op.request)
    case "Txn":
      return writeMessage(writer, 4, writeTxn, op.request)
  }
}

const writeLeaseGrant = (writer: BinaryWriter, { id = 0n, ttl }: LeaseGrantRequest): void => {
  writeInt64(writer, 2, int64(id, "id"))
  writeInt64(writer, 1, integer(ttl, "ttl"))
}

const writeLease = (writer: BinaryWriter, id: LeaseId): void => writeInt64(writer, 1, int64(id, "id"))

const writeLeaseTimeToLive = (writer: BinaryWriter, { id, keys = false }: LeaseTimeToLiveRequest): void => {
  writeLease(writer, id)
  writeBool(writer, 2, keys)
}

const writeCompact = (writer: BinaryWriter, { physical = false, revision }: CompactRequest): void => {
  writeInt64(writer, 1, int64(revision, "revision"))
  writeBool(writer, 2, physical)
}

const writeCredentials = (
  writer: BinaryWriter,
  credentials: { readonly name: string; readonly password: string }
): void => {
  writeBytes(writer, 1, toBytes(credentials.name))
  writeBytes(writer, 2, toBytes(credentials.password))
}

/** Refuses an empty key: etcd would watch from the start of the keyspace. */
const writeWatch = (writer: BinaryWriter, request: WatchRequest): void => {
  if (request.key.length === 0) throw new Unsendable("etcdserver: key is not provided")
  writeKeyRange(writer, request)
  writeInt64(writer, 3, int64(request.startRevision ?? 0n, "startRevision"))
  writeBool(writer, 4, true)
  writeBytes(writer, 5, Uint8Array.from(request.filters ?? [], (name) => number(filters, name, "filters")))
  writeBool(writer, 6, request.prevKv ?? false)
  writeBool(writer, 8, true)
}

/** A watch that never has an event. The key is one that the caller may watch. */
const writeSilentWatch = (writer: BinaryWriter, { key }: WatchRequest): void =>
  writeWatch(writer, { key, filters: ["noPut", "noDelete"] })

const writeWatchCreate = (writer: BinaryWriter, watch: Uint8Array, id: number): void => {
  writer.raw(watch)
  writeInt64(writer, 7, id)
}

const writeWatchCancel = (writer: BinaryWriter, id: number): void => writeInt64(writer, 1, id)

const writeNothing = (): void => {}

const encodeWith =
  <A extends ReadonlyArray<unknown>>(write: (writer: BinaryWriter, ...request: A) => void) =>
  (...request: A): Uint8Array => {
    const writer = new BinaryWriter()
    write(writer, ...request)
    return writer.finish()
  }

/** Encodes a request. Throws {@link Unsendable}. */
export const encode: {
  readonly range: (request: RangeRequest) => Uint8Array
  readonly put: (request: PutRequest) => Uint8Array
  readonly deleteRange: (request: DeleteRangeRequest) => Uint8Array
  readonly txn: (request: TxnRequest) => Uint8Array
  readonly compact: (request: CompactRequest) => Uint8Array
  readonly leaseGrant: (request: LeaseGrantRequest) => Uint8Array
  readonly leaseRevoke: (id: LeaseId) => Uint8Array
  readonly leaseKeepAlive: (id: LeaseId) => Uint8Array
  readonly leaseTimeToLive: (request: LeaseTimeToLiveRequest) => Uint8Array
  readonly memberList: (isLinearizable: boolean) => Uint8Array
  /** A request without fields. */
  readonly nothing: () => Uint8Array
  readonly authenticate: (credentials: { readonly name: string; readonly password: string }) => Uint8Array
  /** The body of a creation, without the watch id: the input of `watchCreate`. */
  readonly watch: (request: WatchRequest) => Uint8Array
  readonly silentWatch: (request: WatchRequest) => Uint8Array
  readonly watchCreate: (watch: Uint8Array, id: number) => Uint8Array
  readonly watchCancel: (id: number) => Uint8Array
  readonly watchProgress: () => Uint8Array
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
  memberList: encodeWith((writer, isLinearizable) => writeBool(writer, 1, isLinearizable)),
  nothing: encodeWith(writeNothing),
  authenticate: encodeWith(writeCredentials),
  watch: encodeWith(writeWatch),
  silentWatch: encodeWith(writeSilentWatch),
  watchCreate: encodeWith((writer, watch, id) => writeMessage(writer, 1, writeWatchCreate, watch, id)),
  watchCancel: encodeWith((writer, id) => writeMessage(writer, 2, writeWatchCancel, id)),
  watchProgress: encodeWith((writer) => writeMessage(writer, 3, writeNothing))
}

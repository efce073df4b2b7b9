/**
 * The messages of etcd's Watch service as protobuf.
 *
 * @module
 */
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire"
import type { KeyValue } from "../../messages/kv.ts"
import type { ResponseHeader } from "../../messages/ResponseHeader.ts"
import type { WatchEvent, WatchRequest } from "../../messages/watch.ts"
import { noKeyValue, readKeyValue } from "./kv.ts"
import {
  type Decoder,
  decodeWith,
  delimited,
  type Encoder,
  encodeWith,
  enumValue,
  int64,
  nested,
  noHeader,
  readHeader,
  readInt64,
  skip,
  Unsendable,
  writeBool,
  writeBytes,
  writeInt64,
  writeKeyRange,
  writeMessage,
  writeNothing
} from "./wire.ts"

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
  /** Whether the next message continues this revision. */
  readonly fragment: boolean
  readonly events: ReadonlyArray<WatchEvent>
}

/** Another type than etcd's own must not pass for a deletion. */
const readEventType = (reader: BinaryReader): WatchEvent["type"] => {
  const type = reader.int32()
  if (type !== 0 && type !== 1) throw new RangeError(`an event has the unknown type ${type}`)
  return type === 0 ? "put" : "delete"
}

const readEvent = (reader: BinaryReader, end: number): WatchEvent => {
  let type: WatchEvent["type"] = "put"
  let kv = noKeyValue
  let prevKv: KeyValue | undefined
  while (reader.pos < end) {
    const tag = reader.uint32()
    if (tag === 1 << 3) type = readEventType(reader)
    else if (tag === delimited(2)) kv = nested(reader, readKeyValue)
    else if (tag === delimited(3)) prevKv = nested(reader, readKeyValue)
    else skip(reader, tag)
  }
  return prevKv === undefined ? { type, kv } : { type, kv, prevKv }
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

export const decodeWatch: Decoder<WatchMessage> = decodeWith(readWatch)

const filters = { noPut: 0, noDelete: 1 }

/** Refuses an empty key: etcd would watch from the start of the keyspace. */
const writeWatch = (writer: BinaryWriter, request: WatchRequest): void => {
  if (request.key.length === 0) throw new Unsendable("etcdserver: key is not provided")
  writeKeyRange(writer, request)
  writeInt64(writer, 3, int64(request.startRevision ?? 0n, "startRevision"))
  writeBool(writer, 4, true)
  writeBytes(writer, 5, Uint8Array.from(request.filters ?? [], (name) => enumValue(filters, name, "filters")))
  writeBool(writer, 6, request.prevKv ?? false)
  writeBool(writer, 8, true)
}

/** A watch without events, on a key that the caller may watch. */
const writeSilentWatch = (writer: BinaryWriter, { key }: WatchRequest): void =>
  writeWatch(writer, { key, filters: ["noPut", "noDelete"] })

const writeWatchCreate = (writer: BinaryWriter, watch: Uint8Array, id: number): void => {
  writer.raw(watch)
  writeInt64(writer, 7, id)
}

const writeWatchCancel = (writer: BinaryWriter, id: number): void => writeInt64(writer, 1, id)

/** Encodes the body of a creation without the watch id: the input of {@link encodeWatchCreate}. */
export const encodeWatch: Encoder<[request: WatchRequest]> = encodeWith(writeWatch)
export const encodeSilentWatch: Encoder<[request: WatchRequest]> = encodeWith(writeSilentWatch)
export const encodeWatchCreate: Encoder<[watch: Uint8Array, id: number]> = encodeWith((writer, watch, id) =>
  writeMessage(writer, 1, writeWatchCreate, watch, id)
)
export const encodeWatchCancel: Encoder<[id: number]> = encodeWith((writer, id) =>
  writeMessage(writer, 2, writeWatchCancel, id)
)
export const encodeWatchProgress: Encoder<[]> = encodeWith((writer) => writeMessage(writer, 3, writeNothing))

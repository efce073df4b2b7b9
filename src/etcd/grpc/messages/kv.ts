/**
 * The messages of etcd's KV service as protobuf.
 *
 * @module
 */
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire"
import { toBytes } from "../../KeyRange.ts"
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
} from "../../messages/kv.ts"
import {
  type Decoder,
  decodeWith,
  delimited,
  type Encoder,
  encodeWith,
  enumValue,
  int64,
  integer,
  nested,
  noBytes,
  noHeader,
  readHeader,
  readInt64,
  skip,
  writeBool,
  writeBytes,
  writeInt64,
  writeKeyRange,
  writeMessage
} from "./wire.ts"

export const readKeyValue = (reader: BinaryReader, end: number): KeyValue => {
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

export const noKeyValue: KeyValue = {
  key: noBytes,
  value: noBytes,
  createRevision: 0n,
  modRevision: 0n,
  version: 0n,
  lease: 0n
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

export const decodeRange: Decoder<RangeResponse> = decodeWith(readRange)
export const decodePut: Decoder<PutResponse> = decodeWith(readPut)
export const decodeDeleteRange: Decoder<DeleteRangeResponse> = decodeWith(readDeleteRange)
export const decodeTxn: Decoder<TxnResponse> = decodeWith(readTxn)

const sortTargets = { key: 0, version: 1, create: 2, mod: 3, value: 4 }

const sortOrders = { ascend: 1, descend: 2 }

const compareResults = { equal: 0, greater: 1, less: 2, notEqual: 3 }

const compareTargets = { version: 0, create: 1, mod: 2, value: 3, lease: 4 }

/** The field numbers of the operand. */
const compareFields = { version: 4, create: 5, mod: 6, value: 7, lease: 8 }

const writeRange = (writer: BinaryWriter, request: RangeRequest): void => {
  writeKeyRange(writer, request)
  writeInt64(writer, 3, integer(request.limit ?? 0, "limit"))
  writeInt64(writer, 4, int64(request.revision ?? 0n, "revision"))
  if (request.sort !== undefined) {
    writeInt64(writer, 6, enumValue(sortTargets, request.sort.target, "sort.target"))
    writeInt64(writer, 5, enumValue(sortOrders, request.sort.order, "sort.order"))
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

/** Always writes the operand, since etcd treats a missing one as equal to every value. */
const writeCompare = (writer: BinaryWriter, compare: Compare): void => {
  writeInt64(writer, 1, enumValue(compareResults, compare.result, "compare.result"))
  writeInt64(writer, 2, enumValue(compareTargets, compare.target, "compare.target"))
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

const writeCompact = (writer: BinaryWriter, { physical = false, revision }: CompactRequest): void => {
  writeInt64(writer, 1, int64(revision, "revision"))
  writeBool(writer, 2, physical)
}

export const encodeRange: Encoder<[request: RangeRequest]> = encodeWith(writeRange)
export const encodePut: Encoder<[request: PutRequest]> = encodeWith(writePut)
export const encodeDeleteRange: Encoder<[request: DeleteRangeRequest]> = encodeWith(writeDeleteRange)
export const encodeTxn: Encoder<[request: TxnRequest]> = encodeWith(writeTxn)
export const encodeCompact: Encoder<[request: CompactRequest]> = encodeWith(writeCompact)

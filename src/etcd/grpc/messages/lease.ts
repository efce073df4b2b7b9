/**
 * The messages of etcd's Lease service as protobuf.
 *
 * @module
 */
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire"
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseId,
  LeaseLeasesResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse
} from "../../messages/lease.ts"
import {
  type Decoder,
  decodeWith,
  delimited,
  type Encoder,
  encodeWith,
  int64,
  integer,
  nested,
  noHeader,
  readHeader,
  readInt64,
  skip,
  writeBool,
  writeInt64
} from "./wire.ts"

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

/** Decodes the response to a grant or to a heartbeat: both have the same fields. */
export const decodeLease: Decoder<LeaseGrantResponse> = decodeWith(readLease)
export const decodeLeaseTimeToLive: Decoder<LeaseTimeToLiveResponse> = decodeWith(readLeaseTimeToLive)
export const decodeLeaseLeases: Decoder<LeaseLeasesResponse> = decodeWith(readLeaseLeases)

const writeLeaseGrant = (writer: BinaryWriter, { id = 0n, ttl }: LeaseGrantRequest): void => {
  writeInt64(writer, 2, int64(id, "id"))
  writeInt64(writer, 1, integer(ttl, "ttl"))
}

const writeLease = (writer: BinaryWriter, id: LeaseId): void => writeInt64(writer, 1, int64(id, "id"))

const writeLeaseTimeToLive = (writer: BinaryWriter, { id, keys = false }: LeaseTimeToLiveRequest): void => {
  writeLease(writer, id)
  writeBool(writer, 2, keys)
}

export const encodeLeaseGrant: Encoder<[request: LeaseGrantRequest]> = encodeWith(writeLeaseGrant)
export const encodeLeaseRevoke: Encoder<[id: LeaseId]> = encodeWith(writeLease)
export const encodeLeaseKeepAlive: Encoder<[id: LeaseId]> = encodeWith(writeLease)
export const encodeLeaseTimeToLive: Encoder<[request: LeaseTimeToLiveRequest]> = encodeWith(writeLeaseTimeToLive)

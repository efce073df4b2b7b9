/**
 * The messages of etcd's Cluster service as protobuf.
 *
 * @module
 */
import type { BinaryReader } from "@bufbuild/protobuf/wire"
import type { Member, MemberListResponse } from "../../Administration.ts"
import {
  type Decoder,
  decodeWith,
  delimited,
  type Encoder,
  encodeWith,
  nested,
  noHeader,
  readHeader,
  readUint64,
  skip,
  writeBool
} from "./wire.ts"

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

export const decodeMemberList: Decoder<MemberListResponse> = decodeWith(readMemberList)

export const encodeMemberList: Encoder<[isLinearizable: boolean]> = encodeWith((writer, isLinearizable) =>
  writeBool(writer, 1, isLinearizable)
)

/**
 * The messages of etcd's Maintenance service as protobuf.
 *
 * @module
 */
import type { BinaryReader } from "@bufbuild/protobuf/wire"
import type { Alarm, AlarmResponse, StatusResponse } from "../../Administration.ts"
import {
  type Decoder,
  decodeWith,
  delimited,
  nested,
  noHeader,
  readHeader,
  readInt64,
  readUint64,
  skip
} from "./wire.ts"

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

export const decodeStatus: Decoder<StatusResponse> = decodeWith(readStatus)
export const decodeAlarms: Decoder<AlarmResponse> = decodeWith(readAlarms)

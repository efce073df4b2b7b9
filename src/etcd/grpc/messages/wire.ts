/**
 * Readers and writers of protobuf fields, and the parts that the messages of several services share.
 *
 * The fields are those of etcd's `rpc.proto` and `kv.proto`. A reader skips fields that it does not list, so newer
 * servers may add some.
 *
 * @module
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire"
import { int64Violation } from "../../int64.ts"
import { type KeyRange, toBytes } from "../../KeyRange.ts"
import type { ResponseHeader } from "../../messages/ResponseHeader.ts"

/** The tag of a field that holds a message, bytes or text. */
export const delimited = (field: number): number => field << 3 | WireType.LengthDelimited

/** Reads the fields of a message that ends at `end`. */
export type Read<A> = (reader: BinaryReader, end: number) => A

/** Reads a message inside another message. */
export const nested = <A>(reader: BinaryReader, read: Read<A>): A => {
  const length = reader.uint32()
  const end = reader.pos + length
  if (end > reader.len) throw new RangeError("the message is truncated")
  const value = read(reader, end)
  if (reader.pos !== end) throw new RangeError("a field is longer than its message")
  return value
}

// The library returns text instead of a bigint if `BUF_BIGINT_DISABLE` is set.
export const readInt64 = (reader: BinaryReader): bigint => BigInt(reader.int64())
export const readUint64 = (reader: BinaryReader): bigint => BigInt(reader.uint64())

/** Skips the value of an unknown field. */
export const skip = (reader: BinaryReader, tag: number): void => {
  reader.skip(tag & 7, tag >>> 3)
}

export const noBytes: Uint8Array = new Uint8Array(0)
export const noHeader: ResponseHeader = { clusterId: 0n, memberId: 0n, revision: 0n, raftTerm: 0n }

export const readHeader = (reader: BinaryReader, end: number): ResponseHeader => {
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

/** Decodes a response. Throws if the bytes are not that message. */
export type Decoder<A> = (bytes: Uint8Array) => A

/** Bytes in the result are views of the input, and plain `Uint8Array`s even if the input is a `Buffer`. */
export const decodeWith = <A>(read: Read<A>): Decoder<A> => ({ buffer, byteLength, byteOffset }) => {
  const reader = new BinaryReader(new Uint8Array(buffer, byteOffset, byteLength))
  const value = read(reader, reader.len)
  if (reader.pos !== reader.len) throw new RangeError("the message is truncated")
  return value
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

/** Decodes a response that has only a header. */
export const decodeHeaderOnly: Decoder<{ readonly header: ResponseHeader }> = decodeWith(readHeaderOnly)

/** Thrown by an encoder: the request has a value that protobuf cannot represent, or would change silently. */
export class Unsendable {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

/** Refuses a value that is not a 64-bit integer. */
export const int64 = (value: bigint, name: string): bigint => {
  const violation = int64Violation(name, value)
  if (violation !== undefined) throw new Unsendable(violation)
  return value
}

/** Refuses a fraction, which would be truncated silently. */
export const integer = (value: number, name: string): number => {
  if (!Number.isSafeInteger(value)) throw new Unsendable(`${name} must be a whole number, got ${value}`)
  return value
}

/** The number of a name. Refuses an unknown name, which would be sent as 0: another name. */
export const enumValue = <Name extends string>(numbers: Record<Name, number>, name: Name, field: string): number => {
  if (Object.hasOwn(numbers, name)) return numbers[name]
  throw new Unsendable(`${field} must be one of ${Object.keys(numbers).join(", ")}, got ${JSON.stringify(name)}`)
}

export const writeBool = (writer: BinaryWriter, field: number, value: boolean): void => {
  if (value) writer.tag(field, WireType.Varint).bool(value)
}

/** Writes an int64 or an enum. `always` writes the default value too, which selects the member of a oneof. */
export const writeInt64 = (writer: BinaryWriter, field: number, value: bigint | number, always = false): void => {
  if (always || (value !== 0 && value !== 0n)) writer.tag(field, WireType.Varint).int64(value)
}

export const writeBytes = (writer: BinaryWriter, field: number, value: Uint8Array, always = false): void => {
  if (always || value.length > 0) writer.tag(field, WireType.LengthDelimited).bytes(value)
}

export const writeMessage = <A extends ReadonlyArray<unknown>>(
  writer: BinaryWriter,
  field: number,
  write: (writer: BinaryWriter, ...args: A) => void,
  ...args: A
): void => {
  writer.tag(field, WireType.LengthDelimited).fork()
  write(writer, ...args)
  writer.join()
}

/** Writes fields 1 and 2. Omits an empty end, so that the range is one key. */
export const writeKeyRange = (writer: BinaryWriter, { key, rangeEnd = noBytes }: KeyRange): void => {
  writeBytes(writer, 1, toBytes(key))
  writeBytes(writer, 2, toBytes(rangeEnd))
}

export const writeNothing = (): void => {}

/** Encodes a request. Throws {@link Unsendable}. */
export type Encoder<A extends ReadonlyArray<unknown>> = (...request: A) => Uint8Array

export const encodeWith =
  <A extends ReadonlyArray<unknown>>(write: (writer: BinaryWriter, ...request: A) => void) =>
  (...request: A): Uint8Array => {
    const writer = new BinaryWriter()
    write(writer, ...request)
    return writer.finish()
  }

/** Encodes a request without fields. */
export const encodeNothing: Encoder<[]> = encodeWith(writeNothing)

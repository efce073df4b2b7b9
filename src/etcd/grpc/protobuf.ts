/**
 * Reads and writes protobuf messages (protobuf.dev/programming-guides/encoding): what etcd's messages need of it.
 *
 * A message is read field by field: `more` until its end, then a tag, then the value that belongs to it. Bytes are views
 * on what was received. It is written field by field, too; what has its default is left out.
 *
 * @module
 */
import { Buffer } from "node:buffer"

/** The wire types. */
const varint = 0
const fixed64 = 1
const delimited = 2
const fixed32 = 5

/** Reads one message; see the module's description. */
export class Reader {
  readonly #bytes: Uint8Array
  #at = 0
  #end: number

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#end = bytes.length
  }

  /** Whether the message has another field. */
  get more(): boolean {
    return this.#at < this.#end
  }

  /** The number of a field and its wire type: `number << 3 | type`. */
  tag(): number {
    return this.#uint32()
  }

  bool(): boolean {
    return this.#uint32() !== 0
  }

  /** An int64. */
  int64(): bigint {
    const value = this.uint64()
    return value < 2n ** 63n ? value : value - 2n ** 64n
  }

  /** A uint64: groups of 7 bits, the lowest first. */
  uint64(): bigint {
    // The lower 49 bits fit into a number, and few values have more.
    let low = 0
    for (let factor = 1; factor < 2 ** 49; factor *= 128) {
      const byte = this.#byte()
      low += (byte & 0x7f) * factor
      if (byte < 0x80) return BigInt(low)
    }
    let high = 0
    for (let factor = 1; factor <= 2 ** 14; factor *= 128) {
      const byte = this.#byte()
      high += (byte & 0x7f) * factor
      if (byte < 0x80) return BigInt.asUintN(64, BigInt(low) + (BigInt(high) << 49n))
    }
    throw new Error("a number is longer than 10 bytes")
  }

  /** An int64 that is known to be small. */
  number(): number {
    return Number(this.int64())
  }

  /** A view, not a copy, and without the ways of a Buffer. */
  bytes(): Uint8Array {
    const length = this.#uint32()
    const start = this.#skip(length)
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, length)
  }

  text(): string {
    return decoder.decode(this.bytes())
  }

  /** Reads a message within this one. */
  message<A>(read: (reader: Reader) => A): A {
    const length = this.#uint32()
    const end = this.#end
    const within = this.#at + length
    if (within > end) throw tooShort
    this.#end = within
    const value = read(this)
    this.#at = within
    this.#end = end
    return value
  }

  /** Passes over the value of a field that nobody asked for. */
  skip(tag: number): void {
    switch (tag & 7) {
      case varint:
        while (this.#byte() >= 0x80);
        return
      case fixed64:
        this.#skip(8)
        return
      case delimited:
        this.#skip(this.#uint32())
        return
      case fixed32:
        this.#skip(4)
        return
      default:
        throw new Error(`wire type ${tag & 7}`)
    }
  }

  #byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined || this.#at >= this.#end) throw tooShort
    this.#at += 1
    return byte
  }

  #uint32(): number {
    let value = 0
    for (let factor = 1; factor < 2 ** 35; factor *= 128) {
      const byte = this.#byte()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
    throw new Error("a length is longer than 5 bytes")
  }

  /** Moves on, and answers with where it was. */
  #skip(length: number): number {
    const start = this.#at
    if (start + length > this.#end) throw tooShort
    this.#at = start + length
    return start
  }
}

const tooShort = new Error("the message is cut off")
const decoder = new TextDecoder()

/**
 * Writes one message; see the module's description.
 *
 * A member of a oneof says by being there which one is meant: `always` writes it with its default, too.
 */
export class Writer {
  /** Larger than most requests. */
  #bytes = Buffer.allocUnsafe(256)
  #at = 0

  bool(field: number, value: boolean): void {
    if (!value) return
    this.#tag(field, varint)
    this.#byte(1)
  }

  /** An int64 that fits, or the number of an enum. */
  int64(field: number, value: bigint | number, always = false): void {
    if (!always && (value === 0 || value === 0n)) return
    this.#tag(field, varint)
    if (typeof value === "number") return this.#varint(value >>> 0, Math.floor(value / 2 ** 32) >>> 0)
    // Through memory: arithmetic would allocate a bigint for each step.
    int64Bytes.setBigInt64(0, value)
    this.#varint(int64Bytes.getUint32(4), int64Bytes.getUint32(0))
  }

  bytes(field: number, value: Uint8Array, always = false): void {
    if (!always && value.length === 0) return
    this.#tag(field, delimited)
    this.#varint(value.length)
    this.append(value)
  }

  /** Writes a message within this one. It is there even when it is empty. */
  message<A extends ReadonlyArray<unknown>>(
    field: number,
    write: (writer: Writer, ...args: A) => void,
    ...args: A
  ): void {
    this.#tag(field, delimited)
    const start = this.#at
    // The length is known at the end. Most take one byte; what follows moves on where one takes more.
    this.#byte(0)
    write(this, ...args)
    const end = this.#at
    const length = end - start - 1
    let more = 0
    for (let rest = length; rest >= 0x80; rest >>>= 7) more += 1
    if (more > 0) {
      this.#reserve(more)
      this.#bytes.copyWithin(start + 1 + more, start + 1, end)
    }
    this.#at = start
    this.#varint(length)
    this.#at += length
  }

  /** Fields that have been written elsewhere. */
  append(fields: Uint8Array): void {
    this.#reserve(fields.length)
    this.#bytes.set(fields, this.#at)
    this.#at += fields.length
  }

  /** What has been written, as a view. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  #tag(field: number, type: number): void {
    this.#varint(field << 3 | type)
  }

  /** Groups of 7 bits, the lowest first. */
  #varint(low: number, high = 0): void {
    while (high > 0) {
      this.#byte(low & 0x7f | 0x80)
      low = (low >>> 7 | high << 25) >>> 0
      high >>>= 7
    }
    while (low >= 0x80) {
      this.#byte(low & 0x7f | 0x80)
      low >>>= 7
    }
    this.#byte(low)
  }

  #byte(byte: number): void {
    if (this.#at === this.#bytes.length) this.#reserve(1)
    this.#bytes[this.#at] = byte
    this.#at += 1
  }

  #reserve(length: number): void {
    const needed = this.#at + length
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

const int64Bytes = new DataView(new ArrayBuffer(8))

/**
 * Reads protobuf messages (protobuf.dev/programming-guides/encoding): what the answers of etcd need of it.
 *
 * A message is read field by field: `more` until its end, then a tag, then the value that belongs to it. Bytes are views
 * on what was received.
 *
 * @module
 */

/** The wire types. */
const varint = 0
const fixed64 = 1
const delimited = 2
const fixed32 = 5

/** See the module's description. */
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

/**
 * The engine's form of keys and values: text with one character per byte.
 *
 * Such text compares, sorts and hashes by bytes with JavaScript's own operators (UTF-16 order would be wrong for keys
 * beyond ASCII). It is immutable, and smaller than a `Uint8Array`.
 *
 * @module
 */
import { type Bytes, type KeyRange, toBytes } from "../KeyRange.ts"

/** One character per byte. */
export type ByteText = string

/** The keys `start ≤ k < end`, in byte order. */
export interface Interval {
  readonly start: ByteText
  readonly end: ByteText
}

/** Sorts after every key, because its one character is larger than any byte. */
const endOfKeyspace: ByteText = "\u0100"

/** etcd's encoding of {@link endOfKeyspace}. */
export const zero: ByteText = "\0"

const beyondAscii = /\P{ASCII}/u
const chunk = 8192

/** Converts a key or a value to the engine's form. */
export const toText = (bytes: Bytes): ByteText => {
  if (typeof bytes === "string" && !beyondAscii.test(bytes)) return bytes
  const all = toBytes(bytes)
  let text = ""
  for (let i = 0; i < all.length; i += chunk) {
    text += Reflect.apply(String.fromCharCode, undefined, all.subarray(i, i + chunk))
  }
  return text
}

/** Converts back, to new bytes. */
export const fromText = (text: ByteText): Uint8Array => {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

/** The interval of a request's `key` and `rangeEnd`. */
export const interval = (range: KeyRange): Interval => {
  const start = toText(range.key)
  const end = toText(range.rangeEnd ?? "")
  return { start, end: end === "" ? start + zero : end === zero ? endOfKeyspace : end }
}

/** The interval of one key. */
export const point = (key: ByteText): Interval => ({ start: key, end: key + zero })

/** Whether an interval contains only its start. */
export const isPoint = ({ start, end }: Interval): boolean =>
  end.length === start.length + 1 && end.endsWith(zero) && end.startsWith(start)

/** Order by bytes. */
export const compareText = (self: ByteText, that: ByteText): -1 | 0 | 1 => self < that ? -1 : self > that ? 1 : 0

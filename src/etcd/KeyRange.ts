/**
 * Keys and ranges of keys, as bytes.
 *
 * @module
 */

/**
 * A key or a value: bytes, or text that stands for its UTF-8 bytes.
 *
 * @since 0.1.0
 * @category models
 */
export type Bytes = string | Uint8Array

/**
 * One key, or with `rangeEnd` the keys `key ≤ k < rangeEnd` in byte order.
 *
 * **Details**
 *
 * A `rangeEnd` of one zero byte means the end of the keyspace. An empty `key` is refused. To start at the first key,
 * use one zero byte.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyRange {
  readonly key: Bytes
  readonly rangeEnd?: Bytes
}

/**
 * The range of all keys that start with `prefix`, or of every key if it is empty.
 *
 * @since 0.1.0
 * @category ranges
 */
export const prefix = (prefix: Bytes): Required<KeyRange> => {
  const start = toBytes(prefix)
  if (start.length === 0) return { key: zeroByte, rangeEnd: zeroByte }
  let last = start.length - 1
  while (last >= 0 && start[last] === 0xff) last--
  if (last < 0) return { key: start, rangeEnd: zeroByte }
  const rangeEnd = start.slice(0, last + 1)
  rangeEnd[last]! += 1
  return { key: start, rangeEnd }
}

const zeroByte = new Uint8Array(1)

const encoder = new TextEncoder()

/** The bytes of a key or a value. */
export const toBytes = (bytes: Bytes): Uint8Array => typeof bytes === "string" ? encoder.encode(bytes) : bytes

/** Order by bytes. */
export const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Whether a key lies in a range. @internal */
export const rangeTest = ({ key, rangeEnd }: KeyRange): (key: Uint8Array) => boolean => {
  const start = toBytes(key)
  const end = rangeEnd === undefined ? new Uint8Array() : toBytes(rangeEnd)
  if (end.length === 0) return (key) => compareBytes(key, start) === 0
  if (end.length === 1 && end[0] === 0) return (key) => compareBytes(key, start) >= 0
  return (key) => compareBytes(key, start) >= 0 && compareBytes(key, end) < 0
}

/** The first key after a key. */
export const after = (key: Uint8Array): Uint8Array => {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

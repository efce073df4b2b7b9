/**
 * The keys of a watch, and the check that its events belong to it.
 *
 * @module
 */
import { type KeyRange, toBytes, type WatchEvent, type WatchRequest } from "../Etcd.ts"

const compare = (a: Uint8Array, b: Uint8Array): number => {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Whether a key lies in a range. */
export const rangeTest = ({ key, rangeEnd }: KeyRange): (key: Uint8Array) => boolean => {
  const start = toBytes(key)
  const end = rangeEnd === undefined ? new Uint8Array() : toBytes(rangeEnd)
  if (end.length === 0) return (key) => compare(key, start) === 0
  if (end.length === 1 && end[0] === 0) return (key) => compare(key, start) >= 0
  return (key) => compare(key, start) >= 0 && compare(key, end) < 0
}

/** Finds what is wrong with events: `undefined` if they can follow a watch that has delivered up to `delivered`. */
export type EventCheck = (events: ReadonlyArray<WatchEvent>, delivered: bigint) => string | undefined

/** The check of the events of a watch. A proxy may confuse the watches of its clients. */
export const eventCheck = (request: WatchRequest): EventCheck => {
  const isInRange = rangeTest(request)
  const { startRevision = 0n } = request
  return (events, delivered) => {
    let newest = delivered > startRevision ? delivered : startRevision
    for (const { kv: { key, modRevision } } of events) {
      if (!isInRange(key)) return "the server sent an event of another watch"
      if (modRevision < newest) return `the server sent an event of revision ${modRevision} after ${newest}`
      newest = modRevision
    }
    return undefined
  }
}

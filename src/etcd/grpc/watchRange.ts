/**
 * The keys of a watch, and the check that its events belong to it.
 *
 * @module
 */
import { rangeTest } from "../KeyRange.ts"
import type { WatchEvent, WatchRequest } from "../messages/watch.ts"

/** Returns the problem with events, or `undefined` if they may follow after revision `delivered`. */
export type EventCheck = (events: ReadonlyArray<WatchEvent>, delivered: bigint) => string | undefined

/** Checks the events of a watch: a proxy may confuse the watches of its clients. */
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

/**
 * Long computations in slices of a few milliseconds, so that timers and sockets get their turn in between.
 *
 * @module
 */
import { Effect } from "effect"

/** Longer than a turn of the event loop should take, shorter than anything that waits for it. */
const sliceMillis = 5

/** The size of the items after which the clock is read again. Each item counts as at least {@link minSize}. */
const checkEvery = 16_384
const minSize = 512

/** A time within which a loop need not yield to the event loop. It begins when it is made. */
export class Slice {
  #until = performance.now() + sliceMillis

  /** Whether the slice is over. If so, the next one begins: yield before it. */
  isOver(): boolean {
    const now = performance.now()
    if (now < this.#until) return false
    this.#until = now + sliceMillis
    return true
  }
}

/** Maps items if that is short work. Otherwise returns `undefined`, and `mapInSlices` has to map them. */
export const mapAtOnce = <A, B>(
  items: ReadonlyArray<A>,
  map: (item: A) => B,
  size: (item: A) => number
): ReadonlyArray<B> | undefined => {
  let total = 0
  for (const item of items) {
    total += Math.max(minSize, size(item))
    if (total >= checkEvery) return undefined
  }
  return items.map(map)
}

/**
 * Maps items in order. Short work is done at once; long work yields to the event loop every few milliseconds.
 *
 * @param size what an item costs, in bytes
 */
export const mapInSlices = <A, B>(
  items: ReadonlyArray<A>,
  map: (item: A) => B,
  size: (item: A) => number
): Effect.Effect<ReadonlyArray<B>> =>
  Effect.suspend(() => {
    const mapped: Array<B> = []
    const slice: Effect.Effect<ReadonlyArray<B>> = Effect.suspend(() => {
      const until = performance.now() + sliceMillis
      let unchecked = 0
      while (mapped.length < items.length) {
        // In bounds: `mapped` is shorter.
        const item = items[mapped.length]!
        mapped.push(map(item))
        unchecked += Math.max(minSize, size(item))
        if (unchecked < checkEvery) continue
        unchecked = 0
        if (performance.now() >= until) return Effect.andThen(Effect.yieldNow, slice)
      }
      return Effect.succeed(mapped)
    })
    return slice
  })

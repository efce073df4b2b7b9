/**
 * The start and the release of many registrations at once, a part in each turn of the event loop.
 *
 * Without it, a thousand would prepare all their calls before the first one leaves the process, and etcd would idle. And
 * all calls would be in flight at the same time, so that each collection of garbage copies them.
 *
 * @module
 */
import { type Context, Effect } from "effect"

/** How many callers one turn of the event loop lets begin. */
const perTurn = 50

/** Waits for the next turn of the event loop after each 50 callers. No answer of etcd is waited for. */
export const make = (context: Context.Context<never>): Effect.Effect<void> => {
  const waiting = new Set<() => void>()
  let left = perTurn
  let isTurning = false

  const turns = Effect.gen(function* () {
    while (waiting.size > 0) {
      yield* Effect.yieldNow
      left = perTurn
      for (const begin of waiting) {
        if (left === 0) break
        left -= 1
        waiting.delete(begin)
        begin()
      }
    }
    isTurning = false
  })

  const queued = Effect.callback<void>((resume) => {
    const begin = () => resume(Effect.void)
    waiting.add(begin)
    if (!isTurning) {
      isTurning = true
      Effect.runForkWith(context)(turns)
    }
    return Effect.sync(() => waiting.delete(begin))
  })

  return Effect.suspend(() => {
    if (left === 0) return queued
    left -= 1
    return Effect.void
  })
}

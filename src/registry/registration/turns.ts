/**
 * Turns: lets many registrations go on one after the other instead of in one burst (R4).
 *
 * @module
 */
import { type Context, Effect } from "effect"
import { monotonicMillis } from "../../internal/time/monotonic.ts"

const tickMillis = 10

/** A process that was held up makes up for this much at most: more would be a burst. */
const maxCatchUpMillis = 100

/** All registrations have their turn within this time; up to 1.4 a millisecond do not have to share it. */
const spreadMillis = 700
const minTurnsPerMilli = 1.4

/** Waits for a turn. Few that come together have it at once. */
export type Turn = Effect.Effect<void>

/** Makes the turns of as many registrations as there may be. One fiber runs while some wait. */
export const make = (registrations: () => number, context: Context.Context<never>): Turn => {
  const waiting = new Set<() => void>()
  let left = 0
  let isTicking = false

  const turnsIn = (millis: number) =>
    Math.ceil(Math.min(millis, maxCatchUpMillis) * Math.max(minTurnsPerMilli, registrations() / spreadMillis))

  const tick = Effect.gen(function* () {
    let last = yield* monotonicMillis
    let granted = left
    do {
      yield* Effect.sleep(tickMillis)
      const now = yield* monotonicMillis
      granted = left = turnsIn(now - last)
      last = now
      for (const begin of [...waiting].slice(0, granted)) {
        waiting.delete(begin)
        begin()
        left -= 1
      }
    } while (left < granted)
    isTicking = false
  })

  const queued = Effect.callback<void>((resume) => {
    const begin = () => resume(Effect.void)
    waiting.add(begin)
    return Effect.sync(() => waiting.delete(begin))
  })

  return Effect.suspend(() => {
    if (!isTicking) {
      isTicking = true
      left = turnsIn(tickMillis)
      Effect.runForkWith(context)(tick)
    }
    if (left === 0) return queued
    left -= 1
    return Effect.void
  })
}

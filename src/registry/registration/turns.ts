/**
 * Turns spread many registrations over time instead of one burst (R4).
 *
 * @module
 */
import { type Context, Effect } from "effect"
import { monotonicMillis } from "../../internal/time/monotonic.ts"

const tickMillis = 10

/** The most turns that a process makes up for after it was held up. More would be a burst. */
const maxCatchUpMillis = 100

/** All registrations get their turn within this time. */
const spreadMillis = 700
const minTurnsPerMilli = 1.4

/** Waits for a turn. A small number of simultaneous callers does not wait. */
export type Turn = Effect.Effect<void>

/** Makes the turns of a registry. One fiber runs while callers wait. */
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

/**
 * Waits for quiet: a burst of changes causes one action, and a steady stream of changes delays it by a bounded time.
 *
 * @module
 */
import { Effect, Option, Queue, Result } from "effect"
import * as Duration from "effect/Duration"
import { monotonicMillis } from "../../internal/time/monotonic.ts"

/** How long to wait. */
export interface Wait {
  /** Since the last change. */
  readonly minMillis: number
  /** Since the first change: the upper limit. */
  readonly maxMillis: number
}

/** Returns when to act after changes at these times. */
export const dueAt = (first: number, last: number, { maxMillis, minMillis }: Wait): number =>
  Math.min(last + minMillis, first + maxMillis)

/** Parses `min:max`, such as `200 millis:2 seconds`, or `min`, where `max` is four times `min`. */
export const parseWait = (text: string): Result.Result<Wait, string> => {
  const rule = "it must be min:max, such as 200 millis:2 seconds, with min at most max, or 0"
  const parts = text.split(":")
  const [minMillis = NaN, maxMillis = minMillis * 4] = parts.map(millisOf)
  return parts.length <= 2 && minMillis >= 0 && minMillis <= maxMillis && Number.isFinite(maxMillis) ?
    Result.succeed({ minMillis, maxMillis }) :
    Result.fail(rule)
}

const millisOf = (text: string): number =>
  text.trim() === "0" ?
    0 :
    Option.match(Duration.fromInput(text.trim() as Duration.Input), { onNone: () => NaN, onSome: Duration.toMillis })

/** Waits for a change, then for the end of its burst. */
export const awaitQuiet = Effect.fnUntraced(function* (changes: Queue.Dequeue<void>, wait: Wait) {
  yield* Queue.take(changes)
  const first = yield* monotonicMillis
  let last = first
  while (true) {
    const left = dueAt(first, last, wait) - (yield* monotonicMillis)
    if (left <= 0) return
    const next = yield* Effect.timeoutOption(Queue.take(changes), Math.ceil(left))
    if (Option.isNone(next)) return
    last = yield* monotonicMillis
  }
})

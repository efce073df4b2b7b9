import { Clock, Effect } from "effect"

/** Milliseconds on a clock that never jumps. */
export const monotonicMillis: Effect.Effect<number> = Effect.map(
  Clock.monotonicTimeNanos,
  (nanos) => Number(nanos) / 1e6
)

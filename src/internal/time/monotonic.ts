import { Effect } from "effect"

/** Milliseconds on a clock that never jumps. */
export const monotonicMillis: Effect.Effect<number> = Effect.clockWith((clock) =>
  Effect.succeed(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
)

/**
 * Sleeps until that clock has reached `at`. Timers know whole milliseconds only and may be early by a part of one, so
 * what is left is rounded up: a loop that waits for a moment never spins just before it.
 */
export const sleepUntil = (at: number): Effect.Effect<void> =>
  Effect.flatMap(
    monotonicMillis,
    (now) => at <= now ? Effect.void : Effect.andThen(Effect.sleep(Math.ceil(at - now)), sleepUntil(at))
  )

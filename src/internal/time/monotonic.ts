import { Effect } from "effect"

/** The monotonic clock in milliseconds. */
export const monotonicMillis: Effect.Effect<number> = Effect.clockWith((clock) =>
  Effect.succeed(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
)

/**
 * Sleeps until the monotonic clock has reached `at`.
 *
 * Timers have whole milliseconds and may be early by a fraction of one. The rest is rounded up, so that a loop that
 * waits for a time does not spin just before it.
 */
export const sleepUntil = (at: number): Effect.Effect<void> =>
  Effect.flatMap(
    monotonicMillis,
    (now) => at <= now ? Effect.void : Effect.andThen(Effect.sleep(Math.ceil(at - now)), sleepUntil(at))
  )

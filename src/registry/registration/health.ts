/**
 * The health of an instance, as the check that its owner gives tells it.
 *
 * @module
 */
import { type Duration, Effect, Exit } from "effect"

/** Checks health for ever and tells each change of it. */
export const gate = Effect.fnUntraced(function* (
  check: Effect.Effect<unknown, unknown>,
  every: Duration.Duration,
  threshold: number,
  tell: (status: "up" | "down") => Effect.Effect<void>
) {
  let told: "up" | "down" | undefined
  let failures = 0
  while (true) {
    const exit = yield* Effect.exit(Effect.timeout(check, every))
    failures = Exit.isSuccess(exit) ? 0 : failures + 1
    const now = failures === 0 ? "up" : failures >= threshold ? "down" : told
    if (now !== undefined && now !== told) {
      told = now
      yield* tell(now)
    }
    yield* Effect.sleep(every)
  }
})

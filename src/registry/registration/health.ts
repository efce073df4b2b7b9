/**
 * The health of an instance: its owner's check, repeated, and the status that follows from the results.
 *
 * @module
 */
import { Clock, type Duration, Effect, Exit } from "effect"
import { lasting } from "../../internal/lasting.ts"

/**
 * The health of an instance.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthState {
  /** `"starting"` before the first success, `"down"` after `healthThreshold` failures, else `"up"`. */
  readonly status: "starting" | "up" | "down"
  /** The result of the last check. A failure has its cause. */
  readonly lastResult: Exit.Exit<unknown, unknown>
  /** Since when checks have succeeded, or failed, as the last one did: milliseconds of the epoch. */
  readonly since: number
}

/** A check and how to repeat it. */
export interface HealthCheck {
  readonly check: Effect.Effect<unknown, unknown>
  /** The time between two checks, and the time limit of one. */
  readonly every: Duration.Duration
  /** Failures in a row after which the instance is down. */
  readonly threshold: number
}

/**
 * Checks health forever, and reports each result.
 *
 * A check that dies counts as a failure: `Effect.promise` turns each rejection into a defect.
 */
export const gate = (
  { check, every, threshold }: HealthCheck,
  report: (state: HealthState, failures: number) => Effect.Effect<void>
): Effect.Effect<never> =>
  Effect.suspend(() => {
    let state: HealthState | undefined
    let failures = 0
    return lasting(Effect.gen(function* () {
      const lastResult = yield* Effect.exit(Effect.timeout(check, every))
      const isSuccess = Exit.isSuccess(lastResult)
      const isSame = state !== undefined && Exit.isSuccess(state.lastResult) === isSuccess
      failures = isSuccess ? 0 : failures + 1
      state = {
        status: isSuccess ? "up" : failures >= threshold ? "down" : state?.status ?? "starting",
        lastResult,
        since: isSame && state !== undefined ? state.since : yield* Clock.currentTimeMillis
      }
      yield* report(state, failures)
      yield* Effect.sleep(every)
    }))
  })

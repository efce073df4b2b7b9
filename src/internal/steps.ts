/**
 * A schedule taken step by step, so that whoever drives it can begin afresh after a healthy spell.
 *
 * @module
 */
import { Clock, type Duration, Effect, Option, Pull, Schedule } from "effect"

/** A schedule in progress. */
export interface Steps<Input> {
  /** The delay before the next attempt, or none when the schedule is over. */
  readonly next: (input: Input) => Effect.Effect<Option.Option<Duration.Duration>>
  /** Begins afresh. */
  readonly reset: Effect.Effect<void>
}

/** Takes a schedule step by step. */
export const make = Effect.fnUntraced(function* <Input>(
  schedule: Schedule.Schedule<unknown, Input>
): Effect.fn.Return<Steps<Input>> {
  let step = yield* Schedule.toStep(schedule)
  return {
    next: (input) =>
      Clock.currentTimeMillis.pipe(
        Effect.flatMap((now) => step(now, input)),
        Effect.map(([, delay]) => Option.some(delay)),
        Pull.catchDone(() => Effect.succeed(Option.none<Duration.Duration>()))
      ),
    reset: Effect.map(Schedule.toStep(schedule), (fresh) => {
      step = fresh
    })
  }
})

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
  readonly reset: () => void
}

/** Takes a schedule step by step. It begins with the first step: most schedules are for what does not happen. */
export const make = <Input>(schedule: Schedule.Schedule<unknown, Input>): Steps<Input> => {
  const begin = Schedule.toStep(schedule)
  let step: Effect.Success<typeof begin> | undefined
  return {
    next: Effect.fnUntraced(function* (input) {
      const now = yield* Clock.currentTimeMillis
      step ??= yield* begin
      return yield* step(now, input).pipe(
        Effect.map(([, delay]) => Option.some(delay)),
        Pull.catchDone(() => Effect.succeed(Option.none<Duration.Duration>()))
      )
    }),
    reset: () => {
      step = undefined
    }
  }
}

/**
 * A schedule taken step by step, so that whoever drives it can begin afresh after a healthy spell.
 *
 * @module
 */
import { Clock, type Duration, Effect, Option, Pull, Schedule } from "effect"

/** Answers with the next output of a schedule and the delay before it. */
type Step<Input> = (now: number, input: Input) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

/** A schedule in progress. It begins with the first step: most schedules are for what does not happen. */
export class Steps<Input> {
  readonly #schedule: Schedule.Schedule<unknown, Input>
  #step: Step<Input> | undefined
  #isOver = false

  constructor(schedule: Schedule.Schedule<unknown, Input>) {
    this.#schedule = schedule
  }

  /** The delay before the next attempt, or none when the schedule is over. */
  next(input: Input): Effect.Effect<Option.Option<Duration.Duration>> {
    return Effect.gen({ self: this }, function* () {
      if (this.#isOver) return Option.none()
      const now = yield* Clock.currentTimeMillis
      this.#step ??= yield* Schedule.toStep(this.#schedule)
      return yield* this.#step(now, input).pipe(
        Effect.map(([, delay]) => Option.some(delay)),
        Pull.catchDone(() => {
          this.#isOver = true
          return Effect.succeed(Option.none<Duration.Duration>())
        })
      )
    })
  }

  /** Begins afresh. */
  reset(): void {
    this.#isOver = false
    this.#step = undefined
  }
}

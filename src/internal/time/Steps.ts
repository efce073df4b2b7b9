/**
 * A schedule that runs step by step, so that a loop can restart it after a healthy period.
 *
 * @module
 */
import { type Duration, Effect, Option, Pull, Schedule } from "effect"
import { monotonicMillis } from "./monotonic.ts"

/** Returns the next output of a schedule and the delay before it. */
type Step<Input> = (now: number, input: Input) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

/** A schedule in progress. It starts with the first step, because most schedules are never needed. */
export class Steps<Input> {
  readonly #schedule: Schedule.Schedule<unknown, Input>
  #step: Step<Input> | undefined
  #isOver = false

  constructor(schedule: Schedule.Schedule<unknown, Input>) {
    this.#schedule = schedule
  }

  /** Returns the delay before the next attempt, or none if the schedule has ended. */
  next(input: Input): Effect.Effect<Option.Option<Duration.Duration>> {
    return Effect.gen({ self: this }, function* () {
      if (this.#isOver) return Option.none()
      const now = yield* monotonicMillis
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

  /** Restarts the schedule. */
  reset(): void {
    this.#isOver = false
    this.#step = undefined
  }
}

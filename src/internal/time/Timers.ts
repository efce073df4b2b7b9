/**
 * Many deadlines on one {@link Alarm}. Each runs when it is due, in the context in which the timers were made.
 *
 * @module
 */
import type { Context } from "effect"
import { Alarm } from "./Alarm.ts"
import { type Deadline, Deadlines } from "./Deadlines.ts"

/** Many deadlines on one alarm. Times are milliseconds of the monotonic clock. */
export class Timers {
  readonly #deadlines = new Deadlines()
  readonly #alarm: Alarm

  constructor(context: Context.Context<never>) {
    this.#alarm = new Alarm(context, (now) => {
      this.#deadlines.run(now)
      return this.#deadlines.earliest ?? Infinity
    })
  }

  now(): number {
    return this.#alarm.now()
  }

  /** Schedules a deadline, or moves it to another time. */
  set(deadline: Deadline, at: number): void {
    this.#deadlines.set(deadline, at)
    this.#alarm.set(at)
  }

  /** Removes a deadline, if it is scheduled. */
  delete(deadline: Deadline): void {
    this.#deadlines.delete(deadline)
    if (this.#deadlines.earliest === undefined) this.#alarm.stop()
  }
}

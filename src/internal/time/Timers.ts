/**
 * Many deadlines and one {@link Alarm}: what falls due is told at the time, in the context in which this was made.
 *
 * @module
 */
import type { Context } from "effect"
import { Alarm } from "./Alarm.ts"
import { type Deadline, Deadlines } from "./Deadlines.ts"

/** See the module's description. Times are milliseconds of the monotonic clock. */
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

  /** Adds a deadline, or moves it to another time. */
  set(deadline: Deadline, at: number): void {
    this.#deadlines.set(deadline, at)
    this.#alarm.set(at)
  }

  /** Takes a deadline out; it may be outside already. */
  delete(deadline: Deadline): void {
    this.#deadlines.delete(deadline)
    if (this.#deadlines.earliest === undefined) this.#alarm.stop()
  }
}

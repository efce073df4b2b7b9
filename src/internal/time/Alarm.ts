/**
 * Runs one fiber that sleeps until the next deadline; none while nothing is scheduled.
 *
 * The fiber runs in the context in which the alarm was made, on its clock.
 *
 * @module
 */
import { Clock, Context, Duration, Effect, Fiber } from "effect"
import { lasting } from "../lasting.ts"

/** Runtimes' timers are limited to 2^31 milliseconds. */
const maxSleepMillis = 86_400_000

const stopped = Effect.fail(undefined)

/** One sleeping fiber for many deadlines. Times are milliseconds of the monotonic clock. */
export class Alarm {
  readonly #clock: Clock.Clock
  readonly #context: Context.Context<never>
  readonly #due: (now: number) => number
  #fiber: Fiber.Fiber<void> | undefined
  #at = Infinity
  #isRinging = false
  #closed = false

  /** `due` handles what is due and returns when to ring next; `Infinity` for never. */
  constructor(context: Context.Context<never>, due: (now: number) => number) {
    this.#clock = Context.get(context, Clock.Clock)
    this.#context = context
    this.#due = due
  }

  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * Makes the alarm ring at `at` at the latest. An alarm that rings too early sleeps again, so moving a deadline to a
   * later time costs nothing here.
   */
  set(at: number): void {
    if (at >= this.#at || this.#closed) return
    this.#at = at
    if (this.#isRinging) return
    this.#fiber?.interruptUnsafe()
    this.#fiber = Effect.runForkWith(this.#context)(Effect.ignore(lasting(this.#ring)))
  }

  /** Stops the fiber, because nothing is scheduled any more, so that the process can exit. */
  stop(): void {
    this.#at = Infinity
    if (!this.#isRinging) this.#fiber?.interruptUnsafe()
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = true
      return this.#fiber === undefined ? Effect.void : Fiber.interrupt(this.#fiber)
    })
  }

  /** Fails when there is nothing to ring for. */
  readonly #ring: Effect.Effect<void, void> = Effect.suspend(() => {
    const now = this.now()
    if (now < this.#at) return this.#sleep(this.#at - now)
    this.#at = Infinity
    this.#isRinging = true
    const next = this.#due(now)
    this.#isRinging = false
    this.#at = Math.min(this.#at, next)
    return this.#at === Infinity ? stopped : this.#sleep(this.#at - now)
  })

  #sleep(millis: number): Effect.Effect<void> {
    return this.#clock.sleep(Duration.millis(Math.min(Math.ceil(millis), maxSleepMillis)))
  }
}

/**
 * A fiber that sleeps until something falls due, for whoever keeps the times of many: there is none while nothing does.
 *
 * It belongs to the context that the alarm is made in, and so does the clock.
 *
 * @module
 */
import { Clock, Context, Duration, Effect, Fiber } from "effect"

/** Milliseconds: timers of runtimes end at 2^31. */
const longestSleep = 86_400_000

/** See the module's description. Times are milliseconds of the monotonic clock. */
export class Alarm {
  readonly #clock: Clock.Clock
  readonly #context: Context.Context<never>
  readonly #due: (now: number) => number
  #fiber: Fiber.Fiber<void> | undefined
  #at = Infinity
  #isRinging = false
  #closed = false

  /** `due` does what there is to do, and answers with when to ring again: `Infinity` for never. */
  constructor(context: Context.Context<never>, due: (now: number) => number) {
    this.#clock = Context.get(context, Clock.Clock)
    this.#context = context
    this.#due = due
  }

  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * Makes sure that the alarm rings then. One that rings too early sets itself anew: moments mostly move to later times,
   * and then nothing is to be done here.
   */
  set(at: number): void {
    if (at >= this.#at || this.#closed) return
    this.#at = at
    if (this.#isRinging) return
    this.#fiber?.interruptUnsafe()
    this.#fiber = Effect.runForkWith(this.#context)(this.#ring)
  }

  /** Nothing is due any more, so that the process can end. */
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

  readonly #ring: Effect.Effect<void> = Effect.suspend(() => {
    const now = this.now()
    if (now < this.#at) return this.#sleep(this.#at - now)
    this.#at = Infinity
    this.#isRinging = true
    const next = this.#due(now)
    this.#isRinging = false
    this.#at = Math.min(this.#at, next)
    return this.#at === Infinity ? Effect.void : this.#sleep(this.#at - now)
  })

  #sleep(millis: number): Effect.Effect<void> {
    return Effect.flatMap(
      this.#clock.sleep(Duration.millis(Math.min(Math.ceil(millis), longestSleep))),
      () => this.#ring
    )
  }
}

/**
 * A server with a clock: requests are answered at the time they come, and what falls due in between happens by itself.
 *
 * One fiber, the alarm, sleeps until the earliest deadline; there is none when there is no deadline. It belongs to the
 * context that the timekeeper was made in, and so does the clock.
 *
 * @module
 */
import { type Clock, type Context, Duration, Effect, Fiber } from "effect"
import { Server, type ServerOptions } from "./Server.ts"

/** Milliseconds: timers of runtimes end at 2^31. */
const longestSleep = 86_400_000

/** A server and the time. */
export class Timekeeper {
  /** Called at the end. */
  readonly onClose: Set<() => void> = new Set()
  readonly #server: Server
  readonly #clock: Clock.Clock
  readonly #context: Context.Context<never>
  #alarm: Fiber.Fiber<void> | undefined
  #alarmAt = Infinity
  #closed = false

  constructor(options: ServerOptions, clock: Clock.Clock, context: Context.Context<never>) {
    this.#server = new Server(options)
    this.#clock = clock
    this.#context = context
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** One step of the server at the present time. */
  step<A>(body: (server: Server) => A): A {
    this.#server.advance(this.#now())
    const answer = body(this.#server)
    this.#setAlarm()
    return answer
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = true
      for (const close of this.onClose) close()
      return this.#alarm === undefined ? Effect.void : Fiber.interrupt(this.#alarm)
    })
  }

  #now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /**
   * Makes sure that the alarm rings when the next deadline falls due. An alarm that rings too early sets itself anew:
   * deadlines mostly move to later times, and then nothing is to be done here.
   */
  #setAlarm(): void {
    const at = this.#server.deadlines.earliest ?? Infinity
    if (at >= this.#alarmAt || this.#closed) return
    this.#alarmAt = at
    this.#alarm?.interruptUnsafe()
    this.#alarm = Effect.runForkWith(this.#context)(this.#ring)
  }

  readonly #ring: Effect.Effect<void> = Effect.suspend(() => {
    const now = this.#now()
    this.#server.advance(now)
    this.#alarmAt = this.#server.deadlines.earliest ?? Infinity
    if (this.#alarmAt === Infinity) return Effect.void
    return Effect.flatMap(
      this.#clock.sleep(Duration.millis(Math.min(Math.ceil(this.#alarmAt - now), longestSleep))),
      () => this.#ring
    )
  })
}

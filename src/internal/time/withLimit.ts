/**
 * A time limit that costs one fiber. `Effect.timeout` costs two and a timer: too much for each of a thousand calls.
 *
 * @module
 */
import { Effect, Exit, Fiber } from "effect"
import { Deadline } from "./Deadlines.ts"
import type { Timers } from "./Timers.ts"

/** Runs an effect for at most `millis`. After that it is interrupted, and the result is `onLimit`, once it has ended. */
export const withLimit = <A, E, B, E2>(
  self: Effect.Effect<A, E>,
  timers: Timers,
  millis: number,
  onLimit: () => Exit.Exit<B, E2>
): Effect.Effect<A | B, E | E2> =>
  Effect.contextWith((context) =>
    Effect.callback<A | B, E | E2>((resume) => {
      const fiber = Effect.runForkWith(context)(self)
      const deadline = new Deadline(() => fiber.interruptUnsafe())
      timers.set(deadline, timers.now() + millis)
      fiber.addObserver((exit) => {
        const isLate = deadline.place === -1
        timers.delete(deadline)
        resume(isLate && Exit.hasInterrupts(exit) ? onLimit() : exit)
      })
      return Effect.suspend(() => {
        timers.delete(deadline)
        return Fiber.interrupt(fiber)
      })
    })
  )

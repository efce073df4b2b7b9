/**
 * A loop that lasts as long as the process and keeps no memory for each wait.
 *
 * A fiber resumes each wait in the async scope of the wait before, and Deno 2.9.3 keeps all scopes of such a chain: about
 * a kilobyte for each wait. So each step here is a fiber of its own, which starts from one root scope.
 *
 * @module
 */
import { Effect, Exit, Fiber, Option, Result, type Schedule } from "effect"
import { AsyncResource } from "node:async_hooks"
import { Steps } from "./time/Steps.ts"

const root = new AsyncResource("effect-etcd/lasting")

/**
 * Runs a step again and again until it fails or the loop is interrupted. Equals `Effect.forever`, except that a step that
 * never waits is not interrupted by other fibers, and that a finalizer or a child fiber of a step ends with the step.
 */
export const lasting = <E, R>(step: Effect.Effect<unknown, E, R>): Effect.Effect<never, E, R> =>
  Effect.contextWith((context) =>
    Effect.callback<never, E>((resume) => {
      let current: Fiber.Fiber<unknown, unknown> | undefined
      let isOver = false
      let isRunning = false
      let isDue = false
      // The step may interrupt the loop before the call that starts its fiber returns.
      const started = Effect.withFiber((fiber) => {
        current = fiber
        return step
      })
      // A step that ends at once is followed by the next one in this loop, and not by recursion.
      const next = () => {
        isDue = true
        if (isRunning) return
        isRunning = true
        while (isDue && !isOver) {
          isDue = false
          const fiber = root.runInAsyncScope(() => Effect.runForkWith(context)(started))
          fiber.addObserver((exit) => {
            if (Exit.isSuccess(exit)) return next()
            isOver = true
            resume(Effect.failCause(exit.cause))
          })
        }
        isRunning = false
      }
      next()
      return Effect.suspend(() => {
        isOver = true
        return current === undefined ? Effect.void : Fiber.interrupt(current)
      })
    })
  )

/** `Effect.retry` that keeps no memory for each attempt, see {@link lasting}. The first attempt has no fiber of its own. */
export const lastingRetry = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  options: { readonly schedule: Schedule.Schedule<unknown, E>; readonly while: (error: E) => boolean }
): Effect.Effect<A, E, R> =>
  Effect.catch(self, (first) => {
    const steps = new Steps(options.schedule)
    let error = first
    const step = Effect.gen(function* () {
      const delay = options.while(error) ? yield* steps.next(error) : Option.none()
      if (Option.isNone(delay)) return yield* Effect.fail(Exit.fail(error))
      yield* Effect.sleep(delay.value)
      const result = yield* Effect.result(self)
      if (Result.isSuccess(result)) return yield* Effect.fail(Exit.succeed(result.success))
      error = result.failure
    })
    return Effect.catch(lasting(step), (exit) => exit)
  })

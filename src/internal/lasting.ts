/**
 * A loop that lasts as long as the process and keeps no memory for each wait.
 *
 * A fiber resumes each wait in the async scope of the wait before, and Deno 2.9.3 keeps all scopes of such a chain: about
 * a kilobyte for each wait. So each step here is a fiber of its own, which starts from one root scope.
 *
 * @module
 */
import { Effect, Exit, Fiber } from "effect"
import { AsyncResource } from "node:async_hooks"

const root = new AsyncResource("effect-etcd/lasting")

/**
 * Runs a step again and again until it fails or the loop is interrupted. Equals `Effect.forever`, except that a step that
 * never waits is not interrupted by other fibers, and that a finalizer or a child fiber of a step ends with the step.
 */
export const lasting = <E, R>(step: Effect.Effect<unknown, E, R>): Effect.Effect<never, E, R> =>
  Effect.contextWith((context) =>
    Effect.callback<never, E>((resume) => {
      let current: Fiber.Fiber<unknown, E> | undefined
      let isOver = false
      let isRunning = false
      let isDue = false
      // A step that ends at once is followed by the next one in this loop, and not by recursion.
      const next = () => {
        isDue = true
        if (isRunning) return
        isRunning = true
        while (isDue && !isOver) {
          isDue = false
          const fiber = root.runInAsyncScope(() => Effect.runForkWith(context)(step))
          current = fiber
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

/**
 * Waits that keep no memory of the earlier waits of their fiber.
 *
 * Effect resumes each wait of a fiber in an async scope that contains the scope of the wait before, and Deno 2.9.3 keeps
 * all scopes of such a chain: about half a kilobyte for each wait. The library starts a fiber for each step of its own
 * loops (`lasting`). The fiber that reads a stream belongs to the consumer and stays the same, so on Deno these waits
 * resume it in the scope of its first wait.
 *
 * @module
 */
import { Effect, type Fiber } from "effect"

/** An `AsyncResource`. */
interface AsyncScope {
  readonly runInAsyncScope: (run: () => void) => void
  readonly emitDestroy: () => unknown
}

/** The field in which Effect 4.1 keeps the scope of a wait. Under another name, fibers resume as without this module. */
type WaitingFiber = Fiber.Fiber<unknown, unknown> & { _asyncContext?: AsyncScope | undefined }

const keepsScopes = "Deno" in globalThis

/** The scope of the first wait of each fiber. */
const firstScopes = new WeakMap<WaitingFiber, AsyncScope>()

const resumeInFirstScope = (fiber: WaitingFiber, resume: () => void): void => {
  const scope = fiber._asyncContext
  // The fiber has not begun to wait.
  if (scope === undefined) return resume()
  const first = firstScopes.get(fiber)
  if (first === undefined) {
    firstScopes.set(fiber, scope)
    return resume()
  }
  fiber._asyncContext = undefined
  scope.emitDestroy()
  first.runInAsyncScope(resume)
}

type Register<A, E> = (resume: (effect: Effect.Effect<A, E>) => void) => Effect.Effect<void> | void

/** Equals `Effect.callback`, except that the wait keeps no earlier wait of the fiber in memory. */
export const unchainedCallback = <A, E = never>(register: Register<A, E>): Effect.Effect<A, E> => {
  if (!keepsScopes) return Effect.callback<A, E>(register)
  return Effect.withFiber((fiber) =>
    Effect.callback<A, E>((resume) => {
      // An interrupted fiber may wait for something else when `resume` is called.
      let isWaiting = true
      const cleanUp = register((effect) => {
        if (!isWaiting) return
        isWaiting = false
        resumeInFirstScope(fiber, () => resume(effect))
      })
      return Effect.suspend(() => {
        isWaiting = false
        return cleanUp ?? Effect.void
      })
    })
  )
}

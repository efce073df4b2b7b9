/**
 * Waits that do not retain the earlier waits of their fiber in memory.
 *
 * Effect resumes each wait of a fiber in an async scope inside the scope of the previous wait. Deno 2.9.3 keeps all
 * scopes of such a chain: about half a kilobyte for each wait. The library's own loops start a fiber for each step
 * (`lasting`). But the fiber that reads a stream belongs to the consumer and stays the same. So on Deno these waits
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

/** Like `Effect.callback`, without retaining earlier waits of the fiber in memory. */
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

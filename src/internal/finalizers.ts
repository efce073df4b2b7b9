/**
 * Finalizers that cost little: a program may close a thousand scopes at once.
 *
 * `Effect.addFinalizer` and `Effect.acquireRelease` merge the context of the acquisition into that of the closing fiber.
 * Each merge copies both contexts.
 *
 * @module
 */
import { Context, Effect, type Exit, Scope } from "effect"

/** Runs an effect when the scope closes, in the context of this call alone. */
export const addFinalizer = (
  finalizer: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    Scope.addFinalizerExit(
      Context.get(context, Scope.Scope),
      (exit) => Effect.updateContext(finalizer(exit), () => context)
    )
  )

/** Acquires with a function. When the scope closes, releases with another one, which needs no context. */
export const acquireSync = <A>(
  acquire: () => A,
  release: (acquired: A) => void
): Effect.Effect<A, never, Scope.Scope> =>
  Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
    const acquired = acquire()
    return Effect.as(Scope.addFinalizer(scope, Effect.sync(() => release(acquired))), acquired)
  }))

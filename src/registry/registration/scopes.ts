/**
 * The scopes of registrations: each closes with its caller's scope or with the registry's, whichever closes first (R5).
 *
 * @module
 */
import { Deferred, Effect, Exit, Scope } from "effect"
import { InvalidOption } from "../../internal/options.ts"

/** Opens the scopes of the registrations of one registry. */
export interface Scopes {
  /**
   * A scope within the caller's. Fails if the registry has closed.
   *
   * Closing the caller's scope closes the scopes of all its registrations in parallel. A scope alone would run its
   * finalizers in sequence: a thousand releases would take a thousand round trips.
   */
  readonly open: (lease: "own" | "shared") => Effect.Effect<Scope.Closeable, InvalidOption, Scope.Scope>
}

const registryClosed = new InvalidOption({
  of: "registerService",
  option: "registry",
  value: "closed",
  rule: "the scope of the registry's layer must be open; provide the layer around all that registers"
})

/** The scope of a registration. */
interface Own {
  readonly lease: "own" | "shared"
  readonly scope: Scope.Closeable
  /** Completes when everything in the scope is released. */
  readonly closed: Deferred.Deferred<void>
}

/**
 * Closes them at the same time, and waits for those that close already: the client of a registry must not close while a
 * release is under way.
 */
const closeAll = (
  scopes: Set<Own>,
  burst: Effect.Effect<void>,
  exit: Exit.Exit<unknown, unknown>
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const all = [...scopes]
    scopes.clear()
    return Effect.forEach(
      all,
      ({ closed, lease, scope }) => {
        const close = Effect.andThen(Scope.close(scope, exit), Deferred.await(closed))
        // Members of a shared lease leave in the same turn, so that one revoke removes all their keys.
        return lease === "own" ? Effect.andThen(burst, close) : close
      },
      { concurrency: "unbounded", discard: true }
    )
  })

/** Made once for the scope of a registry. */
export const makeScopes = Effect.fnUntraced(function* (
  burst: Effect.Effect<void>
): Effect.fn.Return<Scopes, never, Scope.Scope> {
  const registry = yield* Effect.scope
  const all = new Set<Own>()
  const ofCaller = new WeakMap<Scope.Scope, Set<Own>>()
  yield* Effect.addFinalizer((exit) => closeAll(all, burst, exit))
  return {
    open: Effect.fnUntraced(function* (lease) {
      if (registry.state._tag === "Closed") return yield* registryClosed
      const caller = yield* Effect.scope
      const scope = yield* Scope.make()
      let siblings = ofCaller.get(caller)
      if (siblings === undefined) {
        siblings = new Set()
        ofCaller.set(caller, siblings)
      }
      const others = siblings
      const own: Own = { lease, scope, closed: Deferred.makeUnsafe() }
      all.add(own)
      others.add(own)
      // Added first, so it runs last.
      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => {
          all.delete(own)
          others.delete(own)
          Deferred.doneUnsafe(own.closed, Exit.void)
        })
      )
      yield* Effect.addFinalizer((exit) => others.has(own) ? closeAll(others, burst, exit) : Effect.void)
      return scope
    })
  }
})

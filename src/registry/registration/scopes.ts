/**
 * The scopes of registrations: each closes with its caller's scope or with the registry's, whichever closes first (R5).
 *
 * @module
 */
import { Effect, type Exit, Scope } from "effect"
import { InvalidOption } from "../../internal/options.ts"

/** Opens the scopes of the registrations of one registry. */
export interface Scopes {
  /**
   * A scope within the caller's. Fails if the registry has closed.
   *
   * Closing the caller's scope closes the scopes of all its registrations in parallel. A scope alone would run its
   * finalizers in sequence: a thousand releases would take a thousand round trips.
   */
  readonly open: Effect.Effect<Scope.Closeable, InvalidOption, Scope.Scope>
}

const registryClosed = new InvalidOption({
  of: "registerService",
  option: "registry",
  value: "closed",
  rule: "the scope of the registry's layer must be open; provide the layer around all that registers"
})

/** Closes them at the same time. */
const closeAll = (scopes: Set<Scope.Closeable>, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const all = [...scopes]
    scopes.clear()
    return Effect.forEach(all, (scope) => Scope.close(scope, exit), { concurrency: "unbounded", discard: true })
  })

/** Made once for the scope of a registry. */
export const makeScopes: Effect.Effect<Scopes, never, Scope.Scope> = Effect.gen(function* () {
  const registry = yield* Effect.scope
  const all = new Set<Scope.Closeable>()
  const ofCaller = new WeakMap<Scope.Scope, Set<Scope.Closeable>>()
  yield* Effect.addFinalizer((exit) => closeAll(all, exit))
  return {
    open: Effect.gen(function* () {
      if (registry.state._tag === "Closed") return yield* registryClosed
      const caller = yield* Effect.scope
      const scope = yield* Scope.make()
      let siblings = ofCaller.get(caller)
      if (siblings === undefined) {
        siblings = new Set()
        ofCaller.set(caller, siblings)
      }
      const own = siblings
      all.add(scope)
      own.add(scope)
      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => {
          all.delete(scope)
          own.delete(scope)
        })
      )
      yield* Effect.addFinalizer((exit) => own.has(scope) ? closeAll(own, exit) : Effect.void)
      return scope
    })
  }
})

/**
 * Signals to the process. SIGINT, SIGTERM and SIGHUP interrupt a command that does not handle signals itself.
 *
 * @module
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Receives a signal. */
export type Handler = (signal: NodeJS.Signals) => void

/** The signals of the process. */
export interface Signals {
  /**
   * Passes each signal (SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH) to the handler until the scope
   * closes, and does nothing else. Commands that run a child use it, so that the exit code is the child's.
   */
  readonly handle: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
}

/** The service that provides {@link Signals}. By default, for example in tests, no signal arrives. */
export const Signals: Context.Reference<Signals> = Context.Reference("@effect-etcd/discovery/cli/Signals", {
  defaultValue: (): Signals => ({ handle: () => Effect.void })
})

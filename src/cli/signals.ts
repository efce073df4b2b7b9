/**
 * Signals to the process. SIGINT, SIGTERM and SIGHUP interrupt the command, unless the command handles signals itself.
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
   * Until the scope closes, each signal (SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH) goes to the
   * handler and does nothing else. A command that has a child uses it: the code of the child is then the exit code.
   */
  readonly handle: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
}

/** The service of {@link Signals}. Without one, for instance in a test, no signal arrives. */
export const Signals: Context.Reference<Signals> = Context.Reference("@effect-etcd/discovery/cli/Signals", {
  defaultValue: (): Signals => ({ handle: () => Effect.void })
})

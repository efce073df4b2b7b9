/**
 * Loads modules when a command runs.
 *
 * Every start loads `main.ts`, `cli.ts` and the flags of all commands. These modules import `effect/Effect` and its
 * siblings instead of `effect`, and load the rest of this package through {@link library}. That halves the time of
 * `--help`.
 *
 * @module
 */
import * as Effect from "effect/Effect"

/** Loads a module. */
export const load = <A>(module: () => Promise<A>): Effect.Effect<A> => Effect.promise(module)

/** The parts of this package that commands use. */
export const library: Effect.Effect<typeof import("./library.ts")> = load(() => import("./library.ts"))

/**
 * Loading modules when a command runs.
 *
 * The modules that every start loads (`main.ts`, `cli.ts`, the flags of all commands) import `effect/Effect` and its
 * siblings instead of `effect`, and the rest of this package through {@link library}. That halves the time of `--help`.
 *
 * @module
 */
import * as Effect from "effect/Effect"

/** Loads a module. */
export const load = <A>(module: () => Promise<A>): Effect.Effect<A> => Effect.promise(module)

/** What commands use of this package. */
export const library: Effect.Effect<typeof import("./library.ts")> = load(() => import("./library.ts"))

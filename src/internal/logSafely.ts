import { Effect } from "effect"

/** Runs a log effect; a logger that throws does not end the fiber that logs. */
export const logSafely = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.catchDefect(log, () => Effect.void)

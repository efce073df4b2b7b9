/**
 * Log effects that a logger cannot break: a logger that throws does not end the fiber that logs.
 *
 * @module
 */
import { Effect } from "effect"

type Log = (...message: ReadonlyArray<unknown>) => Effect.Effect<void>

const safely = (log: Log): Log => (...message) => Effect.catchDefect(log(...message), () => Effect.void)

export const logInfo: Log = safely(Effect.logInfo)
export const logWarning: Log = safely(Effect.logWarning)
export const logError: Log = safely(Effect.logError)

/**
 * Logs of commands: warnings and errors, one line each, on the standard error.
 *
 * @module
 */
import * as Console from "effect/Console"
import * as Cause from "effect/Cause"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { printable } from "./output.ts"

const logger = Logger.make(({ cause, fiber, logLevel, message }) => {
  const parts = (Array.isArray(message) ? message : [message]).map((part: unknown) =>
    typeof part === "string" ? part : part instanceof Error ? part.message : JSON.stringify(part)
  )
  const problem = cause.reasons.length === 0 ? undefined : Cause.squash(cause)
  if (problem !== undefined) parts.push(problem instanceof Error ? problem.message : String(problem))
  fiber.getRef(Console.Console).error(printable(`${logLevel.toLowerCase()}: ${parts.join(": ")}`))
})

/** Logs warnings and errors; `--log-level` changes that. */
export const layer: Layer.Layer<never> = Layer.mergeAll(
  Logger.layer([logger]),
  Layer.succeed(References.MinimumLogLevel, "Warn")
)

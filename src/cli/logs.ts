/**
 * Logs warnings and errors of commands to standard error, one line each.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { printable } from "./output.ts"

/** How long a line is held back. If the command fails meanwhile, its own message replaces the line. */
const holdMillis = 500

const lineOf = ({ cause, logLevel, message }: Logger.Options<unknown>): string => {
  const parts = (Array.isArray(message) ? message : [message]).map((part: unknown) =>
    typeof part === "string" ? part : part instanceof Error ? part.message : JSON.stringify(part)
  )
  const problem = cause.reasons.length === 0 ? undefined : Cause.squash(cause)
  if (problem !== undefined) parts.push(problem instanceof Error ? problem.message : String(problem))
  return printable(`${logLevel.toLowerCase()}: ${parts.join(": ")}`)
}

/**
 * Logs the warnings and errors of a command; `--log-level` changes the level. If the command fails, drops the lines
 * that are still held back.
 */
export const withLogs = <A, E, R>(command: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Console.Console, (console) => {
    const held: Array<string> = []
    let timer: ReturnType<typeof setTimeout> | undefined
    const flush = () => {
      clearTimeout(timer)
      timer = undefined
      for (const line of held.splice(0)) console.error(line)
    }
    const logger = Logger.make((options) => {
      held.push(lineOf(options))
      timer ??= setTimeout(flush, holdMillis)
    })
    return command.pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Warn"),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) held.splice(0)
          flush()
        })
      )
    )
  })

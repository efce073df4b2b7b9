/**
 * The options of `render` and their checks.
 *
 * @module
 */
import type { Duration, Result } from "effect"
import { checkOptions, type InvalidOption } from "../../internal/options.ts"
import type { Format } from "./Format.ts"
import { parseWait, type Wait } from "./quiescence.ts"

/** What to render, and where to write it. */
export interface RenderOptions {
  readonly services: ReadonlyArray<string>
  readonly format: Format
  /** The path of the file. `undefined` prints the text instead. */
  readonly output: string | undefined
  /** The mode of a new file. Default: 0o644. */
  readonly mode?: number
  /**
   * What to do while a service has no instances. `"keep"` writes the last ones; until every service has had some, it
   * writes nothing. `"write"` writes the empty service. `"fail"` fails. Default: `"keep"`.
   */
  readonly onEmpty?: "keep" | "write" | "fail"
  /**
   * `min:max`: write once nothing has changed for `min`, at the latest after `max`. Default: `200 millis:2 seconds`.
   */
  readonly wait?: string
  /** A command that validates the staged file, whose path is in `FILE`. */
  readonly check?: string
  /** A command to run after replacing the file, whose path is in `FILE`. */
  readonly reload?: string
  /** The time limit of each command. Default: 30 seconds. */
  readonly commandTimeout?: Duration.Input
}

/** The checked options. */
export interface RenderPlan extends Omit<RenderOptions, "wait" | "commandTimeout" | "onEmpty"> {
  readonly onEmpty: "keep" | "write" | "fail"
  readonly wait: Wait
  readonly commandTimeout: Duration.Duration
}

/** Checks the options before reading or writing anything. */
export const plan = (options: RenderOptions): Result.Result<RenderPlan, InvalidOption> =>
  checkOptions("render", (check) => {
    const { commandTimeout = "30 seconds", format, onEmpty = "keep", services, wait = "200 millis:2 seconds" } = options
    if (services.length === 0) check.refuse("services", services, "it must name at least one service")
    if (new Set(services).size < services.length) check.refuse("services", services, "it must not name a service twice")
    check.valid("services", services, format.checkNames(services))
    return {
      ...options,
      onEmpty: check.oneOf("onEmpty", onEmpty, ["keep", "write", "fail"]),
      wait: check.valid("wait", wait, parseWait(wait)),
      commandTimeout: check.duration("commandTimeout", commandTimeout)
    }
  })

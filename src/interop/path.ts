/**
 * Names that are paths, for formats with arbitrary prefixes.
 *
 * @module
 */
import { Result } from "effect"

const rule = "it must be well-formed text of 1 to 1,024 characters, without control characters"
// deno-lint-ignore no-control-regex -- matches control characters on purpose
const control = /[\u0000-\u001f\u007f-\u009f]/

/** Checks text that may contain slashes. Fails with the broken rule. */
export const path = (text: string): Result.Result<string, string> =>
  typeof text === "string" && text.length > 0 && text.length <= 1024 && text.isWellFormed() && !control.test(text) ?
    Result.succeed(text) :
    Result.fail(rule)

/** Checks a prefix to which the format adds a slash. */
export const target = (text: string): Result.Result<string, string> =>
  Result.flatMap(
    path(text),
    (name) =>
      name.endsWith("/") ?
        Result.fail("it must not end with '/', which this format adds by itself") :
        Result.succeed(name)
  )

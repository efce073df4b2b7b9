/**
 * Names that are paths, for formats that allow any string as a prefix.
 *
 * @module
 */
import { Result } from "effect"

const rule = "it must be well-formed text of 1 to 1,024 characters, without control characters"
// deno-lint-ignore no-control-regex -- control characters are what it looks for
const control = /[\u0000-\u001f\u007f-\u009f]/

/** Text that may contain slashes, or the rule that it breaks. */
export const path = (text: string): Result.Result<string, string> =>
  typeof text === "string" && text.length > 0 && text.length <= 1024 && text.isWellFormed() && !control.test(text) ?
    Result.succeed(text) :
    Result.fail(rule)

/** A prefix to which the format adds a slash. */
export const target = (text: string): Result.Result<string, string> =>
  Result.flatMap(
    path(text),
    (name) =>
      name.endsWith("/") ?
        Result.fail("it must not end with '/', which this format adds by itself") :
        Result.succeed(name)
  )

/**
 * Parsers of JSON, YAML and TOML for values that others wrote.
 *
 * Time grows linearly with the text. The parsers of YAML and TOML are loaded on first use. Messages of the parsers may
 * quote the text, which may contain a secret: the quotes are removed.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { parseJson } from "./json.ts"

/** A format of trees of records, lists and scalars. */
export type Format = "json" | "yaml" | "toml"

/** Why a text does not parse. Line and column start at 1 and are missing if the parser does not report them. */
export interface SyntaxProblem {
  readonly rule: string
  readonly line?: number
  readonly column?: number
}

/** Parses a text. Dates of TOML become text, as in the other formats. */
export type Parse = (text: string) => Result.Result<unknown, SyntaxProblem>

/** The parser of a format. */
export const parserOf = (format: Format): Effect.Effect<Parse> => {
  switch (format) {
    case "json":
      return Effect.succeed((text) =>
        Result.try({ try: () => parseJson(text), catch: () => ({ rule: "it is not JSON" }) })
      )
    case "yaml":
      return Effect.map(
        Effect.promise(() => import("effect/encoding/Yaml")),
        ({ parse }): Parse => (text) =>
          attempt("YAML", text, () => {
            const value = parse(text)
            if (!isBounded(value)) throw new SyntaxError("aliases expand to too much")
            return value
          })
      )
    case "toml":
      return Effect.map(
        Effect.promise(() => import("effect/encoding/Toml")),
        ({ parse }): Parse => (text) => attempt("TOML", text, () => withoutDates(Result.getOrThrow(parse(text))))
      )
  }
}

/** The parsers match numbers by regular expressions that need quadratic time for a long run of digits. */
const maxDigits = 512
const manyDigits = new RegExp(`\\d{${maxDigits + 1}}`)

/** Aliases share what they refer to, so a short text can describe a tree that is too large to walk. */
const maxExpanded = 1_000_000

const isBounded = (value: unknown): boolean => {
  const sizes = new Map<object, number>()
  const sizeOf = (value: unknown): number => {
    if (typeof value !== "object" || value === null) return 1
    const known = sizes.get(value)
    if (known !== undefined) return known
    let size = 1
    for (const member of Object.values(value)) size += sizeOf(member)
    sizes.set(value, size)
    return size
  }
  return sizeOf(value) <= maxExpanded
}

const attempt = (name: string, text: string, parse: () => unknown): ReturnType<Parse> => {
  if (manyDigits.test(text)) return Result.fail({ rule: `it is not ${name}: more than ${maxDigits} digits in a row` })
  try {
    return Result.succeed(parse())
  } catch (error) {
    if (error instanceof RangeError) return Result.fail({ rule: `it is not ${name}: it is nested too deeply` })
    return Result.fail(problemOf(name, error instanceof Error ? error.message : String(error)))
  }
}

/** The message of a parser without quotes from the text. Single quoted characters are the parser's own words. */
const problemOf = (name: string, message: string): SyntaxProblem => {
  const said = message.replace(/\s*'..+'/s, "")
  const line = / at line (\d+)/.exec(said)?.[1]
  const column = /, column (\d+)/.exec(said)?.[1]
  return {
    rule: `it is not ${name}: ${said.replace(/ at (?:line|flow offset) .*$/s, "")}`,
    ...(line === undefined ? {} : { line: Number(line) }),
    ...(column === undefined ? {} : { column: Number(column) })
  }
}

const withoutDates = (value: unknown): unknown => {
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return value.map(withoutDates)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withoutDates(member)]))
}

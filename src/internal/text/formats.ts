/**
 * Parsers for JSON, YAML and TOML.
 *
 * The parsers of YAML and TOML are loaded on first use. Their error messages may quote the text, which may contain a
 * secret, so quotes are removed from messages.
 *
 * @module
 */
import { Effect, Result } from "effect"

/** A format for a tree of records, lists and scalars. */
export type Format = "json" | "yaml" | "toml"

/** Why a text does not parse. `line` and `column` count from 1 and are set if the parser reports them. */
export interface SyntaxProblem {
  readonly rule: string
  readonly line?: number
  readonly column?: number
}

/** Parses a text. TOML dates become text, as in the other formats. */
export type Parse = (text: string) => Result.Result<unknown, SyntaxProblem>

/** The parser of a format. */
export const parserOf = (format: Format): Effect.Effect<Parse> => {
  switch (format) {
    case "json":
      return Effect.succeed((text) => attempt(() => JSON.parse(text), () => ({ rule: "it is not JSON" })))
    case "yaml":
      return Effect.map(Effect.promise(() => import("effect/encoding/Yaml")), ({ parse }): Parse => (text) => {
        const parsed = attempt(() => parse(text), (message) => problemOf("YAML", message))
        return Result.mapError(parsed, (problem) => ({ line: brokenLine(text, parse), ...problem }))
      })
    case "toml":
      return Effect.map(
        Effect.promise(() => import("effect/encoding/Toml")),
        ({ parse }): Parse => (text) =>
          Result.mapBoth(parse(text), {
            onFailure: ({ message }) => problemOf("TOML", message),
            onSuccess: withoutDates
          })
      )
  }
}

const attempt = (parse: () => unknown, problem: (message: string) => SyntaxProblem): ReturnType<Parse> => {
  try {
    return Result.succeed(parse())
  } catch (error) {
    return Result.fail(problem(error instanceof Error ? error.message : String(error)))
  }
}

/** The parser's message without quotes of the text. Single characters stay: they are what the parser expected. */
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

/** The first line after the longest prefix of the text that parses: the statement that fails begins there. */
const brokenLine = (text: string, parse: (text: string) => unknown): number => {
  const lines = text.split("\n")
  for (let end = lines.length - 1; end > 0; end--) {
    if (Result.isSuccess(attempt(() => parse(lines.slice(0, end).join("\n")), (rule) => ({ rule })))) return end + 1
  }
  return 1
}

const withoutDates = (value: unknown): unknown => {
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return value.map(withoutDates)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withoutDates(member)]))
}

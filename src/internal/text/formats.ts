/**
 * Text that says something in JSON, YAML or TOML.
 *
 * The parsers of YAML and TOML are loaded by whoever first needs them. What a parser says of wrong text may quote the
 * text, which may hold a secret: here it is told without what it quotes.
 *
 * @module
 */
import { Effect, Result } from "effect"

/** A format that has a tree of records, lists and scalars. */
export type Format = "json" | "yaml" | "toml"

/** Why a text cannot be parsed; from 1, where the parser knows it. */
export interface SyntaxProblem {
  readonly rule: string
  readonly line?: number
  readonly column?: number
}

/** Reads a text. Dates of TOML become text, as in the other formats. */
export type Parse = (text: string) => Result.Result<unknown, SyntaxProblem>

/** What parses a format. */
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

/** What the parser said, without what it quotes of the text; single characters are its own expectations. */
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

/** The first line after the longest beginning of the text that parses: where the statement begins that does not. */
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

/**
 * Decodes the bytes of a key with a schema.
 *
 * @module
 */
import { Cause, Effect, Result, Schema, SchemaIssue } from "effect"
import type { KeyValue } from "../etcd/messages/kv.ts"
import { parserOf } from "../internal/text/formats.ts"
import { showPath } from "../internal/text/paths.ts"
import { InvalidConfig } from "./ConfigRefError.ts"

/**
 * A schema of configuration. It must be synchronous and need no services.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigSchema<A> = Schema.Codec<A, unknown>

/** The formats of values. */
export const configFormats = ["json", "yaml", "toml", "text"] as const

/**
 * The syntax of a value. With `text` the schema receives the text unchanged.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigFormat = typeof configFormats[number]

const utf8 = new TextDecoder("utf-8", { fatal: true })
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

/** The maximum number of problems in an error, and the maximum length of each. */
const maxProblems = 20
const maxRule = 200

/** Makes the decoder of a key. */
export const decoderOf = Effect.fnUntraced(function* <A>(
  key: string,
  schema: ConfigSchema<A>,
  format: ConfigFormat
): Effect.fn.Return<(kv: KeyValue) => Result.Result<A, InvalidConfig>> {
  const parse = format === "text" ? Result.succeed<string> : yield* parserOf(format)
  const decode = Schema.decodeUnknownResult(format === "text" ? schema : Schema.toCodecJson(schema), { errors: "all" })

  return ({ modRevision: revision, value }) => {
    const whole = (rule: string, cause?: unknown) =>
      new InvalidConfig({ key, revision, problems: [{ path: "", rule }], ...(cause === undefined ? {} : { cause }) })
    // A schema is user code: it may throw, be asynchronous, or overflow the stack on a deeply nested value.
    try {
      return Result.gen(function* () {
        const text = yield* Result.mapError(textOf(value), (rule) => whole(rule))
        const parsed = yield* Result.mapError(parse(text), ({ rule }) => whole(rule))
        return yield* Result.mapError(
          decode(parsed),
          ({ issue }) => new InvalidConfig({ key, revision, problems: problemsOf(issue) })
        )
      })
    } catch (error) {
      // `Schema`'s adapters wrap the exception of a schema.
      return Result.fail(whole(
        "the schema threw an exception",
        error instanceof Error && Cause.isCause(error.cause) ? Cause.squash(error.cause) : error
      ))
    }
  }
})

const problemsOf = (issue: SchemaIssue.Issue): InvalidConfig["problems"] =>
  issuesOf(issue).issues.slice(0, maxProblems).map(({ message, path = [] }) => ({
    path: showPath(path).slice(0, maxRule),
    rule: message.slice(0, maxRule)
  }))

const textOf = (value: Uint8Array): Result.Result<string, string> => {
  try {
    return Result.succeed(utf8.decode(value))
  } catch {
    return Result.fail("it is not UTF-8")
  }
}

/**
 * From the bytes of a key to a value of the schema.
 *
 * @module
 */
import { Effect, Result, Schema, SchemaIssue } from "effect"
import type { KeyValue } from "../etcd/Etcd.ts"
import { parserOf } from "../internal/text/formats.ts"
import { showPath } from "../internal/text/paths.ts"
import { InvalidConfig } from "./ConfigError.ts"

/** A schema that needs no services. */
export type ConfigSchema<A> = Schema.Codec<A, unknown>

/** How a value is written. `text` is the string as it stands. */
export type ConfigFormat = "json" | "yaml" | "toml" | "text"

const utf8 = new TextDecoder("utf-8", { fatal: true })
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

/** Decodes what was put under a key. */
export const decoderOf = Effect.fnUntraced(function* <A>(
  key: string,
  schema: ConfigSchema<A>,
  format: ConfigFormat
): Effect.fn.Return<(kv: KeyValue) => Effect.Effect<A, InvalidConfig>> {
  const parse = format === "text" ? Result.succeed<string> : yield* parserOf(format)
  const decode = Schema.decodeUnknownEffect(format === "text" ? schema : Schema.toCodecJson(schema), { errors: "all" })

  return ({ modRevision, value }) => {
    const invalid = (problems: InvalidConfig["problems"]) => new InvalidConfig({ key, revision: modRevision, problems })
    const whole = (rule: string) => invalid([{ path: "", rule }])
    return Effect.suspend(() => Effect.fromResult(Result.mapError(textOf(value), whole))).pipe(
      Effect.flatMap((text) => Effect.fromResult(Result.mapError(parse(text), ({ rule }) => whole(rule)))),
      Effect.flatMap((parsed) =>
        Effect.mapError(
          decode(parsed),
          ({ issue }) =>
            invalid(issuesOf(issue).issues.map(({ message, path = [] }) => ({ path: showPath(path), rule: message })))
        )
      ),
      // A transformation of the schema may throw.
      Effect.catchDefect(() => Effect.fail(whole("the schema cannot decode it")))
    )
  }
})

const textOf = (value: Uint8Array): Result.Result<string, string> => {
  try {
    return Result.succeed(utf8.decode(value))
  } catch {
    return Result.fail("it is not UTF-8")
  }
}

/**
 * The fields of declarations, as schemas whose errors are the rules.
 *
 * The value of a variable is text. So numbers and booleans may be text, and lists may be comma-separated text. Text
 * must be text: a number would lose its spelling (`1.10`).
 *
 * @module
 */
import { Duration, Effect, Option, Redacted, Result, Schema, SchemaGetter, SchemaIssue } from "effect"

/** A field with a parser. */
export const field = <A>(read: (value: unknown) => Result.Result<A, string>): Schema.Codec<A, unknown> =>
  Schema.Unknown.pipe(Schema.decodeTo(Schema.declare((_): _ is A => true), {
    decode: SchemaGetter.transformEffect((value: unknown) =>
      Effect.fromResult(
        Result.mapError(read(value), (message) => new SchemaIssue.InvalidValue({ message }))
      )
    ),
    encode: SchemaGetter.passthrough({ strict: false })
  }))

const read =
  <A>(parse: (value: unknown) => A | undefined, rule: string): (value: unknown) => Result.Result<A, string> =>
  (value) => {
    const parsed = parse(value)
    return parsed === undefined ? Result.fail(rule) : Result.succeed(parsed)
  }

const textOf = read(
  (value) => typeof value === "string" ? value : undefined,
  `it must be text; quote it, such as "1.10"`
)

/** Text. */
export const text: Schema.Codec<string, unknown> = field(textOf)

/** Text that satisfies a rule. */
export const textThat = (rule: (text: string) => Result.Result<string, string>): Schema.Codec<string, unknown> =>
  field((value) => Result.flatMap(textOf(value), rule))

/** Text that no error contains. */
export const secret: Schema.Codec<Redacted.Redacted, unknown> = field((value) =>
  Result.map(textOf(value), (text) => Redacted.make(text))
)

/** One of several words. */
export const oneOf = <A extends string>(...words: ReadonlyArray<A>): Schema.Codec<A, unknown> =>
  field(read((value) => words.find((word) => word === value), `it must be one of ${words.join(", ")}`))

/** A number that satisfies a test. */
export const number = (test: (value: number) => boolean, rule: string): Schema.Codec<number, unknown> =>
  field(read((value) => {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value
    return typeof number === "number" && test(number) ? number : undefined
  }, rule))

/** A boolean. */
export const truth: Schema.Codec<boolean, unknown> = field(
  read(
    (value) => value === true || value === "true" ? true : value === false || value === "false" ? false : undefined,
    "it must be true or false"
  )
)

/** A duration with its unit: the unit of a bare number would be ambiguous. */
export const durationOf: (value: unknown) => Result.Result<Duration.Duration, string> = read(
  (value) => typeof value === "string" ? Option.getOrUndefined(Duration.fromInput(value as Duration.Input)) : undefined,
  `it must be a duration with its unit, such as "15 seconds" or "500 millis"`
)

/** A duration of at least some milliseconds. */
export const duration = (minimum: number): Schema.Codec<Duration.Duration, unknown> =>
  field((value) =>
    Result.flatMap(
      durationOf(value),
      (duration) =>
        Duration.isFinite(duration) && Duration.toMillis(duration) >= minimum ?
          Result.succeed(duration) :
          Result.fail(`it must be a finite duration of at least ${minimum} ms`)
    )
  )

/** A non-empty list, or comma-separated text. */
export const list = <A>(item: Schema.Codec<A, unknown>): Schema.Codec<readonly [A, ...ReadonlyArray<A>], unknown> =>
  Schema.Unknown.pipe(Schema.decodeTo(Schema.NonEmptyArray(item), {
    decode: SchemaGetter.transformEffect((value: unknown) => {
      const items: unknown = typeof value === "string" ?
        value.split(",").map((item) => item.trim()).filter((item) => item !== "") :
        value
      return isNonEmpty(items) ?
        Effect.succeed(items) :
        Effect.fail(new SchemaIssue.InvalidValue({ message: "it must be a list with at least one item" }))
    }),
    encode: SchemaGetter.passthrough({ strict: false })
  }))

const isNonEmpty = (value: unknown): value is readonly [unknown, ...ReadonlyArray<unknown>] =>
  Array.isArray(value) && value.length > 0

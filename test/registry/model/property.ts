/**
 * Properties: statements about all values of a kind, checked on many.
 *
 * `test/harness/seed.ts` seeds them. A failure prints the smallest value that breaks the property and a `Replay` text.
 * To run the test on this value only, put that text into the environment variable `TEST_REPLAY` and use the runner's
 * name filter.
 *
 * @module
 */
import { Arbitrary, Effect, Schema } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import { live } from "../../harness/it.ts"
import { seed } from "../../harness/seed.ts"

/** Declares a test: `body` throws, or rejects, for a value that breaks the property. */
export const property = <A>(
  title: string,
  values: Arbitrary.Arbitrary<A>,
  body: (value: A) => void | Promise<void>,
  runs: number = 500
): void => {
  live(title, () =>
    Effect.gen(function* () {
      const replay = process.env["TEST_REPLAY"]
      const result = yield* Arbitrary.checkEffect(
        values,
        (value) =>
          Effect.tryPromise({
            try: async () => {
              await body(value)
              return true
            },
            catch: (error) => error instanceof Error ? error.message : String(error)
          }),
        replay === undefined ? { runs, seed } : { replay }
      )
      assert.equal(result._tag, "Passed", Arbitrary.formatCheckFailure(result))
    }))
}

/** One of these. */
export const oneOf = <const A extends string | number>(...values: readonly [A, ...ReadonlyArray<A>]) =>
  Arbitrary.map(int(0, values.length - 1), (index): A => values[index] ?? values[0])

/** A whole number of a range, both ends included. */
export const int = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum, maximum })))

/** Any bytes, of which many are printable. */
export const bytes: Arbitrary.Arbitrary<Uint8Array> = Arbitrary.map(
  Arbitrary.array(int(0, 511), { maxLength: 40 }),
  (codes) => Uint8Array.from(codes, (code) => code > 255 ? 32 + code % 95 : code)
)

/** Any code units, including lone surrogates. */
const units = Arbitrary.map(
  Arbitrary.array(int(0, 0xffff), { maxLength: 12 }),
  (codes) => String.fromCharCode(...codes)
)

/** Texts, including ones that are likely to break parsers. */
export const text: Arbitrary.Arbitrary<string> = Arbitrary.flatMap(
  int(0, 3),
  (kind) =>
    kind === 0 ? units : kind === 1 ? Arbitrary.schema(Schema.String) : oneOf(
      "__proto__",
      "constructor",
      "toString",
      "",
      ".",
      "..",
      "/",
      "a/b",
      "\ufeff",
      "\ufeffa",
      "\ud800",
      "a\udc00",
      "\u0000",
      "a\u0085",
      "10.0.0.5:8080",
      "ünïcödé",
      "日本語",
      "😀",
      "\u2028",
      "é".repeat(126),
      "é".repeat(127),
      "a".repeat(253),
      "a".repeat(254)
    )
)

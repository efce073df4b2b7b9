import { Effect, Result } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import { type Format, parserOf } from "../../../src/internal/text/formats.ts"
import { describe, live } from "../../harness/it.ts"

/** Texts of about `size` characters that are hard for parsers: mistakes near the top, nesting, repetition. */
const hardTexts: Readonly<Record<string, (size: number) => string>> = {
  mistakeAtTop: (size) => "a: b: c\n" + "b: 1\n".repeat(size / 5),
  openBracket: (size) => "a: [\n" + "b: 1\n".repeat(size / 5),
  openQuote: (size) => "a: 'x\n" + "b: 1\n".repeat(size / 5),
  tab: (size) => "\ta: 1\n" + "b: 1\n".repeat(size / 5),
  brackets: (size) => "[".repeat(size),
  pairs: (size) => "[".repeat(size / 2) + "]".repeat(size / 2),
  braces: (size) => `{"a":`.repeat(size / 5),
  keys: (size) => Array.from({ length: size / 10 }, (_, index) => `k${index}: 1`).join("\n"),
  sameKey: (size) => "a: 1\n".repeat(size / 5),
  members: (size) => `{${Array.from({ length: size / 10 }, (_, index) => `"k${index}":1`).join(",")}}`,
  anchors: (size) => Array.from({ length: size / 16 }, (_, index) => `k${index}: &a${index} x`).join("\n"),
  aliases: (size) => `x: &x [1]\ny: [${"*x, ".repeat(size / 4)}]`,
  merges: (size) => `a: &a {x: 1}\nb:\n  <<: [${"*a,".repeat(size / 3)}]`,
  digits: (size) => `a: ${"1".repeat(size)}`,
  almostNumber: (size) => `a: ${"1".repeat(size / 2)}.${"1".repeat(size / 2)}z`,
  almostExponent: (size) => `a = ${"1".repeat(size / 2)}e${"1".repeat(size / 2)}z`,
  quotes: (size) => `"${"\\".repeat(size)}`,
  escapes: (size) => `a = "${"\\n".repeat(size / 2)}"`,
  spaces: (size) => " ".repeat(size) + "a",
  lines: (size) => "\n".repeat(size),
  plain: (size) => "a: " + "b\n  ".repeat(size / 4),
  block: (size) => "a: |\n" + "  x\n".repeat(size / 4),
  colons: (size) => ": ".repeat(size / 2),
  questions: (size) => "? ".repeat(size / 2),
  commas: (size) => "[" + ",".repeat(size),
  tables: (size) => "[[a]]\nx=1\n".repeat(size / 10),
  dots: (size) => "a." + "a.".repeat(size / 2) + "a = 1"
}

describe("parserOf", () => {
  for (const format of ["json", "yaml", "toml"] satisfies ReadonlyArray<Format>) {
    live(
      `parserOf(${format}) needs time in proportion to the text, also for hostile text`,
      () =>
        Effect.gen(function* () {
          const parse = yield* parserOf(format)
          /** The processor time that `times` runs take. */
          const parseMillis = (text: string, times: number) => {
            const before = process.cpuUsage()
            for (let time = 0; time < times; time++) parse(text)
            const { system, user } = process.cpuUsage(before)
            return (user + system) / 1000
          }
          for (const [name, make] of Object.entries(hardTexts)) {
            const [small, large] = [make(16 * 1024), make(512 * 1024)]
            // As many characters in 32 texts as in one. In quadratic time the one takes 32 times as long.
            const pair = () => [Math.max(20, parseMillis(small, 32)), parseMillis(large, 1)] as const
            const isLinear = ([parts, whole]: readonly [number, number]) => whole < 10 * parts
            // Garbage collection and other processes slow down one pair, not each of ten.
            const pairs: Array<readonly [number, number]> = []
            for (let spent = 0; pairs.length < 10 && spent < 20_000 && !pairs.some(isLinear);) {
              const [parts, whole] = pair()
              pairs.push([parts, whole])
              spent += parts + whole
            }
            assert.ok(pairs.some(isLinear), `${name}: ${pairs.map((pair) => pair.join(" ms, then ")).join(" ms; ")} ms`)
          }
        })
    )
  }

  live("parserOf(yaml) refuses aliases that expand to a tree too large to walk", () =>
    Effect.gen(function* () {
      const parse = yield* parserOf("yaml")
      const levels = Array.from({ length: 30 }, (_, index) => `b${index + 1}: &b${index + 1} [*b${index}, *b${index}]`)
      const bomb = parse(["b0: &b0 [x, x]", ...levels].join("\n"))
      assert.deepEqual(bomb, Result.fail({ rule: "it is not YAML: aliases expand to too much" }))
      assert.deepEqual(parse("a: &a [1]\nb: *a\nc: *a"), Result.succeed({ a: [1], b: [1], c: [1] }))
    }))

  live("parserOf reports a problem without quotes from the text", () =>
    Effect.gen(function* () {
      const rule = Effect.fnUntraced(function* (format: Format, text: string) {
        const parsed = (yield* parserOf(format))(text)
        return Result.isFailure(parsed) ? parsed.failure.rule : "parsed"
      })
      assert.equal(yield* rule("json", `{"a": hunter2}`), "it is not JSON")
      assert.equal(yield* rule("yaml", "since: *hunter2"), "it is not YAML: Unknown YAML alias")
      assert.equal(yield* rule("toml", "since = hunter2"), "it is not TOML: Invalid value")
      assert.equal(yield* rule("yaml", "[".repeat(100_000)), "it is not YAML: it is nested too deeply")
      assert.equal(yield* rule("toml", `${"a.".repeat(100_000)}a = 1`), "it is not TOML: it is nested too deeply")
      assert.equal(yield* rule("yaml", `a: ${"1".repeat(600)}x`), "it is not YAML: more than 512 digits in a row")
    }))
})

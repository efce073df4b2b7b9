import { Arbitrary, Effect, Schema } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { parseJson, read } from "../../../src/internal/text/json.ts"

/** A value with its keys in order, without `JSON.stringify`. */
const show = (value: unknown): unknown =>
  Array.isArray(value) ?
    value.map(show) :
    typeof value === "object" && value !== null ?
    Object.entries(value).map(([key, member]) => [key, show(member)]) :
    value

const escaped = (text: string): string =>
  text.split("").map((character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")

/** One value in several spellings. Each writes its members as the runtime may confuse them: escaped and not. */
const write = (value: unknown, spell: (key: string) => string): string =>
  Array.isArray(value) ?
    `[${value.map((item) => write(item, spell)).join(",")}]` :
    typeof value === "object" && value !== null ?
    `{${Object.entries(value).map(([key, member]) => `"${spell(key)}": ${write(member, spell)}`).join(",")}}` :
    JSON.stringify(value)

const spellings: ReadonlyArray<(key: string) => string> = [(key) => JSON.stringify(key).slice(1, -1), escaped]

describe("parseJson", () => {
  it("parseJson reads a key right after another text had the key \\ in its place (nodejs/node #63785)", () => {
    for (let round = 0; round < 50; round++) {
      assert.deepEqual(show(parseJson(`{"x":1,"\\\\":2}`)), [["x", 1], ["\\", 2]])
      assert.deepEqual(show(parseJson(`{"x":1,"\\t":2}`)), [["x", 1], ["\t", 2]])
      assert.deepEqual(show(parseJson(`{"x":1,"\\u0061":2}`)), [["x", 1], ["a", 2]])
    }
  })

  it("parseJson returns the same for a text after any earlier texts", async () => {
    const key = Schema.String.check(Schema.isMaxLength(3))
    const keys = Schema.Array(Schema.Union([Schema.Literals(["\\", "\t", '"', "\\t", "a", "__proto__", ""]), key]))
    const result = await Effect.runPromise(Arbitrary.checkEffect(Arbitrary.schema(keys), (names) => {
      const members = [...new Set(names)].filter((name) => !/^\d+$/.test(name) && name.isWellFormed())
      const expected = members.map((name, index) => [name, [["in", index]]])
      const value = Object.fromEntries(members.map((name, index) => [name, { in: index }]))
      const texts = spellings.map((spell) => write(value, spell))
      return Effect.succeed(
        texts.every((text) =>
          JSON.stringify(show(parseJson(text))) === JSON.stringify(expected) &&
          JSON.stringify(show(read(text))) === JSON.stringify(expected)
        )
      )
    }, { runs: 3000, seed: 7 }))
    assert.equal(result._tag, "Passed", Arbitrary.formatCheckFailure(result))
  })
})

describe("read", () => {
  it("read accepts exactly what JSON.parse accepts, with the same result", () => {
    const texts = [
      ...[
        "",
        " ",
        "null",
        " true ",
        "false",
        "nul",
        "truefalse",
        "0",
        "-0",
        "01",
        "-",
        "1.",
        ".5",
        "1e5",
        "1E-2",
        "+1"
      ],
      ...[
        "1e400",
        '"',
        '""',
        '"a\\u00e9\\n"',
        '"\\x"',
        '"\\ud800"',
        '"\u0001"',
        '"a',
        '"a\\',
        '"\\u12"',
        "NaN",
        "Infinity"
      ],
      ...[
        "[]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,[2,{}]]",
        "[",
        "]",
        "{}",
        "{",
        "}",
        '{"a":1',
        '{"a"}',
        '{"a":}',
        '{"a":1,}'
      ],
      ...['{"a":1,"a":2}', '{"__proto__":{"b":1}}', "{a:1}", "{'a':1}", '{"a":1}}', '{"a" : [ 1 , 2 ] , "b":null}'],
      ...["\ufeff1", "\u00a01", "1\n", "\t[\r\n]\n", "[1]x", '{"1":1,"0":2}', "/*c*/1"]
    ]
    for (const text of texts) {
      const attempt = (parse: (text: string) => unknown) => {
        try {
          return { value: parse(text) }
        } catch (error) {
          assert.ok(error instanceof SyntaxError, text)
          return "refused"
        }
      }
      assert.deepEqual(attempt(read), attempt((text) => JSON.parse(text)), text)
    }
  })

  it("read needs no stack for a deep value", () => {
    let value = read("[".repeat(200_000) + "]".repeat(200_000))
    let depth = 0
    while (Array.isArray(value)) {
      depth += 1
      value = value[0]
    }
    assert.equal(depth, 200_000)
  })
})

import { Arbitrary, Effect, Schema } from "effect"
import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { isDeepStrictEqual } from "node:util"
import { parseJson } from "../../../src/internal/text/json.ts"
import { setMember } from "../../../src/internal/text/setMember.ts"

describe("setMember", () => {
  it("setMember replaces the value of a member and keeps every other character", () => {
    const text =
      ' {\n  "status" : "up",\t"metadata": { "status": [1, {"a": "}\\""}], "big": 12345678901234567890 },\n"x":1e0}\n'
    assert.equal(setMember(text, ["status"], "draining"), text.replace('"up"', '"draining"'))
    assert.equal(setMember(text, ["x"], 2), text.replace("1e0", "2"))
    assert.equal(
      setMember(text, ["metadata"], 7),
      text.replace(/\{ "status": .* \}/, "7")
    )
  })
  it("setMember adds a missing member at the end of its object", () => {
    assert.equal(setMember("{}", ["a"], 1), '{"a":1}')
    assert.equal(setMember("{ }", ["a"], 1), '{"a":1}')
    assert.equal(setMember('{"b":2 }', ["a"], 1), '{"b":2,"a":1 }')
  })
  it("setMember follows a path and adds its missing objects", () => {
    assert.equal(setMember('{"m":{"w":"1","x":2}}', ["m", "w"], "5"), '{"m":{"w":"5","x":2}}')
    assert.equal(setMember('{"m":{"x":2}}', ["m", "w"], "5"), '{"m":{"x":2,"w":"5"}}')
    assert.equal(setMember('{"m":null}', ["m", "w"], "5"), '{"m":{"w":"5"}}')
    assert.equal(setMember("{}", ["m", "w"], "5"), '{"m":{"w":"5"}}')
  })
  it("setMember changes the last of equal names, and reads escaped names", () => {
    assert.equal(setMember('{"a":1,"a":2}', ["a"], 3), '{"a":1,"a":3}')
    assert.equal(setMember('{"\\u0061":1}', ["a"], 3), '{"\\u0061":3}')
  })
  it("setMember throws a SyntaxError when the text is not a JSON object", () => {
    for (const text of ["", "[]", "null", '"a"', "{", '{"a":1,}', "{} {}"]) {
      assert.throws(() => setMember(text, ["a"], 1), SyntaxError, text)
    }
  })
  it("setMember changes only the member as JSON.parse reads it, for any object", async () => {
    const Json = Schema.Record(
      Schema.String,
      Schema.Union([
        Schema.String,
        Schema.Int,
        Schema.Null,
        Schema.Array(Schema.Record(Schema.String, Schema.String)),
        Schema.Record(Schema.String, Schema.Array(Schema.String))
      ])
    )
    const result = await Effect.runPromise(Arbitrary.checkEffect(
      Arbitrary.schema(Json),
      (object) => {
        // JSON has no -0.
        const plain = parseJson(JSON.stringify(object)) as object
        return Effect.succeed(
          [0, 2].every((indent) => {
            const changed = parseJson(setMember(JSON.stringify(plain, null, indent), ["status"], "draining"))
            return isDeepStrictEqual(changed, { ...plain, status: "draining" })
          })
        )
      },
      { runs: 300, seed: 7 }
    ))
    assert.equal(result._tag, "Passed", Arbitrary.formatCheckFailure(result))
  })
})

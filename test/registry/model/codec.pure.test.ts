import { Arbitrary, Effect, Option, Result, Schema, SchemaGetter } from "effect"
import assert from "node:assert/strict"
import * as Codec from "../../../src/registry/model/Codec.ts"
import type { ServiceInstance } from "../../../src/registry/model/Instance.ts"
import { overflow } from "../../harness/overflow.ts"
import { describe, live } from "../../harness/it.ts"
import { bytes, int, oneOf, property, text } from "./property.ts"

const encoder = new TextEncoder()
const test = (title: string, body: () => void) => live(title, () => Effect.sync(body))
const decode = (value: unknown) =>
  Codec.strings.decode("orders", "a", encoder.encode(typeof value === "string" ? value : JSON.stringify(value)))

const wellFormed = Arbitrary.filter(text, (value: string) => value.isWellFormed())
const instances: Arbitrary.Arbitrary<ServiceInstance> = Arbitrary.map(
  Arbitrary.all([
    Arbitrary.array(Arbitrary.all([wellFormed, wellFormed]), { maxLength: 5 }),
    Arbitrary.array(wellFormed, { minLength: 1, maxLength: 3 }),
    int(0, 1000),
    oneOf("up", "starting", "draining", "down"),
    wellFormed,
    int(0, 3)
  ]),
  ([metadata, endpoints, weight, status, label, members]) => ({
    id: "a",
    name: "orders",
    ...(members & 1 ? { version: label } : {}),
    metadata: Object.fromEntries(metadata),
    endpoints: endpoints.map((value) => `http://${value}`),
    weight: weight / 7,
    ...(members & 2 ? { zone: label } : {}),
    status
  })
)

describe("Codec.strings", () => {
  property("decode is the inverse of encode", instances, (instance) => {
    const value = Result.getOrThrow(Codec.strings.encode(instance))
    assert.deepEqual(Result.getOrThrow(Codec.strings.decode("orders", "a", value)), instance)
  }, 1000)

  property("decode of any bytes returns a result and never throws", bytes, (value) => {
    const decoded = Codec.strings.decode("orders", "a", value)
    assert.ok(Result.isFailure(decoded) && decoded.failure._tag === "InvalidInstance")
  }, 2000)

  property(
    "decode of a valid value with one byte changed returns the instance of the key or a failure",
    Arbitrary.all([instances, int(0, 10_000), int(0, 255)]),
    ([instance, at, byte]) => {
      const value = Result.getOrThrow(Codec.strings.encode(instance)).slice()
      value[at % value.length] = byte
      const decoded = Codec.strings.decode("orders", "a", value)
      if (Result.isSuccess(decoded)) {
        const { endpoints, id, name, weight } = decoded.success
        assert.deepEqual([id, name], ["a", "orders"])
        assert.ok(endpoints.length > 0 && weight >= 0 && Number.isFinite(weight))
      }
    },
    2000
  )

  test("decode accepts missing members with a default, and ignores unknown ones", () => {
    assert.deepEqual(Result.getOrThrow(decode({ endpoints: ["http://x:1"], future: { deep: [1] } })), {
      id: "a",
      name: "orders",
      metadata: {},
      endpoints: ["http://x:1"],
      weight: 1,
      status: "up"
    })
  })

  test("decode treats null metadata as missing", () => {
    assert.deepEqual(Result.getOrThrow(decode({ endpoints: ["http://x:1"], metadata: null })).metadata, {})
  })

  test("decode refuses hostile values, or reads them harmlessly", () => {
    const endpoints = `"endpoints":["http://x:1"]`
    const refused = {
      "an empty value": "",
      "not an object": "[]",
      "null": "null",
      "no endpoints": "{}",
      "empty endpoints": `{"endpoints":[]}`,
      "an empty endpoint": `{"endpoints":[""]}`,
      "an endpoint that is no text": `{"endpoints":[1]}`,
      "the id of another": `{${endpoints},"id":"b"}`,
      "the name of another": `{${endpoints},"name":"b"}`,
      "a negative weight": `{${endpoints},"weight":-1}`,
      "a weight beyond double": `{${endpoints},"weight":1e999}`,
      "a weight that is text": `{${endpoints},"weight":"1"}`,
      "an unknown status": `{${endpoints},"status":"UP"}`,
      "a weight above the largest": `{${endpoints},"weight":1000001}`,
      "endpoints from a prototype": `{"__proto__":{${endpoints}}}`,
      "two values": `{${endpoints}}{${endpoints}}`,
      "a list that is too deep": "[".repeat(100_000)
    }
    for (const [title, value] of Object.entries(refused)) {
      const decoded = decode(value)
      assert.equal(Result.isFailure(decoded) && decoded.failure._tag, "InvalidInstance", title)
    }
    const notUtf8 = Codec.strings.decode("orders", "a", new Uint8Array([0x7b, 0xff, 0x7d]))
    assert.equal(Result.isFailure(notUtf8) && notUtf8.failure.detail, "the value is not UTF-8")
  })

  test("decode returns metadata that are not strings as their JSON text", () => {
    const labels = (metadata: string) =>
      Result.getOrThrow(decode(`{"endpoints":["http://x:1"],"metadata":${metadata}}`)).metadata
    assert.deepEqual(labels(`{"a":1,"b":"x","c":{"d":[true,null]},"e":null,"f":"1"}`), {
      a: "1",
      b: "x",
      c: `{"d":[true,null]}`,
      e: "null",
      f: "1"
    })
    assert.deepEqual(labels(`["a",{"b":2}]`), { 0: "a", 1: `{"b":2}` })
    assert.deepEqual([labels("7"), labels(`"text"`)], [{ "": "7" }, { "": "text" }])
    assert.deepEqual(Object.entries(labels(`{"__proto__":1}`)), [["__proto__", "1"]])
  })

  test("decode returns a deep member of the metadata as its text, or fails if the stack is too small", () => {
    const member = (depth: number) => "[".repeat(depth) + "]".repeat(depth)
    const decoded = (depth: number) => decode(`{"endpoints":["http://x:1"],"metadata":{"a":${member(depth)}}}`)
    assert.equal(Result.getOrThrow(decoded(2000)).metadata["a"], member(2000))
    const deepest = decoded(50_000)
    assert.ok(Result.isFailure(deepest) || deepest.success.metadata["a"] === member(50_000))
  })

  test("decode reads metadata named like members of Object as data", () => {
    const value = `{"endpoints":["http://x:1"],"metadata":{"__proto__":"p","constructor":"c","toString":"t"}}`
    const { metadata } = Result.getOrThrow(decode(value))
    assert.deepEqual(Object.entries(metadata).toSorted(), [["__proto__", "p"], ["constructor", "c"], ["toString", "t"]])
    assert.equal(Object.getPrototypeOf({}), Object.prototype)
    assert.equal(({} as Record<string, unknown>)["p"], undefined)
  })

  test("decode takes the last of duplicate members", () => {
    const decoded = decode(`{"endpoints":["http://x:1"],"endpoints":["http://y:1"],"weight":2,"weight":3}`)
    const { endpoints, weight } = Result.getOrThrow(decoded)
    assert.deepEqual([endpoints, weight], [["http://y:1"], 3])
  })

  test("decode ignores a byte order mark, lone surrogates and large numbers in unknown members", () => {
    const value = `\ufeff{"endpoints":["http://x:1"],"zone":"\\ud800","huge":123456789012345678901234567890}`
    const { zone } = Result.getOrThrow(decode(value))
    assert.equal(zone, "\ud800")
  })

  test("decode returns frozen instances", () => {
    const decoded = Result.getOrThrow(decode({ endpoints: ["http://x:1"] }))
    assert.ok(Object.isFrozen(decoded) && Object.isFrozen(decoded.endpoints))
  })
})

describe("Codec.json", () => {
  const codec = Codec.json(Schema.Struct({ shard: Schema.Int, since: Schema.Date, big: Schema.BigInt }))
  const instance = { id: "a", name: "orders", endpoints: ["http://x:1"], weight: 1, status: "up" } as const

  property(
    "Codec.json decodes what it encoded, also dates and integers beyond double precision",
    Arbitrary.all([int(-1e9, 1e9), int(0, 2e9)]),
    ([shard, seconds]) => {
      const metadata = { shard, since: new Date(seconds * 1000), big: 2n ** 70n + BigInt(shard) }
      const value = Result.getOrThrow(codec.encode({ ...instance, metadata }))
      assert.deepEqual(Result.getOrThrow(codec.decode("orders", "a", value)).metadata, metadata)
    }
  )

  test("encode and decode fail with InvalidInstance for metadata that the schema refuses", () => {
    const encoded = codec.encode({ ...instance, metadata: { shard: 0.5, since: new Date(0), big: 1n } })
    assert.match(Result.isFailure(encoded) ? encoded.failure.detail : "", /^metadata: .*shard/)
    const decoded = codec.decode("orders", "a", encoder.encode(JSON.stringify({ ...instance, metadata: {} })))
    assert.match(Result.isFailure(decoded) ? decoded.failure.detail : "", /^metadata: /)
  })

  test("decode and encode fail with what a schema throws as the cause", () => {
    const defect = new SyntaxError("Cannot convert none to a BigInt")
    const throwing = Codec.json(Schema.Struct({
      shard: Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transform((text: string) => {
          if (text === "none") throw defect
          return text
        }),
        encode: SchemaGetter.transform((text: string) => {
          if (text === "none") throw defect
          return text
        })
      }))
    }))
    const value = encoder.encode(JSON.stringify({ ...instance, metadata: { shard: "none" } }))
    const failures = [
      Result.getFailure(throwing.decode("orders", "a", value)),
      Result.getFailure(throwing.encode({ ...instance, metadata: { shard: "none" } }))
    ].map(Option.getOrThrow)
    for (const failure of failures) {
      assert.match(failure.message, /the schema of the metadata threw SyntaxError/)
      assert.equal(failure.cause, defect)
    }
  })

  test("decode fails for a schema that is asynchronous or overflows the stack, and never throws", () => {
    const later = Codec.json(Schema.Struct({
      shard: Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string) => Effect.as(Effect.sleep(1), text)),
        encode: SchemaGetter.transform((text: string) => text)
      }))
    }))
    const decodeWith = <M>(codec: Codec.Codec<M>, metadata: object) =>
      codec.decode("orders", "a", encoder.encode(JSON.stringify({ ...instance, metadata })))
    assert.ok(Result.isFailure(decodeWith(later, { shard: "x" })))
    const endless = Codec.json(Schema.Struct({
      shard: Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transform(() => String(overflow())),
        encode: SchemaGetter.transform((text: string) => text)
      }))
    }))
    const overflowed = decodeWith(endless, { shard: "x" })
    assert.ok(Result.isFailure(overflowed))
    assert.match(overflowed.failure.detail, /^the schema of the metadata threw RangeError/)
    interface Tree {
      readonly next?: Tree
    }
    const Tree: Schema.Codec<Tree> = Schema.Struct({
      next: Schema.optionalKey(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    const deep = `{"next":`.repeat(20_000) + "{}" + "}".repeat(20_000)
    const value = encoder.encode(`{"endpoints":["http://x:1"],"metadata":${deep}}`)
    // Whether this depth overflows depends on the runtime. It throws on none.
    assert.ok(Result.isResult(Codec.json(Tree).decode("orders", "a", value)))
  })
})

describe("Codec.decode and Codec.encode", () => {
  const whole = { id: "a", name: "orders", metadata: {}, endpoints: ["http://x:1"], weight: 1, status: "up" } as const
  const throwing = (): never => {
    throw new Error("a getter threw")
  }
  /** What a program without types may return from its codec, and the rule that this breaks. */
  const returned: ReadonlyArray<readonly [title: string, value: unknown, detail: RegExp]> = [
    ["nothing", undefined, /^the codec returned no Result$/],
    ["a promise", Promise.resolve(Result.succeed(whole)), /^the codec returned no Result$/],
    ["an instance without a Result", whole, /^the codec returned no Result$/],
    ["a success of nothing", Result.succeed(undefined), /^the codec returned no instance/],
    ["no endpoints", Result.succeed({ ...whole, endpoints: undefined }), /^the codec returned no instance/],
    ["endpoints that are one text", Result.succeed({ ...whole, endpoints: "http://x:1" }), /returned no instance/],
    ["a status that does not exist", Result.succeed({ ...whole, status: "ready" }), /returned no instance/],
    ["a weight that is a text", Result.succeed({ ...whole, weight: "1" }), /returned no instance/],
    ["a weight of 1e306", Result.succeed({ ...whole, weight: 1e306 }), /^the weight is 1e\+306; it must be from 0 to/],
    ["a weight that is not a number", Result.succeed({ ...whole, weight: Number.NaN }), /^the weight is NaN/],
    ["another id", Result.succeed({ ...whole, id: "b" }), /^the codec returned an instance with another id$/],
    [
      "a getter that throws",
      Result.succeed({
        ...whole,
        get endpoints() {
          return throwing()
        }
      }),
      /a getter threw/
    ],
    ["a failure that is a text", Result.fail("no"), /^the codec failed with no$/],
    ["a failure of nothing", Result.fail(undefined), /^the codec failed with undefined$/]
  ]
  for (const [title, value, detail] of returned) {
    test(`Codec.decode fails with InvalidInstance if a codec returns ${title}`, () => {
      const codec = { ...Codec.strings, decode: () => value as never }
      const decoded = Codec.decode(codec, "orders", "a", new Uint8Array())
      assert.ok(Result.isFailure(decoded) && decoded.failure._tag === "InvalidInstance")
      assert.match(decoded.failure.detail, detail)
    })
  }

  test("Codec.decode accepts another id from a codec that reads it from the value", () => {
    const layout = { idFromValue: true } as never
    const codec = { ...Codec.strings, layout, decode: () => Result.succeed({ ...whole, id: "b" }) }
    assert.equal(Result.getOrThrow(Codec.decode(codec, "orders", "a", new Uint8Array())).id, "b")
  })

  test("Codec.encode fails with InvalidInstance if a codec returns no bytes", () => {
    for (const value of [undefined, Promise.resolve(), Result.succeed("text"), Result.fail("no")]) {
      const codec = { ...Codec.strings, encode: () => value as never }
      const encoded = Codec.encode(codec, whole)
      assert.ok(Result.isFailure(encoded) && encoded.failure._tag === "InvalidInstance")
    }
  })
})

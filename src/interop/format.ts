/**
 * The shared parts of foreign formats: strict reading of untrusted values, and lossless writing.
 *
 * @module
 */
import { Equal, Result, Schema } from "effect"
import { show } from "../internal/options.ts"
import { parseJson } from "../internal/text/json.ts"
import { type Codec, InvalidInstance, maxValueBytes } from "../registry/model/Codec.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type { LayoutParts } from "../registry/model/Layout.ts"
import * as Layout from "../registry/model/Layout.ts"

/**
 * A codec that is also a function from options to a codec of the same format.
 *
 * @since 0.1.0
 * @category models
 */
export interface Format<M, Options> extends Codec<M> {
  (options?: Options): Codec<M>
}

/** The parts of a format. */
export interface FormatParts<M> extends Pick<Codec<M>, "encode" | "decode" | "members"> {
  /** The name of the format for messages. */
  readonly title: string
  readonly layout: LayoutParts
  /** Returns the instance as it reads back, for formats with several spellings of one instance. */
  readonly normal?: (instance: ServiceInstance<M>) => ServiceInstance<M>
}

/** Makes a format whose options are all optional. */
export const format = <M, Options extends object>(
  make: (options: Partial<Options>) => FormatParts<M>
): Format<M, Partial<Options>> =>
  Object.assign((options: Partial<Options> = {}) => lossless(make(options)), lossless(make({})))

const stored = ["endpoints", "status", "weight", "zone", "version", "metadata"] as const

/** A codec that refuses to write an instance that would read back differently. */
const lossless = <M>(
  { decode, encode, layout, members, normal = (same) => same, title }: FormatParts<M>
): Codec<M> => ({
  ...(members === undefined ? {} : { members }),
  layout: { ...Layout.make(layout), idOf: (name, key) => idIn(layout.servicePrefix(name), key) },
  decode,
  encode: (instance) =>
    Result.gen(function* () {
      const value = yield* encode(instance)
      // The caller refuses it with its own message.
      if (value.length > maxValueBytes) return value
      const read = yield* decode(instance.name, instance.id, value)
      const expected = normal(instance)
      for (const member of stored) {
        if (Equal.equals(read[member], expected[member])) continue
        const found = read[member] === undefined ? "nothing" : show(read[member])
        return yield* refuse(`${title} cannot keep this: it would be read as ${found}`, member)
      }
      return value
    })
})

/**
 * The id in a key: all text after the prefix, which may be empty.
 *
 * The original frameworks read every key below the prefix. `checkId` applies to registrations only.
 */
const idIn = (prefix: string, key: Uint8Array): string | undefined => {
  const text = Layout.decodeKey(key)
  return text?.startsWith(prefix) === true ? text.slice(prefix.length) : undefined
}

/** Refuses a value that is not an instance, or an instance whose `member` the format cannot store. */
export const refuse = (
  detail: string,
  member?: keyof ServiceInstance,
  cause?: unknown
): Result.Result<never, InvalidInstance> =>
  Result.fail(new InvalidInstance({ detail, ...(member === undefined ? {} : { member }), cause }))

/** The weight of an instance, for formats with integer weights. */
export const wholeWeight = ({ weight }: ServiceInstance<unknown>): Result.Result<number, InvalidInstance> =>
  Number.isSafeInteger(weight) ? Result.succeed(weight) : refuse("it must be a whole number", "weight")

const encoder = new TextEncoder()
/** Keeps a byte order mark: no writer of these formats emits one, and their own readers reject it. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** The bytes of a text. */
export const bytesOf = (text: string): Uint8Array => encoder.encode(text)

/** The text of a value. */
export const readText = (value: Uint8Array): Result.Result<string, InvalidInstance> => {
  if (value.length > maxValueBytes) return refuse(`the value has ${value.length} bytes, more than ${maxValueBytes}`)
  try {
    return Result.succeed(utf8.decode(value))
  } catch {
    return refuse("the value is not UTF-8")
  }
}

/** Go's `map[string]string`: it may be missing or null, and null members are empty texts. */
export const GoMap = Schema.optionalKey(Schema.NullOr(Schema.Record(Schema.String, Schema.NullOr(Schema.String))))

/** The members of {@link GoMap}. */
export const mapOf = (
  map: Readonly<Record<string, string | null>> | null | undefined
): Readonly<Record<string, string>> =>
  map === null || map === undefined ?
    {} :
    Object.fromEntries(Object.entries(map).map(([key, value]) => [key, value ?? ""]))

/**
 * Reads a JSON value that matches the schema and has no duplicate names in an object.
 *
 * Ignores the case of names, as Go's `encoding/json` does.
 */
export const jsonReader = <Fields extends Schema.Struct.Fields>(
  schema: Schema.Struct<Fields> & Schema.Codec<Schema.Struct<Fields>["Type"], unknown>
): (value: Uint8Array) => Result.Result<Schema.Struct<Fields>["Type"], InvalidInstance> => {
  const decode = Schema.decodeUnknownResult(schema)
  const names = new Map(Object.keys(schema.fields).map((name) => [name.toLowerCase(), name]))
  return (value) =>
    Result.gen(function* () {
      const text = yield* readText(value)
      const json = yield* parse(text)
      const name = duplicateName(text)
      if (name !== undefined) return yield* refuse(`${show(name)} occurs twice`)
      return yield* Result.mapError(
        decode(yield* renamed(json, names)),
        (cause) => new InvalidInstance({ detail: shorten(cause.message.replaceAll(/\s*\n\s*/g, " ")), cause })
      )
    })
}

/** Renames members to the schema's names. Two spellings of one name are a duplicate. */
const renamed = (json: unknown, names: ReadonlyMap<string, string>): Result.Result<unknown, InvalidInstance> => {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return Result.succeed(json)
  const members = new Map<string, unknown>()
  for (const [spelling, member] of Object.entries(json)) {
    const name = names.get(spelling.toLowerCase()) ?? spelling
    if (members.has(name)) return refuse(`${show(name)} occurs twice`)
    members.set(name, member)
  }
  return Result.succeed(Object.fromEntries(members))
}

const maxDetail = 500

const shorten = (text: string): string => text.length > maxDetail ? `${text.slice(0, maxDetail - 1)}…` : text

const parse = (text: string): Result.Result<unknown, InvalidInstance> => {
  try {
    return Result.succeed(parseJson(text))
  } catch {
    return refuse("the value is not JSON")
  }
}

/** Writes a value as JSON. The value may come from a user. */
export const writeJson = (value: unknown, end = ""): Result.Result<Uint8Array, InvalidInstance> => {
  try {
    return Result.succeed(bytesOf(JSON.stringify(value) + end))
  } catch (cause) {
    return refuse("it is not JSON", "metadata", cause)
  }
}

const colon = /\s*:/y

/** The first duplicate name in an object of a JSON text. Readers differ in which of the two members they use. */
const duplicateName = (text: string): string | undefined => {
  const open: Array<Set<string> | undefined> = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === "{") open.push(new Set())
    else if (character === "[") open.push(undefined)
    else if (character === "}" || character === "]") open.pop()
    else if (character === '"') {
      const start = at
      for (at += 1; text[at] !== '"'; at++) if (text[at] === "\\") at += 1
      colon.lastIndex = at + 1
      if (!colon.test(text)) continue
      const literal = text.slice(start, at + 1)
      const name: unknown = JSON.parse(literal)
      const names = open.at(-1)
      if (typeof name !== "string" || names === undefined) continue
      if (names.has(name)) return name
      names.add(name)
    }
  }
  return undefined
}

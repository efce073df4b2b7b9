/**
 * Keys and prefixes, and the codecs of the values under them.
 *
 * Every function that takes a key or a prefix also takes a plain string, which stands for values of text. {@link key}
 * and {@link prefix} attach a schema, whose values are stored as JSON, or another {@link ValueCodec}. Neither checks
 * the name: an empty key fails with a typed error where it is used.
 *
 * @module
 */
import { Cause, Result, Schema } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { invalidArgument } from "../etcd/invalidArgument.ts"
import { type Bytes, type KeyRange, prefix as prefixRange } from "../etcd/KeyRange.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import { show } from "../internal/options.ts"
import { parseJson } from "../internal/text/json.ts"

const InvalidValueBase: TaggedErrorClass<"InvalidValue", {
  readonly key: string
  /** The revision of the write that made the value. Missing if the error came from encoding: then nothing was sent. */
  readonly revision?: bigint
  /** The rule that the value breaks, at most 500 characters. */
  readonly detail: string
  readonly cause?: unknown
}> = TaggedErrorClass("InvalidValue")

/**
 * A value that its codec refuses, after reading it or before writing it.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidValue extends InvalidValueBase {
  override get message(): string {
    return this.revision === undefined ?
      `cannot write ${JSON.stringify(this.key)}: ${this.detail}; nothing was sent` :
      `cannot read ${
        JSON.stringify(this.key)
      } as of revision ${this.revision}: ${this.detail}; correct the value or the schema`
  }
}

/**
 * Converts values to bytes and back.
 *
 * **Details**
 *
 * Both directions fail with an `Error` that says why. An exception counts as a failure. `A` is the type to write, `B`
 * the type that is read.
 *
 * @since 0.1.0
 * @category models
 */
export interface ValueCodec<in A, out B = A> {
  readonly encode: (value: A) => Result.Result<Bytes, Error>
  readonly decode: (bytes: Uint8Array) => Result.Result<B, Error>
}

/**
 * A key with values of type `A`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Key<A> {
  readonly _tag: "Key"
  readonly name: string
  readonly codec: ValueCodec<A>
}

/**
 * A prefix with values of type `A` under it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prefix<A> {
  readonly _tag: "Prefix"
  readonly name: string
  readonly codec: ValueCodec<A>
  /** The key that consists of the prefix and `rest`. */
  readonly key: (rest: string) => Key<A>
}

/**
 * A key of any type. A string is a key with values of text.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyLike = string | {
  readonly _tag: "Key"
  readonly name: string
  readonly codec: ValueCodec<never, unknown>
}

/**
 * A prefix of any type. A string is a prefix with values of text under it.
 *
 * @since 0.1.0
 * @category models
 */
export type PrefixLike = string | {
  readonly _tag: "Prefix"
  readonly name: string
  readonly codec: ValueCodec<never, unknown>
}

/**
 * The type of the values of a key or under a prefix.
 *
 * @since 0.1.0
 * @category models
 */
export type ValueOf<T> = T extends { readonly codec: ValueCodec<infer A> } ? A : string

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

const textOf = (bytes: Uint8Array, what: string): Result.Result<string, Error> =>
  Result.try({ try: () => utf8.decode(bytes), catch: () => new TypeError(`the ${what} is not UTF-8`) })

/**
 * The codec of text as UTF-8, which keys without a schema use.
 *
 * @since 0.1.0
 * @category codecs
 */
export const text: ValueCodec<string> = {
  encode: (value) =>
    typeof value !== "string" ?
      Result.fail(new TypeError("the value is not text")) :
      value.isWellFormed() ?
      Result.succeed(value) :
      Result.fail(new TypeError("the value is not well-formed Unicode")),
  decode: (bytes) => textOf(bytes, "value")
}

/**
 * The codec of raw bytes.
 *
 * @since 0.1.0
 * @category codecs
 */
export const bytes: ValueCodec<Uint8Array> = { encode: Result.succeed, decode: Result.succeed }

/**
 * The codec of JSON that a schema describes.
 *
 * **Gotchas**
 *
 * The schema must need no services and must not be asynchronous.
 *
 * @since 0.1.0
 * @category codecs
 */
export const json = <A>(schema: Schema.Codec<A, unknown>): ValueCodec<A> => {
  const codec = Schema.toCodecJson(schema)
  const decode = Schema.decodeUnknownResult(codec)
  return {
    encode: Schema.encodeResult(Schema.fromJsonString(codec)),
    decode: (bytes) => Result.flatMap(text.decode(bytes), (text) => Result.flatMap(parse(text), decode))
  }
}

const parse = (text: string): Result.Result<unknown, Error> =>
  Result.try({ try: () => parseJson(text), catch: () => new SyntaxError("the value is not JSON") })

const codecOf = <A>(values: Schema.Codec<A, unknown> | ValueCodec<A>): ValueCodec<A> =>
  Schema.isSchema(values) ? json(values) : values

/**
 * A key with values of text.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const motd = Kv.key("/motd") // text, as is a plain "/motd"
 * const limit = Kv.key("/limit", Schema.Int) // JSON
 * const image = Kv.key("/image", Kv.bytes) // raw bytes
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(motd, "hello")
 *   yield* Kv.put(image, new Uint8Array([0xff]))
 *   const refused = yield* Effect.flip(Kv.put(limit, 1.5))
 *   assert.equal(refused.message, `cannot write "/limit": Expected an integer; nothing was sent`)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export function key(name: string): Key<string>
/**
 * A key with values that a schema (stored as JSON) or a codec describes.
 *
 * @since 0.1.0
 * @category constructors
 */
export function key<A>(name: string, values: Schema.Codec<A, unknown> | ValueCodec<A>): Key<A>
export function key<A>(name: string, values?: Schema.Codec<A, unknown> | ValueCodec<A>): Key<A> | Key<string> {
  return values === undefined ? keyOf(name, text) : keyOf(name, codecOf(values))
}

/**
 * A prefix with values of text under it.
 *
 * **Gotchas**
 *
 * A prefix is the start of any keys. End it with a separator: `/users` also includes `/users2`.
 *
 * **Example**
 *
 * ```ts
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const users = Kv.prefix("/users/", Schema.Struct({ name: Schema.String }))
 * const alice = users.key("alice") // a key of the same schema
 * assert.equal(alice.name, "/users/alice")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export function prefix(name: string): Prefix<string>
/**
 * A prefix with values under it that a schema (stored as JSON) or a codec describes.
 *
 * @since 0.1.0
 * @category constructors
 */
export function prefix<A>(name: string, values: Schema.Codec<A, unknown> | ValueCodec<A>): Prefix<A>
export function prefix<A>(name: string, values?: Schema.Codec<A, unknown> | ValueCodec<A>): Prefix<A> | Prefix<string> {
  return values === undefined ? prefixOf(name, text) : prefixOf(name, codecOf(values))
}

const keyOf = <A>(name: string, codec: ValueCodec<A>): Key<A> => ({ _tag: "Key", name, codec })

const prefixOf = <A>(name: string, codec: ValueCodec<A>): Prefix<A> => ({
  _tag: "Prefix",
  name,
  codec,
  key: (rest) => keyOf(name + rest, codec)
})

/** The name of a key or a prefix. */
export const nameOf = (target: KeyLike | PrefixLike): string => typeof target === "string" ? target : target?.name

/** The codec of a key or a prefix, with exceptions turned into failures. */
export const codecFor = <T extends KeyLike | PrefixLike>(target: T): ValueCodec<ValueOf<T>> => {
  // Sound: `ValueOf` reads the type from this codec.
  const codec = (typeof target === "object" ? target?.codec : text) as ValueCodec<ValueOf<T>>
  return {
    encode: (value) => Result.flatMap(attempt(() => codec.encode(value)), bytesOrText),
    decode: (bytes) => attempt(() => codec.decode(bytes))
  }
}

const bytesOrText = (value: Bytes): Result.Result<Bytes, Error> =>
  typeof value === "string" || value instanceof Uint8Array ?
    Result.succeed(value) :
    Result.fail(new TypeError("the codec returned neither text nor bytes"))

/** Codecs are user code: a schema may throw, be asynchronous, or overflow the stack on a deeply nested value. */
const attempt = <A>(run: () => Result.Result<A, Error>): Result.Result<A, Error> => {
  try {
    const result: unknown = run()
    if (!Result.isResult(result)) return Result.fail(new TypeError("the codec returned no Result"))
    const isTyped = Result.isSuccess(result) || result.failure instanceof Error
    return isTyped ?
      result as Result.Result<A, Error> :
      Result.fail(new Error(`the codec failed with ${result.failure}`))
  } catch (error) {
    // The adapters of `Schema` wrap the exception of a schema.
    const cause = error instanceof Error && Cause.isCause(error.cause) ? Cause.squash(error.cause) : error
    const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : "an exception"
    return Result.fail(new Error(`the codec threw ${what}`, { cause }))
  }
}

/** The bytes of a value, or why it does not encode. */
export const encode = <K extends KeyLike>(key: K, value: ValueOf<K>): Result.Result<Bytes, InvalidValue> =>
  Result.mapError(codecFor(key).encode(value), (cause) => invalid(nameOf(key), cause))

/** The text of a key. An error shows invalid bytes as replacement characters. */
export const keyText = (bytes: Uint8Array, revision: bigint): Result.Result<string, InvalidValue> =>
  Result.mapError(textOf(bytes, "key"), (cause) => invalid(lossy.decode(bytes), cause, revision))

const maxDetail = 500

/** The error for a value that its codec refuses. */
export const invalid = (key: string, cause: Error, revision?: bigint): InvalidValue => {
  const detail = cause.message.replaceAll(/\s*\n\s*/g, " ")
  return new InvalidValue({
    key,
    ...(revision === undefined ? {} : { revision }),
    detail: detail.length > maxDetail ? `${detail.slice(0, maxDetail - 1)}…` : detail,
    cause
  })
}

/** The range of one key or of a prefix. A plain string is a key. */
export const rangeOf = (
  method: string,
  target: KeyLike | PrefixLike
): Result.Result<{ readonly key: string } | Required<KeyRange>, EtcdError> => {
  const key = nameOf(target)
  if (typeof key !== "string") return Result.fail(invalidArgument(method, `a key must be text, not ${show(target)}`))
  if (typeof target !== "string" && target._tag === "Prefix") return Result.succeed(prefixRange(key))
  const rule = key === "" ?
    "a key must not be empty" :
    key.isWellFormed() ?
    undefined :
    "a key must be well-formed text"
  return rule === undefined ? Result.succeed({ key }) : Result.fail(invalidArgument(method, rule, key))
}

/** A prefix as a value. */
export const toPrefix = (target: PrefixLike): Exclude<PrefixLike, string> =>
  typeof target === "string" ? prefix(target) : target

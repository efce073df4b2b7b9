/**
 * Keys and prefixes, with how the values under them are written.
 *
 * Wherever a key or a prefix is asked for, a plain string will do: its values are text. {@link key} and {@link prefix}
 * attach a schema, whose values are kept as JSON, or another {@link ValueCodec}. Nothing is checked here: an empty key
 * is refused, with a typed error, where it is used.
 *
 * @module
 */
import { Data, Result, Schema } from "effect"
import { type Bytes, invalidArgument, type KeyRange, prefix as prefixRange } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const InvalidValueBase: TaggedErrorClass<"InvalidValue", {
  readonly key: string
  /** Of the write that made the value; left out when the value was to be written, and nothing was sent. */
  readonly revision?: bigint
  /** What the schema or the codec said. */
  readonly detail: string
  readonly cause?: unknown
}> = Data.TaggedError("InvalidValue")

/** A value that its schema refuses: one that was read, or one that was to be written. */
export class InvalidValue extends InvalidValueBase {
  override get message(): string {
    return this.revision === undefined ?
      `cannot write ${JSON.stringify(this.key)}: ${this.detail}; nothing was sent` :
      `cannot read ${
        JSON.stringify(this.key)
      } as of revision ${this.revision}: ${this.detail}; correct the value or the schema`
  }
}

/** Values to bytes and back. What cannot be is an `Error` whose message says why. */
export interface ValueCodec<A> {
  readonly encode: (value: A) => Result.Result<Bytes, Error>
  readonly decode: (bytes: Uint8Array) => Result.Result<A, Error>
}

/** A key whose values are `A`. */
export interface Key<A> extends AnyKey {
  readonly codec: ValueCodec<A>
}

/** A prefix under which all values are `A`. */
export interface Prefix<A> extends AnyPrefix {
  readonly codec: ValueCodec<A>
  /** The key that consists of the prefix and `rest`. */
  readonly key: (rest: string) => Key<A>
}

/** What is common to the codecs of all types. */
export interface AnyCodec {
  readonly encode: (value: never) => Result.Result<Bytes, Error>
  readonly decode: (bytes: Uint8Array) => Result.Result<unknown, Error>
}

/** A key, whatever its values are. */
export interface AnyKey {
  readonly _tag: "Key"
  readonly name: string
  readonly codec: AnyCodec
}

/** A prefix, whatever the values under it are. */
export interface AnyPrefix {
  readonly _tag: "Prefix"
  readonly name: string
  readonly codec: AnyCodec
}

/** A key; a string is one with values of text. */
export type KeyLike = string | AnyKey

/** A prefix; a string is one with values of text. */
export type PrefixLike = string | AnyPrefix

/** The type of the values of a key or under a prefix. */
export type ValueOf<T> = T extends { readonly codec: ValueCodec<infer A> } ? A : string

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

const textOf = (bytes: Uint8Array, what: string): Result.Result<string, Error> =>
  Result.try({ try: () => utf8.decode(bytes), catch: () => new TypeError(`the ${what} is not UTF-8`) })

/** Values of text, as UTF-8: what keys without a schema have. */
export const text: ValueCodec<string> = {
  encode: (value) =>
    value.isWellFormed() ? Result.succeed(value) : Result.fail(new TypeError("the value is not well-formed Unicode")),
  decode: (bytes) => textOf(bytes, "value")
}

/** Values of raw bytes. */
export const bytes: ValueCodec<Uint8Array> = { encode: Result.succeed, decode: Result.succeed }

/** Values of JSON that the schema describes; without services, and not asynchronous. */
export const json = <A>(schema: Schema.Codec<A, unknown>): ValueCodec<A> => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(schema))
  const decode = Schema.decodeUnknownResult(codec)
  return {
    encode: Schema.encodeResult(codec),
    decode: (bytes) => Result.flatMap(text.decode(bytes), decode)
  }
}

const codecOf = <A>(values: Schema.Codec<A, unknown> | ValueCodec<A>): ValueCodec<A> =>
  Schema.isSchema(values) ? json(values) : values

/**
 * A key with values of text.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const motd = Kv.key("/motd") // text; so is a plain "/motd"
 * const limit = Kv.key("/limit", Schema.Int) // JSON
 * const image = Kv.key("/image", Kv.bytes) // as it is
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
 */
export function key(name: string): Key<string>
/** A key with values that a schema (kept as JSON) or a codec describes. */
export function key<A>(name: string, values: Schema.Codec<A, unknown> | ValueCodec<A>): Key<A>
export function key<A>(name: string, values?: Schema.Codec<A, unknown> | ValueCodec<A>): Key<A> | Key<string> {
  return values === undefined ? keyOf(name, text) : keyOf(name, codecOf(values))
}

/**
 * A prefix with values of text under it.
 *
 * A prefix is any beginning of keys: end it with a separator, or `/users` has `/users2`, too.
 *
 * @example
 * ```ts
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const users = Kv.prefix("/users/", Schema.Struct({ name: Schema.String }))
 * const alice = users.key("alice") // a key of the same schema
 * assert.equal(alice.name, "/users/alice")
 * ```
 */
export function prefix(name: string): Prefix<string>
/** A prefix with values under it that a schema (kept as JSON) or a codec describes. */
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
export const nameOf = (target: KeyLike | PrefixLike): string => typeof target === "string" ? target : target.name

/** The codec of a key or a prefix. */
export const codecFor = <T extends KeyLike | PrefixLike>(target: T): ValueCodec<ValueOf<T>> =>
  // `ValueOf` reads the type off this very codec.
  (typeof target === "string" ? text : target.codec) as ValueCodec<ValueOf<T>>

/** The bytes of a value, or why it cannot be written. */
export const encode = <K extends KeyLike>(key: K, value: ValueOf<K>): Result.Result<Bytes, InvalidValue> =>
  Result.mapError(codecFor(key).encode(value), (cause) => invalid(nameOf(key), cause))

/** The key's text; for errors, whatever can be read of it. */
export const keyText = (bytes: Uint8Array, revision: bigint): Result.Result<string, InvalidValue> =>
  Result.mapError(textOf(bytes, "key"), (cause) => invalid(lossy.decode(bytes), cause, revision))

/** Why a value is none. */
export const invalid = (key: string, cause: Error, revision?: bigint): InvalidValue =>
  new InvalidValue({
    key,
    ...(revision === undefined ? {} : { revision }),
    detail: cause.message.replaceAll(/\s*\n\s*/g, " "),
    cause
  })

/** What etcd is asked for: one key, or the range of a prefix. A plain string is a key. */
export const rangeOf = (
  method: string,
  target: KeyLike | AnyPrefix
): Result.Result<{ readonly key: string } | Required<KeyRange>, EtcdError> => {
  if (typeof target !== "string" && target._tag === "Prefix") return Result.succeed(prefixRange(target.name))
  const key = nameOf(target)
  const rule = key === "" ? "a key is not empty" : key.isWellFormed() ? undefined : "a key is well-formed Unicode"
  return rule === undefined ? Result.succeed({ key }) : Result.fail(invalidArgument(method, rule, key))
}

/** A prefix as a value. */
export const toPrefix = (target: PrefixLike): AnyPrefix => typeof target === "string" ? prefix(target) : target

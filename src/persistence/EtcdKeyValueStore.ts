/**
 * Effect's `KeyValueStore` on etcd.
 *
 * **When to use**
 *
 * For small state that all processes of a fleet share: flags, cursors, results of rare work.
 *
 * **Details**
 *
 * The key `a` of the store is the key `<prefix>a` of etcd. Text is stored as its UTF-8 bytes, so `etcdctl get` shows it
 * and `etcdctl put` writes it. Bytes are stored after one byte `0xff`, which no text starts with. A value in neither
 * form is read as bytes.
 *
 * **Gotchas**
 *
 * - A value has at most about 1.5 MiB, etcd's limit for a request. etcd keeps all data in memory-mapped files of 2 GiB
 *   by default, and every version of a value until it is compacted.
 * - Each write is a write of etcd's log: hundreds to a few thousand per second for the whole cluster.
 *
 * @stability unstable
 * @module
 */
import { Effect, Layer, Result } from "effect"
import * as Base64 from "effect/encoding/Base64"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { type KeyRange, prefix as prefixRange } from "../etcd/KeyRange.ts"
import { rangeAll } from "../etcd/rangeAll.ts"
import { keyPrefix } from "../internal/keyPrefix.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { retryConflicts, type UpdateConflict } from "../kv/conflict.ts"

/**
 * The options of {@link make} and {@link layer}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The start of all keys of this store. A slash is added if it does not end with one. Default: `/effect/kv/`. */
  readonly prefix?: string
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
/** Keys of other clients need not be text. */
const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** The first byte of stored bytes. */
const bytesTag = 0xff

const encode = (value: string | Uint8Array): Uint8Array => {
  if (typeof value === "string") return encoder.encode(value)
  const tagged = new Uint8Array(value.length + 1)
  tagged[0] = bytesTag
  tagged.set(value, 1)
  return tagged
}

/** The value as it was set. */
const decode = (stored: Uint8Array): string | Uint8Array => {
  if (stored[0] === bytesTag) return stored.slice(1)
  try {
    return decoder.decode(stored)
  } catch {
    return stored
  }
}

const toText = (value: string | Uint8Array): string => typeof value === "string" ? value : Base64.encode(value)
const toBytes = (value: string | Uint8Array): Uint8Array => typeof value === "string" ? encoder.encode(value) : value

const failed = (method: string, key: string | undefined, detail: string, cause?: unknown) =>
  new KeyValueStore.KeyValueStoreError({
    message: `cannot ${method} ${key === undefined ? "the store" : JSON.stringify(key)}: ${detail}`,
    method,
    ...(key === undefined ? {} : { key }),
    ...(cause === undefined ? {} : { cause })
  })

/**
 * Makes a `KeyValueStore` on etcd. Nothing is sent before it is used.
 *
 * **Details**
 *
 * Each operation is one request, except `keys`, which reads in pages at one revision. `clear` and `clearPrefix` delete
 * at one revision. `modify` and `modifyUint8Array` are optimistic: if another client writes the key after they read it,
 * they start over, up to 20 times. So their function may run many times. They keep the lease of the key.
 *
 * Fails with `InvalidOption` for a bad `prefix`. Operations run once and fail with a `KeyValueStoreError` whose `cause`
 * is the `EtcdError`, or an `UpdateConflict`. A key or a text with a lone surrogate is refused, since it has no UTF-8
 * bytes.
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<KeyValueStore.KeyValueStore, InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const prefix = yield* Effect.fromResult(
      checkOptions("EtcdKeyValueStore", (check) => keyPrefix(check, options.prefix ?? "/effect/kv/"))
    )
    const etcd = yield* Etcd

    const fail = (method: string, key: string | undefined) => (cause: EtcdError | UpdateConflict) =>
      failed(method, key, cause.message, cause)

    /** Fails for text that has no UTF-8 bytes. */
    const wellFormed = (method: string, key: string, ...values: ReadonlyArray<string | Uint8Array>) =>
      values.every((value) => typeof value !== "string" || value.isWellFormed()) ?
        Effect.void :
        Effect.fail(failed(method, key, "a text has a lone surrogate; store its bytes instead"))

    const read = <A>(method: string, key: string, to: (value: string | Uint8Array) => A) =>
      Effect.andThen(
        wellFormed(method, key, key),
        Effect.map(
          Effect.mapError(etcd.range({ key: `${prefix}${key}` }), fail(method, key)),
          ({ kvs: [kv] }) => kv === undefined ? undefined : to(decode(kv.value))
        )
      )

    const modify = <A extends string | Uint8Array>(
      method: string,
      key: string,
      to: (value: string | Uint8Array) => A,
      f: (value: A) => A
    ) => {
      const name = `${prefix}${key}`
      const attempt = Effect.gen(function* () {
        const { kvs: [kv] } = yield* etcd.range({ key: name })
        if (kv === undefined) return Result.succeed(undefined)
        const next = f(to(decode(kv.value)))
        yield* wellFormed(method, key, next)
        const { succeeded } = yield* etcd.txn({
          compare: [{ key: name, target: "mod", result: "equal", value: kv.modRevision }],
          then: [{ _tag: "Put", request: { key: name, value: encode(next), ignoreLease: true } }]
        })
        return succeeded ? Result.succeed(next) : Result.fail(name)
      })
      return wellFormed(method, key, key).pipe(
        Effect.andThen(retryConflicts(attempt)),
        Effect.catchTags({
          EtcdError: (cause) => Effect.fail(fail(method, key)(cause)),
          UpdateConflict: (cause) => Effect.fail(fail(method, key)(cause))
        })
      )
    }

    /** Reads or writes the keys with a prefix. An error without a key names the whole store. */
    const below = <A>(
      method: string,
      start: string | undefined,
      operation: (range: Required<KeyRange>) => Effect.Effect<A, EtcdError>
    ) =>
      Effect.andThen(
        wellFormed(method, start ?? "", start ?? ""),
        Effect.mapError(operation(prefixRange(`${prefix}${start ?? ""}`)), fail(method, start))
      )

    return KeyValueStore.make({
      get: (key) => read("get", key, toText),
      getUint8Array: (key) => read("getUint8Array", key, toBytes),
      has: (key) => Effect.map(read("has", key, () => true), (found) => found === true),
      set: (key, value) =>
        Effect.andThen(
          wellFormed("set", key, key, value),
          Effect.mapError(
            Effect.asVoid(etcd.put({ key: `${prefix}${key}`, value: encode(value) })),
            fail("set", key)
          )
        ),
      remove: (key) =>
        Effect.andThen(
          wellFormed("remove", key, key),
          Effect.mapError(Effect.asVoid(etcd.deleteRange({ key: `${prefix}${key}` })), fail("remove", key))
        ),
      clear: below("clear", undefined, (range) => Effect.asVoid(etcd.deleteRange(range))),
      clearPrefix: (start) => below("clearPrefix", start, (range) => Effect.asVoid(etcd.deleteRange(range))),
      size: below(
        "size",
        undefined,
        (range) => Effect.map(etcd.range({ ...range, countOnly: true }), ({ count }) => Number(count))
      ),
      keys: below(
        "keys",
        undefined,
        (range) =>
          Effect.map(
            rangeAll(etcd, { ...range, keysOnly: true }),
            ({ kvs }) => kvs.map(({ key }) => lossy.decode(key.subarray(toBytes(range.key).length)))
          )
      ),
      modify: (key, f) => modify("modify", key, toText, f),
      modifyUint8Array: (key, f) => modify("modifyUint8Array", key, toBytes, f)
    })
  })

/**
 * `KeyValueStore` on etcd.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { EtcdKeyValueStore } from "@effect-etcd/discovery/persistence"
 * import { Effect, Layer } from "effect"
 * import { KeyValueStore } from "effect/persistence"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const store = yield* KeyValueStore.KeyValueStore
 *   yield* store.set("cursor", "17")
 *   yield* store.modify("cursor", (text) => String(Number(text) + 1))
 *   assert.equal(yield* store.get("cursor"), "18")
 * })
 *
 * // With etcd: EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] })
 * const layer = EtcdKeyValueStore.layer({ prefix: "/orders/state" }).pipe(Layer.provide(EtcdMemory.layer()))
 * await Effect.runPromise(program.pipe(Effect.provide(layer)))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<KeyValueStore.KeyValueStore, InvalidOption, Etcd> =>
  Layer.effect(KeyValueStore.KeyValueStore, make(options))

/**
 * Conditions of a Txn, typed by what they compare.
 *
 * A key that does not exist has version, create revision, mod revision and lease 0; a comparison of its value is false,
 * `notEquals` included. A condition on a prefix is one on each of its keys.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Compare, Kv, Op, Txn } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const limit = Kv.key("/limit", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(limit, 5)
 *   const result = yield* Kv.txn(
 *     Txn.when(
 *       Compare.value(limit).equals(5),
 *       Compare.value("/mode").notEquals("frozen"), // false: there is no such key
 *       Compare.version(limit).greaterThan(0),
 *       Compare.lease(limit).equals(0n)
 *     ).then(Op.put(limit, 6))
 *   )
 *   assert.equal(result.succeeded, false)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Result } from "effect"
import { type Bytes, type Compare, invalidArgument, type LeaseId } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import {
  type AnyPrefix,
  codecFor,
  invalid,
  type InvalidValue,
  type KeyLike,
  nameOf,
  rangeOf,
  type ValueOf
} from "./Key.ts"

/** A condition; `E` is what can be wrong with the value it compares with. */
export interface Comparison<out E = never> {
  /** What etcd is asked, or why it cannot be. */
  readonly compare: Result.Result<Compare, EtcdError | E>
}

/** Compares for equality. */
export interface Equality<in V, out E = never> {
  readonly equals: (value: V) => Comparison<E>
  readonly notEquals: (value: V) => Comparison<E>
}

/** Compares for equality and order. */
export interface Ordered<in V, out E = never> extends Equality<V, E> {
  readonly greaterThan: (value: V) => Comparison<E>
  readonly lessThan: (value: V) => Comparison<E>
}

/** A key, or a prefix made with `Kv.prefix`. A plain string is a key. */
type Target = KeyLike | AnyPrefix

/**
 * Compares the text of a key, in the order of its UTF-8 bytes.
 *
 * The value of a typed key is compared as it is written, byte by byte: only for equality, since the order of JSON is not
 * that of what it stands for.
 */
export function value(key: string): Ordered<string, InvalidValue>
/** Compares the value of a typed key, as it is written. */
export function value<T extends Exclude<Target, string>>(target: T): Equality<ValueOf<T>, InvalidValue>
export function value<T extends Target>(target: T): Ordered<ValueOf<T>, InvalidValue> {
  const { encode } = codecFor(target)
  return ordered((result, value) =>
    Result.gen(function* () {
      const range = yield* rangeOf("txn", target)
      const bytes: Bytes = yield* Result.mapError(encode(value), (cause) => invalid(nameOf(target), cause))
      return { ...range, target: "value" as const, result, value: bytes }
    })
  )
}

/** Compares the number of writes since the key was created; `0` when there is no such key. */
export const version = (target: Target): Ordered<number | bigint> => numeric(target, "version")

/** Compares the revision at which the key was created; `0n` when there is no such key. */
export const createRevision = (target: Target): Ordered<bigint> => numeric(target, "create")

/** Compares the revision of the key's last write, which an `Entry` calls `revision`; `0n` when there is no such key. */
export const modRevision = (target: Target): Ordered<bigint> => numeric(target, "mod")

/** Compares the lease of the key; `0n` when it has none or does not exist. */
export const lease = (target: Target): Ordered<LeaseId> => numeric(target, "lease")

/** Holds when there is such a key; for a prefix, when there is at least one. */
export const exists = (target: Target): Comparison => createRevision(target).greaterThan(0n)

/** Holds when there is no such key; for a prefix, when there is none. */
export const absent = (target: Target): Comparison => createRevision(target).equals(0n)

type Operator = Compare["result"]

const ordered = <V, E>(
  compare: (result: Operator, value: V) => Result.Result<Compare, EtcdError | E>
): Ordered<V, E> => {
  const by = (result: Operator) => (value: V): Comparison<E> => ({ compare: compare(result, value) })
  return { equals: by("equal"), notEquals: by("notEqual"), greaterThan: by("greater"), lessThan: by("less") }
}

const numeric = (target: Target, what: "version" | "create" | "mod" | "lease"): Ordered<number | bigint> =>
  ordered<number | bigint, never>((result, value) =>
    Result.flatMap(
      rangeOf("txn", target),
      (range) =>
        typeof value === "bigint" || Number.isSafeInteger(value) ?
          Result.succeed({ ...range, target: what, result, value: BigInt(value) }) :
          Result.fail(invalidArgument("txn", `a version is a whole number, got ${value}`, nameOf(target)))
    )
  )

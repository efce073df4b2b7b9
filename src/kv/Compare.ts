/**
 * Conditions of a transaction, typed by what they compare.
 *
 * **Details**
 *
 * A key that does not exist has version, create revision, mod revision and lease 0. A comparison of its value is false,
 * even with `notEquals`. A condition on a prefix must hold for each key under it.
 *
 * **Example**
 *
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
 *   const result = yield* Kv.txn(Txn.make({
 *     if: [
 *       Compare.value(limit).equals(5),
 *       Compare.value("/mode").notEquals("frozen"), // false: the key does not exist
 *       Compare.version(limit).greaterThan(0),
 *       Compare.lease(limit).equals(0n)
 *     ],
 *     then: [Op.put(limit, 6)]
 *   }))
 *   assert.equal(result.succeeded, false)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Result } from "effect"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { invalidArgument } from "../etcd/invalidArgument.ts"
import type { Bytes } from "../etcd/KeyRange.ts"
import type { Compare } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import {
  codecFor,
  invalid,
  type InvalidValue,
  type KeyLike,
  nameOf,
  type PrefixLike,
  rangeOf,
  type ValueOf
} from "./Key.ts"

/**
 * A condition. `E` is the error for an operand that does not encode.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison<out E = never> {
  /** The comparison in etcd's terms, or why it is invalid. */
  readonly compare: Result.Result<Compare, EtcdError | E>
}

/**
 * Compares for equality.
 *
 * @since 0.1.0
 * @category models
 */
export interface Equality<in V, out E = never> {
  readonly equals: (value: V) => Comparison<E>
  readonly notEquals: (value: V) => Comparison<E>
}

/**
 * Compares for equality and order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ordered<in V, out E = never> extends Equality<V, E> {
  readonly greaterThan: (value: V) => Comparison<E>
  readonly lessThan: (value: V) => Comparison<E>
}

/** A key, or a prefix made with `Kv.prefix`. A plain string is a key. */
type Target = KeyLike | PrefixLike

/**
 * Compares the text of a key in the order of its UTF-8 bytes.
 *
 * @since 0.1.0
 * @category comparisons
 */
export function value(key: string): Ordered<string, InvalidValue>
/**
 * Compares the value of a typed key, byte by byte in its encoded form.
 *
 * **Details**
 *
 * It compares for equality only: the order of JSON text is not the order of the values.
 *
 * @since 0.1.0
 * @category comparisons
 */
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

/**
 * Compares the number of writes since the key was created, `0` if it does not exist.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const version = (target: Target): Ordered<number | bigint> => numeric(target, "version")

/**
 * Compares the revision at which the key was created, `0n` if it does not exist.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const createRevision = (target: Target): Ordered<bigint> => numeric(target, "create")

/**
 * Compares the revision of the last write (`revision` of an `Entry`), `0n` if the key does not exist.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const modRevision = (target: Target): Ordered<bigint> => numeric(target, "mod")

/**
 * Compares the lease of the key, `0n` if it has none or does not exist.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const lease = (target: Target): Ordered<LeaseId> => numeric(target, "lease")

/**
 * Holds if the key exists. For a prefix: if at least one key exists.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const exists = (target: Target): Comparison => createRevision(target).greaterThan(0n)

/**
 * Holds if the key does not exist. For a prefix: if no key exists.
 *
 * @since 0.1.0
 * @category comparisons
 */
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
          Result.fail(invalidArgument("txn", `a version must be a whole number, got ${value}`, nameOf(target)))
    )
  )

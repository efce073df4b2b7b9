/**
 * Transactions: one branch of operations if all conditions hold, another if not; at one revision or not at all.
 *
 * A {@link Txn} is a value. `Kv.txn` runs it, and since it is an {@link Op}, too, it can be an operation of another one.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Compare, Kv, Op, Txn } from "@effect-etcd/discovery/kv"
 * import { Effect, Option, Schema } from "effect"
 * import assert from "node:assert/strict"
 *
 * const stock = Kv.prefix("/stock/", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(stock.key("apples"), 3)
 *   const result = yield* Kv.txn(
 *     Txn.when(Compare.version(stock.key("apples")).equals(1), Compare.absent(stock.key("pears")))
 *       .then(Op.put(stock.key("pears"), 3), Op.delete(stock.key("apples")), Op.getPrefix(stock))
 *       .otherwise(Op.get(stock.key("apples")))
 *   )
 *   if (result.succeeded) {
 *     const [, deleted, { entries }] = result.results // a revision, a boolean, a Listing<number>
 *     assert.deepEqual([deleted, entries.map(({ key, value }) => [key, value])], [true, [["/stock/pears", 3]]])
 *   } else {
 *     const [apples] = result.results // an Option<Entry<number>>
 *     assert.ok(Option.isSome(apples))
 *   }
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @module
 */
import { Result } from "effect"
import type { RequestOp, ResponseOp, TxnRequest } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { Comparison } from "./Compare.ts"
import { type Op, unasked } from "./Op.ts"

/** The operations of a branch. */
export type Ops<E = unknown> = ReadonlyArray<Op<unknown, E>>

/** The answers to the operations of a branch, one for each, in order. */
export type Answers<T extends Ops> = { readonly [I in keyof T]: T[I] extends Op<infer A, unknown> ? A : never }

/** What can be wrong with the values of a branch. */
export type ErrorOf<T extends Ops> = { readonly [I in keyof T]: T[I] extends Op<unknown, infer E> ? E : never }[number]

/** Which branch was applied, and its answers. */
export type TxnResult<Then extends Ops, Else extends Ops> =
  | { readonly succeeded: true; readonly revision: bigint; readonly results: Answers<Then> }
  | { readonly succeeded: false; readonly revision: bigint; readonly results: Answers<Else> }

/** A complete transaction. */
export type Txn<Then extends Ops, Else extends Ops, E = never> = Op<TxnResult<Then, Else>, E>

/** A transaction that does nothing when its conditions do not hold, unless told what. */
export interface Then<T extends Ops, E> extends Txn<T, readonly [], E> {
  /** What to do when a condition does not hold. */
  readonly otherwise: <const U extends Ops>(...ops: U) => Txn<T, U, E | ErrorOf<U>>
}

/** The conditions of a transaction. Has a method `then`, so never hand it to a promise. */
export interface When<E> {
  /** What to do when all conditions hold. */
  readonly then: <const T extends Ops>(...ops: T) => Then<T, E | ErrorOf<T>>
}

/** A transaction on these conditions, all of which have to hold. Without any, it is unconditional. */
export const when = <E = never>(...conditions: ReadonlyArray<Comparison<E>>): When<E> => ({
  then: <const T extends Ops>(...ops: T): Then<T, E | ErrorOf<T>> => ({
    ...make<T, readonly [], E | ErrorOf<T>>(conditions, ops, []),
    otherwise: (...others) => make(conditions, ops, others)
  })
})

/** The types of the branches follow from the operations one by one, which is beyond what can be written as one loop. */
const make = <T extends Ops, U extends Ops, E>(
  conditions: ReadonlyArray<Comparison<E>>,
  ops: T,
  others: U
): Txn<T, U, E> => ({
  request: Result.gen(function* () {
    const request: TxnRequest = {
      compare: yield* Result.all(conditions.map(({ compare }) => compare)),
      then: yield* requests<E>(ops as Ops<E>),
      else: yield* requests<E>(others as Ops<E>)
    }
    return { _tag: "Txn" as const, request }
  }),
  read: (response, revision) => {
    if (response._tag !== "Txn") return unasked(response)
    const { responses, succeeded } = response.response
    return Result.map(
      answers<E>((succeeded ? ops : others) as Ops<E>, responses, revision),
      (results) => ({ succeeded, revision, results }) as TxnResult<T, U>
    )
  }
})

const requests = <E>(ops: Ops<E>): Result.Result<Array<RequestOp>, EtcdError | E> =>
  Result.all(ops.map(({ request }) => request))

const answers = <E>(
  ops: Ops<E>,
  responses: ReadonlyArray<ResponseOp>,
  revision: bigint
): Result.Result<Array<unknown>, E> =>
  Result.all(responses.map((response, index) => ops[index]?.read(response, revision) ?? unasked(response)))

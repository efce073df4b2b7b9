/**
 * Transactions: one list of operations if all conditions hold, another if not, at one revision or not at all.
 *
 * A {@link Txn} is a value. `Kv.txn` sends it. A `Txn` is also an `Op`, so it can be an operation of another `Txn`.
 *
 * **Example**
 *
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
 *   const result = yield* Kv.txn(Txn.make({
 *     if: [Compare.version(stock.key("apples")).equals(1), Compare.absent(stock.key("pears"))],
 *     then: [Op.put(stock.key("pears"), 3), Op.delete(stock.key("apples")), Op.getPrefix(stock)],
 *     else: [Op.get(stock.key("apples"))]
 *   }))
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
import type { RequestOp, ResponseOp, TxnRequest } from "../etcd/messages/kv.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { withJson } from "../internal/json.ts"
import type { Comparison } from "./Compare.ts"
import type { Op } from "./Op.ts"
import { unexpectedResponse } from "./requests.ts"

/**
 * The operations of a branch.
 *
 * @since 0.1.0
 * @category models
 */
export type Ops<E = unknown> = ReadonlyArray<Op<unknown, E>>

/**
 * The results of a branch, one for each of its operations, in order.
 *
 * @since 0.1.0
 * @category models
 */
export type Results<T extends Ops> = { readonly [I in keyof T]: T[I] extends Op<infer A, unknown> ? A : never }

/**
 * The errors for values of a branch that do not encode or decode.
 *
 * @since 0.1.0
 * @category models
 */
export type ErrorOf<T extends Ops> = { readonly [I in keyof T]: T[I] extends Op<unknown, infer E> ? E : never }[number]

/**
 * The branch that was applied, and its results.
 *
 * @since 0.1.0
 * @category models
 */
export type TxnResult<Then extends Ops, Else extends Ops> =
  | { readonly succeeded: true; readonly revision: bigint; readonly results: Results<Then> }
  | { readonly succeeded: false; readonly revision: bigint; readonly results: Results<Else> }

/**
 * A transaction.
 *
 * @since 0.1.0
 * @category models
 */
export type Txn<Then extends Ops, Else extends Ops, E = never> = Op<TxnResult<Then, Else>, E>

/**
 * Makes a transaction: `then` if all conditions of `if` hold, otherwise `else`.
 *
 * **Details**
 *
 * Each part may be left out. Without conditions the transaction is unconditional. The types of the results follow from
 * the operations.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E = never, const Then extends Ops = readonly [], const Else extends Ops = readonly []>(parts: {
  readonly if?: ReadonlyArray<Comparison<E>>
  readonly then?: Then
  readonly else?: Else
}): Txn<Then, Else, E | ErrorOf<Then> | ErrorOf<Else>> => {
  type Failure = E | ErrorOf<Then> | ErrorOf<Else>
  const conditions = parts.if ?? []
  // `Then` and `Else` relate results to operations one by one. A loop over a tuple cannot express that.
  const thenOps = (parts.then ?? []) as Ops<Failure>
  const elseOps = (parts.else ?? []) as Ops<Failure>
  return {
    request: Result.gen(function* () {
      const request: TxnRequest = {
        compare: yield* Result.all(conditions.map(({ compare }) => compare)),
        then: yield* requests(thenOps),
        else: yield* requests(elseOps)
      }
      return { _tag: "Txn" as const, request }
    }),
    read: (response, revision) => {
      if (response._tag !== "Txn") return unexpectedResponse(response)
      const { responses, succeeded } = response.response
      return Result.map(
        results(succeeded ? thenOps : elseOps, responses, revision),
        (results) => withJson({ succeeded, revision, results }) as TxnResult<Then, Else>
      )
    }
  }
}

const requests = <E>(ops: Ops<E>): Result.Result<Array<RequestOp>, EtcdError | E> =>
  Result.all(ops.map(({ request }) => request))

const results = <E>(
  ops: Ops<E>,
  responses: ReadonlyArray<ResponseOp>,
  revision: bigint
): Result.Result<Array<unknown>, E> =>
  Result.all(responses.map((response, index) => ops[index]?.read(response, revision) ?? unexpectedResponse(response)))

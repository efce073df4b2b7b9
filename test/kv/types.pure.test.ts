import { Effect, type Option, Schema, type Stream } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import {
  Compare,
  type Entry,
  type InvalidOption,
  type InvalidValue,
  Kv,
  type Listing,
  Op,
  Txn
} from "../../src/kv/mod.ts"
import { describe, effect } from "../harness/it.ts"

/** Whether two types are the same, members of unions and modifiers included. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Compiles when the type of `value` is exactly `Expected`. */
const typed = <Expected>() => <Actual>(value: Actual, same: Same<Actual, Expected>): Actual => {
  assert.ok(same)
  return value
}

const limit = Kv.key("/limit", Schema.Int)
const users = Kv.prefix("/users/", Schema.Struct({ name: Schema.String }))
interface User {
  readonly name: string
}

type Answer<A, E = EtcdError> = Effect.Effect<A, E, Etcd>

/** Compiled, never run: the compiler refuses each statement, or the `@ts-expect-error` above it. */
export const refused = (): void => {
  // @ts-expect-error: the values of a string key are text
  Kv.put("k", 1)
  // @ts-expect-error: the schema says number
  Kv.put(limit, "1")
  // @ts-expect-error: a member is missing
  Kv.put(users.key("a"), {})
  // @ts-expect-error: the schema says number
  Kv.compareAndSet(limit, { revision: 1n }, "1")
  // @ts-expect-error: a revision is a bigint
  Kv.compareAndSet(limit, { revision: 1 }, 1)
  // @ts-expect-error: the schema says number
  Kv.update(limit, () => "1")
  // @ts-expect-error: a prefix is not a key
  Kv.get(users)
  // @ts-expect-error: a key is not a prefix
  Kv.getPrefix(limit)
  // @ts-expect-error: a key is not a prefix
  Kv.deletePrefix(limit)
  // @ts-expect-error: a lease id is a bigint
  Kv.put(limit, 1, { lease: 7 })
  // @ts-expect-error: a version is a number
  Compare.version("k").equals("2")
  // @ts-expect-error: a revision is a bigint
  Compare.modRevision("k").equals("2")
  // @ts-expect-error: a revision is a bigint
  Compare.createRevision("k").lessThan(2)
  // @ts-expect-error: a lease id is a bigint
  Compare.lease("k").equals("7")
  // @ts-expect-error: the text of a string key
  Compare.value("k").equals(2)
  // @ts-expect-error: the schema says number
  Compare.value(limit).notEquals("2")
  // @ts-expect-error: JSON has no order
  Compare.value(limit).greaterThan(2)
  // @ts-expect-error: an operation is not a condition
  Txn.make({ if: [Op.get("k")] })
  // @ts-expect-error: `do` is not a part of a transaction
  Txn.make({ do: [Op.get("k")] })
  // @ts-expect-error: a condition is not an operation
  Txn.make({ then: [Compare.version("k").equals(2)] })
}

describe("Kv types", () => {
  effect("Kv operations have the value type and the error types of their key", () =>
    Effect.sync(() => {
      typed<Answer<Option.Option<Entry<string>>, EtcdError | InvalidValue>>()(Kv.get("k"), true)
      typed<Answer<Option.Option<Entry<number>>, EtcdError | InvalidValue>>()(Kv.get(limit), true)
      typed<Answer<Option.Option<Entry<User>>, EtcdError | InvalidValue>>()(Kv.get(users.key("a")), true)
      typed<Answer<Option.Option<Entry<Uint8Array>>, EtcdError | InvalidValue>>()(Kv.get(Kv.key("k", Kv.bytes)), true)
      typed<Answer<Listing<User>>>()(Kv.getPrefix(users), true)
      typed<Answer<bigint, EtcdError | InvalidValue>>()(Kv.put(limit, 1), true)
      typed<Answer<boolean>>()(Kv.delete(limit), true)
      typed<Answer<number>>()(Kv.count("/users/"), true)
      typed<Answer<Entry<number>, EtcdError | InvalidValue | Kv.UpdateConflict>>()(Kv.update(limit, () => 1), true)
      typed<Answer<Entry<number>, EtcdError | InvalidValue | Kv.UpdateConflict | "no">>()(
        Kv.updateEffect(limit, () => Effect.fail("no" as const)),
        true
      )
      typed<Answer<number, EtcdError | InvalidValue | Kv.UpdateConflict | "no">>()(
        Kv.atomically((txn) =>
          Effect.gen(function* () {
            typed<Option.Option<number>>()(yield* txn.get(limit), true)
            yield* txn.put(users.key("a"), { name: "Alice" })
            // @ts-expect-error: the schema says number
            txn.put(limit, "1")
            return yield* Effect.succeed(1).pipe(Effect.filterOrFail(() => true, () => "no" as const))
          })
        ),
        true
      )
      typed<Stream.Stream<Kv.Event<User>, EtcdError | InvalidOption, Etcd>>()(Kv.watch(users), true)
      typed<Stream.Stream<Kv.Event<string>, EtcdError | InvalidOption, Etcd>>()(Kv.watch("k"), true)
      typed<Stream.Stream<Listing<string>, EtcdError | InvalidOption, Etcd>>()(Kv.pages("/users/"), true)
      // @ts-expect-error: an Entry<string> is not an Entry<number>
      typed<Answer<Option.Option<Entry<number>>, EtcdError | InvalidValue>>()(Kv.get("k"), true)
    }))

  effect("Compare takes operands of the type of its target", () =>
    Effect.sync(() => {
      typed<Compare.Comparison>()(Compare.version("k").equals(2), true)
      typed<Compare.Comparison>()(Compare.version(users).greaterThan(2n), true)
      typed<Compare.Comparison<InvalidValue>>()(Compare.value(limit).equals(2), true)
      typed<Compare.Comparison<InvalidValue>>()(Compare.value("k").lessThan("x"), true)
    }))

  effect(
    "Txn.make infers the results of each branch as a tuple of its operations",
    () =>
      Effect.gen(function* () {
        const reading = Txn.make({
          if: [Compare.version("k").equals(2)],
          then: [Op.exists("k")],
          else: [Op.deletePrefix("k")]
        })
        const txn = Txn.make({
          if: [Compare.version("k").equals(2)],
          then: [Op.put("a", "v"), Op.get(limit), Op.getPrefix(users), Op.delete("b"), reading],
          else: [Op.count("k"), Op.get("k")]
        })
        const result = yield* typed<
          Answer<
            Txn.TxnResult<
              readonly [
                Op.Op<bigint, InvalidValue>,
                Op.Op<Option.Option<Entry<number>>, InvalidValue>,
                Op.Op<Listing<User>>,
                Op.Op<boolean>,
                Txn.Txn<readonly [Op.Op<boolean>], readonly [Op.Op<number>]>
              ],
              readonly [Op.Op<number>, Op.Op<Option.Option<Entry<string>>, InvalidValue>]
            >,
            EtcdError | InvalidValue
          >
        >()(Kv.txn(txn), true)
        if (result.succeeded) {
          const [revision, value, listing, deleted, inner] = result.results
          typed<bigint>()(revision, true)
          typed<Option.Option<Entry<number>>>()(value, true)
          typed<Listing<User>>()(listing, true)
          typed<boolean>()(deleted, true)
          if (inner.succeeded) typed<readonly [boolean]>()(inner.results, true)
          else typed<readonly [number]>()(inner.results, true)
          // @ts-expect-error: there are five operations
          void result.results[5]
        } else {
          typed<readonly [number, Option.Option<Entry<string>>]>()(result.results, true)
        }
        assert.equal(result.succeeded, false)
        // Operations that neither read nor write values add no error.
        typed<Answer<Txn.TxnResult<readonly [Op.Op<boolean>], readonly []>>>()(
          Kv.txn(Txn.make({ then: [Op.delete("k")] })),
          true
        )
        typed<Answer<Txn.TxnResult<readonly [], readonly []>>>()(Kv.txn(Txn.make({})), true)
        typed<Answer<Txn.TxnResult<readonly [], readonly []>, EtcdError | InvalidValue>>()(
          Kv.txn(Txn.make({ if: [Compare.value("k").equals("v"), Compare.version("k").equals(1)] })),
          true
        )
        // A transaction passes through a promise unchanged: it is not a thenable.
        const passed = yield* Effect.promise(() => Promise.resolve(txn))
        assert.equal(passed, txn)
      }).pipe(Effect.provide(EtcdMemory.layer()))
  )
})

import { Effect, type Option, Schema, type Stream } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { Compare, type Entry, type InvalidValue, Kv, type KvEvent, type Listing, Op, Txn } from "../../src/kv/mod.ts"
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

/** Compiled, never run: each statement is refused by the compiler, or `@ts-expect-error` is. */
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
  // @ts-expect-error: a prefix is no key
  Kv.get(users)
  // @ts-expect-error: a key is no prefix
  Kv.getPrefix(limit)
  // @ts-expect-error: a key is no prefix
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
  // @ts-expect-error: an operation is no condition
  Txn.when(Op.get("k"))
  // @ts-expect-error: the other branch was said already
  Txn.when().then().otherwise().otherwise()
  // @ts-expect-error: a condition is no operation
  Txn.when().then(Compare.version("k").equals(2))
}

describe("types of Kv", () => {
  effect("each operation has the type of its key, and of what can be wrong", () =>
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
      typed<Stream.Stream<KvEvent<User>, EtcdError, Etcd>>()(Kv.watch(users), true)
      typed<Stream.Stream<KvEvent<string>, EtcdError, Etcd>>()(Kv.watch("k"), true)
      typed<Stream.Stream<Listing<string>, EtcdError, Etcd>>()(Kv.pages("/users/"), true)
      // @ts-expect-error: an Entry<string> is none of a number
      typed<Answer<Option.Option<Entry<number>>, EtcdError | InvalidValue>>()(Kv.get("k"), true)
    }))

  effect("a comparison has the type of what it compares", () =>
    Effect.sync(() => {
      typed<Compare.Comparison>()(Compare.version("k").equals(2), true)
      typed<Compare.Comparison>()(Compare.version(users).greaterThan(2n), true)
      typed<Compare.Comparison<InvalidValue>>()(Compare.value(limit).equals(2), true)
      typed<Compare.Comparison<InvalidValue>>()(Compare.value("k").lessThan("x"), true)
    }))

  effect(
    "the result of a Txn follows its operations, one by one, in the branch that was applied",
    () =>
      Effect.gen(function* () {
        const reading = Txn.when(Compare.version("k").equals(2)).then(Op.exists("k")).otherwise(Op.deletePrefix("k"))
        const txn = Txn.when(Compare.version("k").equals(2))
          .then(Op.put("a", "v"), Op.get(limit), Op.getPrefix(users), Op.delete("b"), reading)
          .otherwise(Op.count("k"), Op.get("k"))
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
        // Nothing can be wrong with values that are not read.
        typed<Answer<Txn.TxnResult<readonly [Op.Op<boolean>], readonly []>>>()(
          Kv.txn(Txn.when().then(Op.delete("k"))),
          true
        )
        typed<Answer<Txn.TxnResult<readonly [], readonly []>>>()(Kv.txn(Txn.when().then()), true)
        typed<Answer<Txn.TxnResult<readonly [], readonly []>, EtcdError | InvalidValue>>()(
          Kv.txn(Txn.when(Compare.value("k").equals("v"), Compare.version("k").equals(1)).then()),
          true
        )
        // @ts-expect-error: the other branch was said already
        assert.equal(Txn.when().then().otherwise().otherwise, undefined)
      }).pipe(Effect.provide(EtcdMemory.layer()))
  )
})

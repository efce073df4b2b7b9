import { Effect, Exit, Fiber, Scope } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import type { TxnRequest } from "../../../src/etcd/messages/kv.ts"
import { EtcdError, Unavailable } from "../../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import { Timers } from "../../../src/internal/time/Timers.ts"
import * as ClaimBatch from "../../../src/registry/registration/claimBatch.ts"
import { describe } from "../../harness/it.ts"
import { elapse, keysIn, settle, verify } from "../../harness/virtual.ts"

const key = (index: number) => `/services/orders/i${index}`

/** An etcd whose Txns take 10 ms, with a record of requests, and claims on it. */
const setUp = (intercept: (request: TxnRequest) => EtcdError | undefined = () => undefined) =>
  Effect.gen(function* () {
    const etcd = yield* EtcdMemory.make()
    const txns: Array<TxnRequest> = []
    const slow: Etcd = {
      ...etcd,
      txn: (request) =>
        Effect.suspend(() => {
          txns.push(request)
          const failure = intercept(request)
          return Effect.delay(failure === undefined ? etcd.txn(request) : Effect.fail(failure), "10 millis")
        })
    }
    const putIf = ClaimBatch.make(slow, new Timers(yield* Effect.context<never>()))
    const { id: lease } = yield* etcd.leaseGrant({ ttl: 1000 })
    const claim = (index: number, options: Partial<ClaimBatch.PutIf> = {}) =>
      putIf({ key: key(index), expected: 0n, value: new Uint8Array([1]), lease, ...options })
    /** Starts claims of the keys at the same moment. */
    const claimAll = (
      indexes: ReadonlyArray<number>,
      options: (index: number) => Parameters<typeof claim>[1] = () => ({})
    ) => Effect.forEach(indexes, (index) => Effect.forkScoped(claim(index, options(index)), { startImmediately: true }))
    return { etcd, txns, claim, claimAll, lease }
  })

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

const exitsOf = <A, E>(fibers: ReadonlyArray<Fiber.Fiber<A, E>>) =>
  fibers.map((fiber) => {
    const exit = fiber.pollUnsafe()
    assert.ok(exit !== undefined, "a claim has not ended")
    return exit
  })

const sizes = (txns: ReadonlyArray<TxnRequest>) =>
  txns.map(({ then = [] }) => then.filter(({ _tag }) => _tag === "Txn").length)

describe("claims of one registry", () => {
  verify("a claim that comes alone is sent at once, as a Txn of its own", () =>
    Effect.gen(function* () {
      const { claimAll, txns } = yield* setUp()
      const [claim] = yield* claimAll([1])
      assert.equal(txns.length, 1)
      assert.deepEqual(sizes(txns), [0])
      yield* elapse("10 millis")
      assert.ok(Exit.isSuccess(yield* Fiber.await(claim!)))
    }))

  verify(
    "claims at the same moment go in batches of up to 100, each with its own result and revision",
    () =>
      Effect.gen(function* () {
        const { claimAll, etcd, txns } = yield* setUp()
        yield* etcd.put({ key: key(7), value: "taken" })
        yield* etcd.put({ key: key(150), value: "taken" })
        const claims = yield* claimAll(upTo(250))
        yield* elapse("1 second")
        // Two alone, then those that arrived meanwhile.
        assert.deepEqual(sizes(txns).toSorted((a, b) => a - b), [0, 0, 48, 100, 100])
        for (const [index, exit] of exitsOf(claims).entries()) {
          assert.ok(Exit.isSuccess(exit))
          const { header, responses, succeeded } = exit.value
          assert.equal(succeeded, index !== 7 && index !== 150, `${index}`)
          const { kvs: [kv] } = yield* etcd.range({ key: key(index) })
          if (succeeded) assert.equal(header.revision, kv?.modRevision)
          else {assert.ok(
              responses[0]?._tag === "Range" && responses[0].response.kvs[0]?.modRevision === kv?.modRevision
            )}
        }
      })
  )

  verify("a missing lease fails only its own claim", () =>
    Effect.gen(function* () {
      const { claimAll } = yield* setUp()
      const claims = yield* claimAll(upTo(20), (index) => index === 5 ? { lease: 999n } : {})
      yield* elapse("1 second")
      for (const [index, exit] of exitsOf(claims).entries()) {
        assert.equal(Exit.isSuccess(exit), index !== 5)
        if (Exit.isFailure(exit)) assert.match(String(exit.cause), /LeaseNotFound/)
      }
    }))

  verify("a batch that is not answered fails each of its claims with that", () =>
    Effect.gen(function* () {
      const unavailable = new EtcdError({ reason: new Unavailable({ detail: "no leader" }), method: "txn" })
      const { claimAll, txns } = yield* setUp(({ then = [] }) => then[0]?._tag === "Txn" ? unavailable : undefined)
      const claims = yield* claimAll(upTo(10))
      yield* elapse("1 second")
      assert.deepEqual(exitsOf(claims).map(Exit.isSuccess), upTo(10).map((index) => index < 2))
      assert.deepEqual(sizes(txns), [0, 0, 8])
    }))

  verify("the same key twice, and more than 1 MiB, go in more than one Txn", () =>
    Effect.gen(function* () {
      const { claimAll, txns } = yield* setUp()
      yield* claimAll([1, 2])
      const claims = yield* claimAll([3, 4, 3, 5], () => ({ value: new Uint8Array(400_000) }))
      yield* elapse("1 second")
      assert.deepEqual(sizes(txns).slice(2).toSorted(), [2, 2])
      const answers = exitsOf(claims).map((exit) => Exit.isSuccess(exit) && exit.value.succeeded)
      assert.equal(answers.filter((succeeded) => succeeded).length, 3)
    }))

  verify(
    "a claim without an answer within its limit fails, and its Txn makes room for others (R9)",
    () =>
      Effect.gen(function* () {
        const { claimAll, txns } = yield* setUp()
        const [one, two] = yield* claimAll([1, 2], () => ({ limitMillis: 6 }))
        const [three] = yield* claimAll([3])
        yield* elapse("6 millis")
        for (const exit of exitsOf([one!, two!])) assert.match(String(exit), /DeadlineExceeded: no answer within 6 ms/)
        assert.equal(txns.length, 3)
        yield* elapse("10 millis")
        assert.ok(Exit.isSuccess(yield* Fiber.await(three!)))
      })
  )

  verify("the limit of a claim does not include its wait for another batch (R9)", () =>
    Effect.gen(function* () {
      const { claimAll, txns } = yield* setUp()
      const claims = yield* claimAll(upTo(8), (index) => ({ limitMillis: index < 5 ? 12 : 13 }))
      yield* elapse("1 second")
      assert.deepEqual(exitsOf(claims).map(Exit.isSuccess), upTo(8).map(() => true))
      // Two alone, then one batch for each limit.
      assert.deepEqual(sizes(txns), [0, 0, 3, 3])
    }))

  verify("a claim that is interrupted while it waits is not sent, and the others are", () =>
    Effect.gen(function* () {
      const { claim, claimAll, etcd } = yield* setUp()
      yield* claimAll([1, 2])
      const scope = yield* Scope.make()
      yield* Effect.forkIn(claim(3), scope, { startImmediately: true })
      yield* claimAll([4])
      yield* Scope.close(scope, Exit.void)
      yield* elapse("1 second")
      yield* settle
      assert.deepEqual(Object.keys(yield* keysIn(etcd)), [key(1), key(2), key(4)])
    }))
})

import { Effect, Layer } from "effect"
import assert from "node:assert/strict"
import { AsyncLocalStorage } from "node:async_hooks"
import { registerService, Registry } from "../../../mod.ts"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import { a, elapse, verify } from "../../harness/virtual.ts"

/**
 * An effect that records how many of its runs came before it in the chain of async scopes. Deno keeps the whole chain: a
 * loop that lasts must start each step from the same scope, so that the number stays 0.
 */
const chained = () => {
  const storage = new AsyncLocalStorage<number>()
  const lengths: Array<number> = []
  const run = Effect.sync(() => {
    const length = storage.getStore() ?? 0
    lengths.push(length)
    storage.enterWith(length + 1)
  })
  return { lengths, run }
}

/** A registration whose etcd runs an effect before each Txn and each grant. */
const registered = Effect.fnUntraced(function* (
  before: Effect.Effect<void>,
  options: Partial<Parameters<typeof registerService>[1]> = {}
) {
  const { etcd, faults } = yield* FaultyEtcd.make(yield* EtcdMemory.make())
  const recorded: Etcd = {
    ...etcd,
    txn: (request) => Effect.andThen(before, etcd.txn(request)),
    leaseGrant: (request) => Effect.andThen(before, etcd.leaseGrant(request))
  }
  const context = yield* Layer.build(Registry.layer().pipe(Layer.provide(Layer.succeed(Etcd, recorded))))
  const registration = yield* registerService("orders", { ...a, ...options }).pipe(Effect.provide(context))
  return { etcd, faults, registration }
})

describe("the loops of a registration", () => {
  verify("the writes of a held registration do not grow a chain of async scopes", () =>
    Effect.gen(function* () {
      const { lengths, run } = chained()
      const { registration } = yield* registered(run)
      const claim = lengths.length
      for (const weight of [2, 3, 4, 5]) {
        yield* Effect.forkScoped(Effect.ignore(registration.update({ weight })))
        yield* elapse("1 second")
      }
      assert.deepEqual(lengths.slice(claim), [0, 0, 0, 0])
    }))

  verify("the health checks of a registration do not grow a chain of async scopes", () =>
    Effect.gen(function* () {
      const { lengths, run } = chained()
      yield* registered(Effect.void, { health: run, healthEvery: "1 second" })
      yield* elapse("4 seconds")
      assert.deepEqual(lengths, [0, 0, 0, 0, 0])
    }))

  verify("the losses of a registration do not grow a chain of async scopes", () =>
    Effect.gen(function* () {
      const { lengths, run } = chained()
      const { etcd, registration } = yield* registered(run)
      for (let losses = 0; losses < 4; losses++) {
        yield* etcd.deleteRange({ key: registration.key })
        yield* elapse("1 minute")
      }
      // A grant and a Txn for each. The grant waits for nothing before its Txn.
      assert.equal(lengths.length, 10)
      assert.ok(Math.max(...lengths) <= 1, `${lengths}`)
    }))

  verify(
    "the attempts of a registration during an outage do not grow a chain of async scopes",
    () =>
      Effect.gen(function* () {
        const { lengths, run } = chained()
        const { faults, registration } = yield* registered(run)
        const claim = lengths.length
        yield* faults.set([{ fault: FaultyEtcd.unavailable }])
        yield* elapse("5 minutes")
        assert.equal((yield* registration.status.get)._tag, "Recovering")
        assert.ok(lengths.length > 50, `${lengths.length} attempts`)
        assert.ok(Math.max(...lengths.slice(claim)) <= 1, `${lengths}`)
      })
  )
})

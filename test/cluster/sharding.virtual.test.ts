// Effect's Sharding on EtcdRunnerStorage, on virtual time: when it starts and stops what runs on its shards.
import { Clock, Effect, Exit, Layer, Option, Scope } from "effect"
import { MessageStorage, RunnerAddress, Runners, Sharding, ShardingConfig } from "effect/cluster"
import assert from "node:assert/strict"
import { EtcdRunnerHealth, EtcdRunnerStorage } from "../../src/cluster/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { elapse, verify } from "../harness/virtual.ts"
import { config } from "./support.ts"

/** A process with singletons, and which of them run, with the times of starts and stops. */
const start = Effect.fnUntraced(function* (operator: Etcd, port: number) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const { etcd, faults } = yield* FaultyEtcd.make(operator, { requestTimeout: "1 second" })
  const running = new Set<string>()
  const log: Array<readonly [event: string, at: number]> = []
  const note = (event: string) => Effect.map(Clock.currentTimeMillis, (at) => void log.push([event, at]))
  const singletons = Layer.effectDiscard(Effect.gen(function* () {
    const { registerSingleton } = yield* Sharding.Sharding
    for (let index = 0; index < 20; index++) {
      const name = `singleton-${index}`
      yield* registerSingleton(
        name,
        Effect.gen(function* () {
          running.add(name)
          yield* note("start")
          return yield* Effect.never
        }).pipe(Effect.ensuring(Effect.suspend(() => {
          running.delete(name)
          return note("stop")
        })))
      )
    }
  }))
  yield* singletons.pipe(
    Layer.provide(Sharding.layer),
    Layer.provide(Runners.layerNoop),
    Layer.provide([EtcdRunnerStorage.layer(), EtcdRunnerHealth.layer(), MessageStorage.layerNoop]),
    Layer.provide([
      Layer.succeed(Etcd, etcd),
      ShardingConfig.layer({
        ...config,
        shardsPerGroup: 30,
        refreshAssignmentsInterval: "1 second",
        entityMessagePollInterval: "1 second",
        runnerAddress: Option.some(RunnerAddress.make("localhost", port))
      })
    ]),
    Layer.build,
    Scope.provide(scope)
  )
  return { faults, running, log, exit: Scope.close(scope, Exit.void) }
})

/** Advances the clock second by second. */
const seconds = (count: number) =>
  Effect.forEach(Array.from({ length: count }), () => elapse("1 second"), { discard: true })

/** Two processes that share the singletons. */
const two = Effect.gen(function* () {
  const operator = yield* EtcdMemory.make()
  const [one, other] = yield* Effect.all([start(operator, 1), start(operator, 2)])
  yield* seconds(12)
  const split = () => [one.running.size, other.running.size]
  assert.equal(one.running.size + other.running.size, 20, `${split()}`)
  assert.ok(one.running.size > 0 && other.running.size > 0, `${split()}`)
  const events = one.log.length
  return { operator, one, other, events }
})

describe("Sharding on EtcdRunnerStorage", () => {
  for (const [what, fault] of [["away", FaultyEtcd.unavailable], ["without a leader", FaultyEtcd.noLeader]] as const) {
    verify(
      `Sharding on EtcdRunnerStorage stops nothing while etcd is ${what} for 2.5 seconds, whenever that begins`,
      () =>
        Effect.gen(function* () {
          const { events, one } = yield* two
          for (let begin = 0; begin < 6; begin++) {
            yield* elapse(500 * begin)
            yield* one.faults.set([{ fault }])
            for (let part = 0; part < 5; part++) yield* elapse("500 millis")
            yield* one.faults.clear
            yield* seconds(4)
          }
          assert.equal(one.log.length, events)
        })
    )
  }

  verify(
    "Sharding on EtcdRunnerStorage stops everything within 2/3 of the expiration when etcd stays away",
    () =>
      Effect.gen(function* () {
        const { one, other } = yield* two
        const began = yield* Clock.currentTimeMillis
        yield* one.faults.blackhole
        for (let millis = 0; millis < 6000; millis += 250) yield* elapse("250 millis")
        assert.equal(one.running.size, 0)
        const [, stopped] = one.log.at(-1) ?? ["", Infinity]
        assert.ok(stopped - began <= 6000, `stopped after ${stopped - began} ms`)
        // Its shards move when its leases have expired.
        yield* seconds(10)
        assert.equal(other.running.size, 20)
        yield* one.faults.clear
        yield* seconds(15)
        assert.equal(one.running.size + other.running.size, 20)
        assert.ok(one.running.size > 0)
      })
  )

  verify("Sharding on EtcdRunnerStorage starts again when every lease is revoked", () =>
    Effect.gen(function* () {
      const { one, operator, other } = yield* two
      const { leases } = yield* operator.leaseLeases
      for (const id of leases) yield* operator.leaseRevoke(id)
      yield* seconds(15)
      assert.equal(one.running.size + other.running.size, 20)
      assert.ok(one.running.size > 0 && other.running.size > 0)
    }))

  verify(
    "Sharding on EtcdRunnerStorage hands everything over when a process ends, and leaves nothing in etcd",
    () =>
      Effect.gen(function* () {
        const { one, operator, other } = yield* two
        yield* one.exit
        yield* seconds(3)
        assert.deepEqual([one.running.size, other.running.size], [0, 20])
        yield* other.exit
        assert.equal((yield* operator.range({ key: "/", rangeEnd: "0" })).count, 0n)
        assert.deepEqual((yield* operator.leaseLeases).leases, [])
      })
  )
})

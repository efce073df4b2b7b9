import { Effect, Stream } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { Layer, Scope } from "effect"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, effect, live } from "../harness/it.ts"
import { Kv, Op, Txn } from "../../src/kv/mod.ts"
import { checks } from "./checks.ts"

let roots = 0

const declare = (
  test: (title: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) => void,
  layer: () => Layer.Layer<Etcd, unknown>
): void => {
  for (const { body, title } of checks) {
    test(title, () => Effect.provide(Effect.suspend(() => body(`/kv-${++roots}/`)), layer()))
  }
}

describe("Kv on EtcdMemory", () => declare(effect, () => EtcdMemory.layer()))

describe("Kv", () => {
  eachSharedEtcd((server) => declare(live, () => EtcdGrpc.layer({ endpoints: [server().endpoint] })))
})

describe("Kv with a slow codec", () => {
  live("Kv.getPrefix and Kv.watch let timers run while they decode many values", () =>
    Effect.gen(function* () {
      /** Half a millisecond for each value. */
      const slow = Kv.prefix("/slow/", {
        encode: Kv.text.encode,
        decode: (bytes) => {
          const until = performance.now() + 0.5
          while (performance.now() < until);
          return Kv.text.decode(bytes)
        }
      })
      const batch = Array.from({ length: 100 }, (_, index) => index)
      for (const first of batch.slice(0, 5)) {
        yield* Kv.txn(Txn.make({ then: batch.map((index) => Op.put(slow.key(`${first}-${index}`), "x")) }))
      }
      let turns = 0
      const timer = setInterval(() => turns++, 1)
      yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
      assert.equal((yield* Kv.getPrefix(slow)).entries.length, 500)
      // One step of 250 ms would leave no turn for timers.
      assert.ok(turns >= 5, `${turns} turns`)
      turns = 0
      yield* Kv.watch(slow).pipe(Stream.take(1), Stream.runDrain)
      assert.ok(turns >= 5, `${turns} turns`)
    }).pipe(Effect.provide(EtcdMemory.layer())))
})

import { Effect, FiberSet } from "effect"
import assert from "node:assert/strict"
import * as grpc from "@grpc/grpc-js"
import { Connections } from "../../../src/etcd/grpc/Connections.ts"
import { settingsOf } from "../../../src/etcd/grpc/settings.ts"
import { describe, live } from "../../harness/it.ts"
import { startFake } from "./fakeEtcd.ts"

describe("Connections", () => {
  live("a call and a probe that connect at the same time use one connection", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* startFake(() => {})
      const run = yield* FiberSet.makeRuntime<never, void, never>()
      const connections = new Connections({
        settings: yield* settingsOf({ endpoints: [endpoint] }),
        grpc,
        now: () => performance.now(),
        run
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => connections.close()))
      const probes = yield* connections.each
      const [used, ...probed] = yield* Effect.all([connections.get, ...probes], { concurrency: "unbounded" })
      assert.deepEqual(probed.map((one) => one === used), [true])
      assert.equal(used.channel.isReady, true)
    }))
})

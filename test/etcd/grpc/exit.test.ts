import { Effect } from "effect"
import assert from "node:assert/strict"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { runProgram } from "../../harness/program.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { freePort } from "../../harness/real.ts"
import { timed } from "./support.ts"

const program = (endpoints: ReadonlyArray<string>, work: string) =>
  runProgram({ file: new URL("./program.ts", import.meta.url), args: [endpoints.join(","), work] })

describe("EtcdGrpc and the end of the process", () => {
  for (const work of ["idle", "calls", "streams"]) {
    live(`a process exits by itself once its client is closed, after ${work} (D11)`, () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const child = yield* program([server.endpoint], work)
        yield* child.awaitLine("closed")
        const [exit, millis] = yield* timed(child.exit)
        assert.deepEqual(exit, { code: 0, signal: null })
        assert.ok(millis < 10_000, `${millis} ms`)
        assert.equal(yield* child.stderr, "")
      }))
  }

  live("a process exits by itself while the server hangs (D11)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const child = yield* program([server.endpoint], "hang")
      yield* child.awaitLine("ready")
      yield* server.pause
      yield* child.awaitLine("closed")
      const [exit, millis] = yield* timed(child.exit)
      assert.deepEqual(exit, { code: 0, signal: null })
      assert.ok(millis < 10_000, `${millis} ms`)
      yield* server.resume
    }))

  live(
    "a process exits by itself if no endpoint works: one refuses, one is silent, one has no TLS (D11)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const silent = yield* makeProxy(server)
        yield* silent.blackhole()
        const refused = `127.0.0.1:${yield* freePort}`
        for (const scheme of ["http", "https"]) {
          const endpoints = [refused, new URL(silent.endpoint).host].map((host) => `${scheme}://${host}`)
          const child = yield* program(endpoints, "calls")
          yield* child.awaitLine("closed")
          const [exit, millis] = yield* timed(child.exit)
          assert.deepEqual(exit, { code: 0, signal: null })
          assert.ok(millis < 10_000, `${scheme} ${millis} ms`)
        }
      })
  )
})

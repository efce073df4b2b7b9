import { Effect } from "effect"
import assert from "node:assert/strict"
import { describe } from "node:test"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import * as it from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"

/** What an example prints, after it has ended by itself and left nothing in etcd. */
const printed = (name: string) =>
  Effect.gen(function* () {
    const etcd = yield* startEtcd()
    const program = yield* runProgram({
      file: new URL(`../../examples/${name}.ts`, import.meta.url),
      env: { ETCD_ENDPOINTS: etcd.endpoint }
    })
    assert.deepEqual(yield* program.exit, { code: 0, signal: null }, yield* program.stderr)
    assert.equal((yield* etcdctl(etcd, "get", "--prefix", "/services/", "--keys-only")).trim(), "")
    // Registrations and ejections are logged.
    return (yield* program.stdout).split("\n").filter((line) => line !== "" && !/^\[\d\d:/.test(line))
  })

describe("examples of gRPC and RPC", () => {
  it.live("examples/grpc.ts calls by service name, and loses no call while a server drains", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* printed("grpc"), [
        "a and b have responded",
        "b has left, and no call failed",
        "order 7 from a"
      ])
    }))

  it.live("examples/connect.ts calls by service name, and retries idempotent calls of a killed server", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* printed("connect"), [
        "a and b have responded",
        "order 1 is paid",
        "b was killed, and 10 of 10 calls were answered by a"
      ])
    }))

  it.live("examples/rpc.ts calls by service name, with typed errors and streams", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* printed("rpc"), [
        "a and b have responded",
        "changes: 1,2,3",
        "order 0: NoSuchOrder",
        "b has stopped, and 10 of 10 calls reached a"
      ])
    }))
})

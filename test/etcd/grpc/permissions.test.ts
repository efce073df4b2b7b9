import { Effect } from "effect"
import assert from "node:assert/strict"
import { startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { runProgram } from "../../harness/program.ts"
import { grpcVariables as variables } from "./support.ts"

const start = (endpoint: string, hosts: ReadonlyArray<string>, env: ReadonlyArray<string>) =>
  runProgram({
    file: new URL("./permissions.program.ts", import.meta.url),
    runtime: "deno",
    runtimeArgs: ["--no-prompt", `--allow-net=${hosts.join(",")}`, `--allow-env=${env.join(",")}`],
    args: [endpoint]
  })

describe("EtcdGrpc permissions", () => {
  live(
    "EtcdGrpc needs --allow-net for the name and the address and nine variables of grpc-js under Deno",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const { port } = new URL(server.endpoint)
        const both = [`localhost:${port}`, `127.0.0.1:${port}`]
        for (const host of ["127.0.0.1", "localhost"]) {
          const program = yield* start(`http://${host}:${port}`, both, variables)
          assert.deepEqual(yield* program.exit, { code: 0, signal: null })
          const lines = (yield* program.stdout).split("\n").filter((line) => !line.startsWith("["))
          assert.deepEqual(lines, ["/services/orders/a 1", "closed", ""])
          assert.equal(yield* program.stderr, "")
        }
      })
  )

  live("EtcdGrpc names a missing --allow-env under Deno", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const [missing, ...others] = variables
      const program = yield* start(server.endpoint, [new URL(server.endpoint).host], others)
      yield* program.awaitLine(`cannot load the package @grpc/grpc-js: Requires env access to "${missing}"`)
      assert.deepEqual(yield* program.exit, { code: 1, signal: null })
    }))

  live("EtcdGrpc names a missing --allow-net under Deno", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const program = yield* start(server.endpoint, ["127.0.0.1:1"], variables)
      yield* program.awaitLine(`Requires net access to "${new URL(server.endpoint).host}"`)
    }))
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import { grpcVariables } from "../etcd/grpc/support.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"

describe("admin permissions", () => {
  for (const canRead of [false, true]) {
    live(
      `admin reads the state of a cluster without etcd3, and its users ${canRead ? "with" : "only with"} --allow-read`,
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd()
          const program = yield* runProgram({
            file: new URL("./programs/state.ts", import.meta.url),
            runtime: "deno",
            runtimeArgs: [
              ...["--no-prompt", "--no-check", "--allow-net=127.0.0.1", `--allow-env=${grpcVariables.join()}`],
              ...(canRead ? ["--allow-read"] : [])
            ],
            args: [server.endpoint]
          })
          assert.deepEqual(yield* program.exit, { code: 0, signal: null })
          const [state, users = ""] = (yield* program.stdout).split("\n")
          assert.equal(state, `1 ${server.version} 0`)
          assert.match(users, canRead ? /^0$/ : /cannot load the package etcd3: Requires read access to/)
        })
    )
  }
})

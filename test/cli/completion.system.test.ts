import { Effect } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { currentRuntime, runProgram } from "../harness/program.ts"

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

describe("command line: completions in bash", () => {
  live("bash completes commands, services and instances, and does not expand names", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
      for (const key of ["orders/a1", "orders/b", "$(touch owned) x/i", "payments/p"]) {
        yield* etcd.put({ key: `/services/${key}`, value: '{"endpoints":["http://a:80"]}', lease })
      }
      const start = [process.execPath, ...(currentRuntime === "deno" ? ["run", "-A"] : []), main]
      const script = `
        etcd-discovery() { "${start.join('" "')}" "$@"; }
        source <(etcd-discovery completions bash)
        complete_line() {
          COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=\${#COMP_LINE}; COMPREPLY=()
          _etcd_discovery_with_names etcd-discovery "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
          echo "[\${COMPREPLY[*]}]"
        }
        cd "$(mktemp -d)"
        complete_line etcd-discovery doc
        complete_line etcd-discovery instances ord
        complete_line etcd-discovery drain orders a
        complete_line etcd-discovery instances ''
        ls
        echo done`
      const bash = yield* runProgram({
        file: "/bin/bash",
        runtime: "native",
        args: ["-c", script],
        env: { ETCD_ENDPOINTS: server.endpoint }
      })
      yield* bash.exit
      assert.equal(
        yield* bash.stdout,
        "[doctor]\n[orders]\n[a1]\n[\\$\\(touch\\ owned\\)\\ x orders payments]\ndone\n",
        yield* bash.stderr
      )
    }))
})

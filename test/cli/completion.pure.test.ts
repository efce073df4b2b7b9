import { Effect } from "effect"
import assert from "node:assert/strict"
import { namesFor, scriptOf } from "../../src/cli/completion.ts"
import { rootWith } from "../../src/cli/cli.ts"
import * as Connection from "../../src/cli/connection.ts"
import { describe, live } from "../harness/it.ts"
import { memory, ran } from "./support.ts"

const root = rootWith(Connection.layer)
const namesAfter = (line: string) => namesFor(line.split(" ").filter((word) => word !== ""), root)?.join(" ")

describe("command line: completions", () => {
  live(
    "namesFor returns whether a service or an instance is expected, with the connection flags of the line",
    () =>
      Effect.sync(() => {
        assert.equal(namesAfter("instances"), "__names")
        assert.equal(namesAfter("-e http://a:1 instances --format kratos"), "-e http://a:1 __names")
        assert.equal(namesAfter("drain orders"), "__names orders")
        assert.equal(namesAfter("drain --namespace=/staging orders"), "--namespace=/staging __names orders")
        assert.equal(namesAfter("watch --json"), "__names")
        for (
          const line of [
            "",
            "services",
            "drain orders a",
            "instances --format",
            "lock /l --",
            "kv get",
            "weight orders a"
          ]
        ) {
          assert.equal(namesAfter(line), undefined, line)
        }
      })
  )

  live(
    "__complete prints services or the instances of one, without unprintable names",
    () =>
      Effect.gen(function* () {
        const { connect, etcd } = yield* memory
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 60 })
        for (const key of ["orders/a", "orders/10.0.0.5:80", "payments/p", "evil\u202e/x"]) {
          yield* etcd.put({ key: `/services/${key}`, value: '{"endpoints":["http://a:80"]}', lease })
        }
        const complete = (...words: ReadonlyArray<string>) =>
          Effect.map(ran(["__complete", ...words], { connect }), ({ stdout }) => stdout)
        assert.equal(yield* complete("instances"), "orders\npayments\n")
        assert.equal(yield* complete("drain", "orders"), "10.0.0.5:80\na\n")
        assert.equal(yield* complete("services"), "")
        assert.deepEqual(yield* ran(["__complete", "kv"], { connect }), { exitCode: 0, stdout: "", stderr: "" })
      })
  )

  live(
    "completions prints a script for each shell, and --help hides its commands",
    () =>
      Effect.gen(function* () {
        for (const shell of ["bash", "zsh", "fish"] as const) {
          const { exitCode, stdout } = yield* ran(["completions", shell])
          assert.equal(exitCode, 0)
          assert.equal(stdout, `${scriptOf(shell, root)}\n`)
          assert.match(stdout, /etcd-discovery __complete/)
          assert.match(stdout, new RegExp(`^#   etcd-discovery completions ${shell} >`, "m"))
          assert.doesNotMatch(stdout, /--completions/)
          assert.match(stdout, /doctor/)
        }
        assert.doesNotMatch((yield* ran(["--help"])).stdout, /__/)
        assert.equal((yield* ran(["completions", "tcsh"])).exitCode, 2)
      })
  )
})

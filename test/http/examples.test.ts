import { Effect } from "effect"
import assert from "node:assert/strict"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"

/** What an example prints, after it has ended by itself and left nothing in etcd. */
const said = (name: string) =>
  Effect.gen(function* () {
    const etcd = yield* startEtcd()
    const program = yield* runProgram({
      file: new URL(`../../examples/${name}.ts`, import.meta.url),
      env: { ETCD_ENDPOINTS: etcd.endpoint }
    })
    assert.deepEqual(yield* program.exit, { code: 0, signal: null })
    assert.equal((yield* etcdctl(etcd, "get", "--prefix", "/services/", "--keys-only")).trim(), "")
    // Registrations and ejections are logged.
    return (yield* program.stdout).split("\n").filter((line) => !/ (?:INFO|WARN) /.test(line)).join("\n")
  })

describe("examples", () => {
  live(
    "examples/balancing.ts completes all calls, prefers fast instances and ejects the missing one",
    () =>
      Effect.gen(function* () {
        const text = yield* said("balancing")
        assert.match(text, /^200 calls were answered\n200 more were answered without one of the instances\n/m)
        assert.match(text, /^other: ejected, \d+ attempts, \d+ failed, about \d+ ms$/m)
        const attempts = (id: string) => Number(new RegExp(`^${id}: healthy, (\\d+) attempts`, "m").exec(text)?.[1])
        assert.ok(attempts("quick") > attempts("slow"), text)
      })
  )

  live(
    "examples/http_client.ts gets answers even if an instance is gone, and without Effect",
    () =>
      Effect.gen(function* () {
        const lines = (yield* said("http_client")).trim().split("\n")
        assert.deepEqual(lines.slice(0, 2).map((line) => line.replace(/ from [ab]$/, "")), ["/1", "/2"])
        assert.deepEqual(new Set(lines.slice(0, 2).map((line) => line.slice(-1))), new Set(["a", "b"]))
        assert.deepEqual(lines.slice(2), ["10 of 10 requests were answered by a", "/3 from c"])
      })
  )

  live(
    "examples/custom_strategies.ts uses a subset of three instances, and all ten without one",
    () =>
      Effect.gen(function* () {
        assert.equal(
          (yield* said("custom_strategies")).trim(),
          "client 7 uses 3 of 10 instances\nwithout a subset, a client uses 10 instances"
        )
      })
  )
})

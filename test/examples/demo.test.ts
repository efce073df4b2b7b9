import { Effect } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { describe } from "node:test"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import * as it from "../harness/it.ts"
import { currentRuntime, runProgram } from "../harness/program.ts"

const file = new URL("../../examples/demo.ts", import.meta.url)

const success = { code: 0, signal: null }

/** The instances of each set that was printed. */
const setsOf = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/^ *\d+\.\d s {2}(\d+) instances? at revision \d+(?:: (.*))?$/gm)]
    .map(([, size, instances = ""]) => {
      assert.equal(instances.split(", ").filter((id) => id !== "").length, Number(size))
      return instances
    })

const story = [
  "",
  "shop-1",
  "shop-1, shop-2",
  "shop-1, shop-2, shop-3",
  "shop-1 (draining), shop-2, shop-3",
  "shop-2, shop-3",
  "shop-3",
  "shop-3 (draining)",
  ""
]

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const pidsIn = (text: string): ReadonlyArray<number> =>
  [...text.matchAll(/\(pid (\d+)\)/g)].map(([, pid]) => Number(pid))

/** A temporary folder for the demo alone, so that the test finds what it leaves there. */
const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "demo-test-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("demo", () => {
  it.live("demo shows each set on the embedded engine, without any permission, and exits with 0", () =>
    Effect.gen(function* () {
      const program = yield* runProgram({
        file,
        env: { ETCD_ENDPOINTS: "" },
        ...(currentRuntime === "deno" ? { runtimeArgs: ["--no-prompt", "--no-check"] } : {})
      })
      yield* program.awaitLine("0 instances at revision 1")
      assert.deepEqual(yield* program.exit, success)
      const said = yield* program.stdout
      assert.match(said, /^Service discovery on the embedded engine/)
      assert.deepEqual(setsOf(said), story)
      assert.match(said, /^Done\. etcd holds 0 keys of this demo\.$/m)
      assert.equal(yield* program.stderr, "")
    }))

  it.live("demo --etcd starts an etcd, kills a real process, and leaves nothing running", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const program = yield* runProgram({ file, args: ["--etcd"], env: { ETCD_ENDPOINTS: "", TMPDIR: folder } })
      const title = yield* program.awaitLine("started for this demo")
      assert.deepEqual(pidsIn(title).map(isAlive), [true])
      assert.deepEqual(yield* program.exit, success)
      const said = yield* program.stdout
      assert.deepEqual(setsOf(said), story)
      assert.match(said, /^Done\. etcd holds 0 keys of this demo\.$/m)
      assert.equal(yield* program.stderr, "")
      const pids = pidsIn(said)
      assert.equal(pids.length, 2)
      assert.deepEqual(pids.filter(isAlive), [])
      assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith("etcd-demo-")), [])
    }))

  it.live("demo --etcd leaves nothing running when it is interrupted", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const program = yield* runProgram({ file, args: ["--etcd"], env: { ETCD_ENDPOINTS: "", TMPDIR: folder } })
      yield* program.awaitLine("3 instances at revision")
      yield* program.signal("SIGINT")
      assert.deepEqual(yield* program.exit, { code: 130, signal: null })
      assert.deepEqual(pidsIn(yield* program.stdout).filter(isAlive), [])
      assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith("etcd-demo-")), [])
    }))

  it.live("demo uses the etcd of ETCD_ENDPOINTS or --etcd URL, and leaves no key in it", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const programs = yield* Effect.all([
        runProgram({ file, env: { ETCD_ENDPOINTS: etcd.endpoint } }),
        runProgram({ file, args: ["--etcd", etcd.endpoint], env: { ETCD_ENDPOINTS: "" } })
      ])
      for (const program of programs) {
        assert.deepEqual(yield* program.exit, success)
        const said = yield* program.stdout
        assert.ok(said.includes(`etcd ${etcd.version} at ${etcd.endpoint}\n`))
        assert.deepEqual(setsOf(said), story)
      }
      assert.equal(yield* etcdctl(etcd, "get", "", "--from-key", "--keys-only"), "")
    }))

  it.live("demo reports an unreachable etcd and exits with 1", () =>
    Effect.gen(function* () {
      const program = yield* runProgram({ file, args: ["--etcd=http://127.0.0.1:1"] })
      assert.deepEqual(yield* program.exit, { code: 1, signal: null })
      assert.match(yield* program.stderr, /^demo: etcd status at http:\/\/127\.0\.0\.1:1: Unavailable: .*ECONNREFUSED/)
    }))

  it.live("demo exits with 2 on unknown arguments", () =>
    Effect.gen(function* () {
      const program = yield* runProgram({ file, args: ["--redis"] })
      assert.deepEqual(yield* program.exit, { code: 2, signal: null })
      assert.match(yield* program.stdout, /^usage: demo/)
    }))
})

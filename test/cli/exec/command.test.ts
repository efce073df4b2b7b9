// `etcd-discovery exec` on the embedded engine.
import { Effect, Fiber, Stream } from "effect"
import assert from "node:assert/strict"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { discover, Registry } from "../../../mod.ts"
import { describe, live } from "../../harness/it.ts"
import { keysIn, leasesIn } from "../../harness/virtual.ts"
import { memory, ran, recording } from "../support.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "exec-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const endpoint = ["--endpoint", "http://10.0.0.5:8080"]

describe("command line: exec", () => {
  live(
    "exec exits with the code of the command, or with 128 plus the number of its signal",
    () =>
      Effect.gen(function* () {
        const { connect, etcd } = yield* memory
        const run = (script: string) => ran(["exec", "orders", ...endpoint, "--", "sh", "-c", script], { connect })
        assert.deepEqual(yield* run("exit 7"), { exitCode: 7, stdout: "", stderr: "" })
        assert.equal((yield* run("kill -KILL $$")).exitCode, 137)
        assert.deepEqual([yield* keysIn(etcd), yield* leasesIn(etcd)], [{}, []])
      })
  )

  live("exec registers what its flags say, and hands flags after -- to the command", () =>
    Effect.gen(function* () {
      const { connect, registry } = yield* memory
      const { effect, signal } = recording([
        ...["exec", "orders", ...endpoint, "--id", "a", "--zone", "eu-1", "--weight", "2.5"],
        ...["--service-version", "1.2", "--metadata", "shard=3", "--health-cmd", "true"],
        // `sh` takes the flags as parameters.
        ...["--", "sh", "-c", '[ "$1" = --drain ] || exit 9; exec sleep 1000', "sh", "--drain"]
      ], { connect })
      const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
      const instances = yield* discover("orders").pipe(
        Stream.map((set) => set.available),
        Stream.filter((instances) => instances.length > 0),
        Stream.take(1),
        Stream.runCollect,
        Effect.provideService(Registry.Registry, registry)
      )
      assert.deepEqual(instances, [[{
        id: "a",
        name: "orders",
        endpoints: ["http://10.0.0.5:8080"],
        metadata: { shard: "3" },
        status: "up",
        version: "1.2",
        weight: 2.5,
        zone: "eu-1"
      }]])
      signal("SIGTERM")
      assert.equal(yield* Fiber.join(fiber), 143)
    }))

  live("exec refuses invalid options with 2 before it starts the command", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      const marker = join(yield* folder, "started")
      const refused = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
        const { exitCode, stderr } = yield* ran(["exec", ...args, "--", "touch", marker], { connect })
        assert.equal(exitCode, 2, stderr)
        return stderr
      })
      const probes = ["--health-tcp", "127.0.0.1:1", "--health-cmd", "true"]
      assert.match(yield* refused("orders", ...endpoint, ...probes), /at most one of --health-http/)
      assert.match(
        yield* refused("orders", ...endpoint, "--health-http", "ftp://a"),
        /--health-http is "ftp:\/\/a"; it must be/
      )
      assert.match(yield* refused("orders", ...endpoint, "--kill-after", "5"), /killAfter/)
      assert.match(yield* refused("orders", ...endpoint, "--drain", "soon"), /drain/)
      assert.match(yield* refused("or/ders", ...endpoint), /service/)
      assert.match(yield* refused("orders", "--endpoint", "nothing"), /endpoints\[0\]/)
      yield* refused("orders")
      assert.ok(!existsSync(marker))
      assert.deepEqual(yield* keysIn(etcd), {})
    }))
})

// The program of docs/cluster.md, as it is: three processes, of which one is stopped.
import { Effect } from "effect"
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { pathToFileURL } from "node:url"
import { root } from "../../tools/runtimes.ts"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { freePort } from "../harness/real.ts"

const code = /^```typescript ignore\n([^]*?)^```$/m.exec(readFileSync(join(root, "docs", "cluster.md"), "utf8"))?.[1]
const { exports: entries }: { readonly exports: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(join(root, "deno.json"), "utf8")
)

describe("docs/cluster.md", () => {
  live(
    "the cluster of three in docs/cluster.md counts on when a process stops, and leaves nothing in etcd",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const folder = join(root, "test", "cluster", `.document-${process.pid}`)
        yield* Effect.acquireRelease(
          Effect.sync(() => mkdirSync(folder)),
          () => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
        )
        const file = join(folder, "cluster.ts")
        writeFileSync(
          file,
          (code ?? "")
            .replace(
              /"@effect-etcd\/discovery(.*)"/g,
              (_, entry) => JSON.stringify(pathToFileURL(join(root, entries[`.${entry}`] ?? "")).href)
            )
            .replace(`"@effect/platform-node"`, `"../sockets.ts"`)
            .replace("http://127.0.0.1:2379", etcd.endpoint)
        )
        const ports = yield* Effect.all([freePort, freePort, freePort])
        const programs = yield* Effect.forEach(ports, (port) => runProgram({ file, args: [String(port)] }))
        const owners = Effect.map(
          etcdctl(etcd, "get", "--prefix", "/effect/cluster/locks/", "--print-value-only"),
          (text) => new Set(text.split("\n").filter((line) => line !== ""))
        )
        // Every process reaches the counters on any runner.
        for (const program of programs) yield* program.awaitLine(/apples is \d+, at port/)
        for (const program of programs) yield* program.awaitLine(/plums is [3-9], at port/)
        const [stopped, ...others] = programs
        assert.ok(stopped !== undefined)
        const counted = yield* Effect.forEach(others, ({ lines }) => Effect.map(lines, ({ length }) => length))
        yield* stopped.signal("SIGTERM")
        assert.deepEqual(yield* stopped.exit, { code: 0, signal: null })
        assert.ok(!(yield* owners).has(`127.0.0.1:${ports[0]}`))
        for (const [index, { awaitLine }] of others.entries()) {
          yield* awaitLine((line, nth) => nth > (counted[index] ?? 0) + 6 && line.includes("plums is"))
        }
        for (const program of others) yield* program.signal("SIGTERM")
        for (const program of others) assert.deepEqual(yield* program.exit, { code: 0, signal: null })
        assert.equal(yield* etcdctl(etcd, "get", "--prefix", "/effect/cluster/", "--keys-only"), "")
      })
  )
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { type EtcdServer, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { currentRuntime, runProgram } from "../harness/program.ts"
import { eventually } from "../harness/real.ts"

const main = new URL("../../src/cli/main.ts", import.meta.url)

/** Starts `etcd-discovery` as a process. */
const cli = ({ endpoint }: EtcdServer, ...args: ReadonlyArray<string>) =>
  runProgram({ file: main, args, env: { ETCD_ENDPOINTS: endpoint } })

const countOf = (etcd: Etcd, start: string) => Effect.map(etcd.range(prefix(start)), ({ kvs }) => kvs.length)

/** Waits until so many keys start with this. */
const awaitKeys = (etcd: Etcd, start: string, count: number) =>
  eventually(Effect.flatMap(
    Effect.orDie(countOf(etcd, start)),
    (found) => found === count ? Effect.void : Effect.fail(`${found} keys`)
  ))

describe("command line: processes", () => {
  live(
    "etcd-discovery exits with 130 after SIGINT and with 0 after SIGTERM, and leaves no key",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        yield* Effect.forEach([["SIGINT", 130], ["SIGTERM", 0], ["SIGHUP", 129]] as const, ([signal, code], index) =>
          Effect.gen(function* () {
            const id = `i${index}`
            const registered = yield* cli(server, "register", "orders", "--endpoint", "http://10.0.0.1:80", "--id", id)
            const watch = yield* cli(server, "watch", "orders")
            yield* registered.awaitLine(`registered /services/orders/${id}`)
            yield* watch.awaitLine(`"${id}"`)
            for (const program of [registered, watch]) {
              yield* program.signal(signal)
              assert.deepEqual(yield* program.exit, { code, signal: null }, signal)
              assert.equal(yield* program.stderr, "")
            }
            assert.equal(yield* countOf(etcd, `/services/orders/${id}`), 0)
          }), { concurrency: 3 })
      })
  )

  live(
    "lock runs a command with the key of the lock, exits with its code, and frees the lock",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const script = 'echo "$ETCD_LOCK_KEY $ETCD_LOCK_REV $ETCD_LOCK_LEASE"; exit 7'
        const program = yield* cli(server, "lock", "/locks/a", "--", "sh", "-c", script)
        assert.deepEqual(yield* program.exit, { code: 7, signal: null })
        assert.match(yield* program.stdout, /^\/locks\/a\/([0-9a-f]+) 2 \1\n$/)
        assert.equal(yield* countOf(etcd, "/locks/a"), 0)
        const missing = yield* cli(server, "lock", "/locks/a", "--", "no-such-command")
        assert.deepEqual(yield* missing.exit, { code: 127, signal: null })
        assert.match(yield* missing.stderr, /^etcd-discovery: cannot start "no-such-command": there is no such command/)
      })
  )

  live(
    "lock forwards signals to its command, and exits with 143 after SIGTERM while it waits",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const script = 'trap "echo ended; exit 5" TERM; echo started; while :; do sleep 0.05; done'
        const holder = yield* cli(server, "lock", "/locks/a", "--", "sh", "-c", script)
        yield* holder.awaitLine("started")
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const waiter = yield* cli(server, "lock", "/locks/a", "--", "echo", "acquired")
        yield* awaitKeys(etcd, "/locks/a/", 2)
        yield* waiter.signal("SIGTERM")
        assert.deepEqual(yield* waiter.exit, { code: 143, signal: null })
        yield* awaitKeys(etcd, "/locks/a/", 1)
        yield* holder.signal("SIGTERM")
        assert.deepEqual(yield* holder.exit, { code: 5, signal: null })
        assert.equal(yield* holder.stdout, "started\nended\n")
        yield* awaitKeys(etcd, "/locks/a/", 0)
      })
  )

  live("lock and elect end their command and exit with 75 when etcd loses the key (L6)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const script = 'trap "echo ended; exit 5" TERM; echo started; while :; do sleep 0.05; done'
      yield* Effect.forEach(["lock", "elect"], (command) =>
        Effect.gen(function* () {
          const program = yield* cli(server, command, `/held/${command}`, "--", "sh", "-c", script)
          yield* program.awaitLine("started")
          yield* etcd.deleteRange(prefix(`/held/${command}/`))
          assert.deepEqual(yield* program.exit, { code: 75, signal: null }, command)
          assert.equal(yield* program.stdout, "started\nended\n")
          assert.match(yield* program.stderr, /^etcd-discovery: lost "\/held\/(lock|elect)" .*Acquire it again\.\n$/)
        }), { concurrency: 2 })
    }))

  live("etcd-discovery exits when the reader closes its pipe", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const start = [process.execPath, ...(currentRuntime === "deno" ? ["run", "-A"] : []), fileURLToPath(main)]
      const program = yield* runProgram({
        file: "/bin/sh",
        runtime: "native",
        args: ["-c", `"${start.join('" "')}" kv watch /x | head -n 1; echo the end`],
        env: { ETCD_ENDPOINTS: server.endpoint }
      })
      yield* program.awaitLine('"listed"')
      // The next line has no reader.
      yield* etcd.put({ key: "/x", value: "1" })
      yield* program.awaitLine("the end")
    }))

  live("etcd-discovery writes all of a large output to a pipe before it exits", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const value = "x".repeat(1_000_000)
      yield* etcd.put({ key: "/x", value })
      const program = yield* cli(server, "kv", "get", "/x")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      assert.equal((yield* program.stdout).length, value.length + 1)
    }))

  live("elect publishes a value, which elect --observe prints", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const observer = yield* cli(server, "elect", "/elections/a", "--observe", "--json")
      yield* observer.awaitLine('{"leader":null}')
      const leader = yield* cli(server, "elect", "/elections/a", "--value", "first")
      yield* leader.awaitLine("/elections/a/")
      assert.equal(JSON.parse(yield* observer.awaitLine('"value":"first"')).leader.value, "first")
      yield* leader.signal("SIGINT")
      assert.deepEqual(yield* leader.exit, { code: 130, signal: null })
      yield* observer.awaitLine((line, index) => index > 1 && line === '{"leader":null}')
    }))
})

// `etcd-discovery exec` with a server in Python, against etcd.
import { Effect, Stream } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { discover, type InstanceSet, Registry } from "../../../mod.ts"
import { eachSharedEtcd, etcdctl, type EtcdServer } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { type Program, runProgram } from "../../harness/program.ts"
import { eventually, freePort, get, limitMillis } from "../../harness/real.ts"

const main = new URL("../../../src/cli/main.ts", import.meta.url)

const exec = (etcd: EtcdServer, service: string, args: ReadonlyArray<string>) =>
  runProgram({
    file: main,
    args: ["exec", service, "--endpoints", etcd.endpoint, "--id", "a", "--log-level", "info", ...args]
  })

/** A server in Python that prints what happens. After SIGTERM it counts the keys of its service and ends with 7. */
const python = (port: number, etcd: EtcdServer, service: string): ReadonlyArray<string> => [
  "python3",
  "-u",
  "-c",
  `
import base64, http.server, json, os, signal, sys, urllib.request
def end(number, frame):
    key = base64.b64encode(b"/services/${service}/a").decode()
    request = urllib.request.Request("${etcd.endpoint}/v3/kv/range", json.dumps({"key": key}).encode())
    print("python got", number, "keys", json.load(urllib.request.urlopen(request)).get("count", 0)); sys.exit(7)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGHUP, lambda number, frame: print("python got", number))
server = http.server.ThreadingHTTPServer(("127.0.0.1", ${port}), http.server.SimpleHTTPRequestHandler)
print("python", os.getpid())
server.serve_forever()
`
]

const healthArgs = (port: number) => [
  ...["--endpoint", `http://127.0.0.1:${port}`, "--health-http", `http://127.0.0.1:${port}/`],
  ...["--health-interval", "300 millis", "--health-threshold", "2"]
]

const pidIn = (program: Program) =>
  Effect.map(program.awaitLine(/^python \d+/), (line) => Number(line.split(" ").at(-1)))

/** Waits for a set of a service that satisfies a test. */
const awaitSet = (etcd: EtcdServer, service: string, test: (set: InstanceSet.InstanceSet) => boolean) =>
  discover(service).pipe(
    Stream.filter(test),
    Stream.take(1),
    Stream.runDrain,
    Effect.provide(Registry.layerEtcd({ endpoints: [etcd.endpoint] })),
    Effect.timeout(limitMillis)
  )

const hasStatus = (status: string) => (set: InstanceSet.InstanceSet) =>
  set.instances.map((instance) => instance.status).join() === status

const isEmpty = (set: InstanceSet.InstanceSet) => set.size === 0

const keys = (etcd: EtcdServer, service: string) =>
  etcdctl(etcd, "get", "--prefix", `/services/${service}/`, "--keys-only")

eachSharedEtcd((etcd) => {
  describe("exec with a server in Python", () => {
    live(
      "exec registers a Python server, marks it down while it hangs, up again, and removes it when it is killed (R11)",
      () =>
        Effect.gen(function* () {
          const port = yield* freePort
          const server = `echo python $$; exec python3 -m http.server ${port} --bind 127.0.0.1`
          const program = yield* exec(etcd(), "killed", [...healthArgs(port), "--", "sh", "-c", server])
          const pid = yield* pidIn(program)
          yield* awaitSet(etcd(), "killed", hasStatus("up"))
          process.kill(pid, "SIGSTOP")
          yield* awaitSet(etcd(), "killed", hasStatus("down"))
          process.kill(pid, "SIGCONT")
          yield* awaitSet(etcd(), "killed", hasStatus("up"))
          process.kill(pid, "SIGKILL")
          assert.deepEqual(yield* program.exit, { code: 137, signal: null })
          assert.equal(yield* keys(etcd(), "killed"), "")
        })
    )

    live(
      "exec drains and deregisters before the child gets SIGTERM, and exits with the child's code",
      () =>
        Effect.gen(function* () {
          const port = yield* freePort
          const program = yield* exec(etcd(), "drained", [
            ...healthArgs(port),
            ...["--drain", "4 seconds", "--", ...python(port, etcd(), "drained")]
          ])
          yield* pidIn(program)
          yield* awaitSet(etcd(), "drained", hasStatus("up"))
          yield* program.signal("SIGHUP")
          yield* program.awaitLine("python got 1")
          yield* program.signal("SIGTERM")
          yield* awaitSet(etcd(), "drained", hasStatus("draining"))
          // The child still serves.
          yield* get(`http://127.0.0.1:${port}/`)
          yield* awaitSet(etcd(), "drained", isEmpty)
          assert.deepEqual(yield* program.exit, { code: 7, signal: null })
          assert.match(yield* program.stdout, /python got 15 keys 0/)
          assert.equal(yield* keys(etcd(), "drained"), "")
        })
    )

    live(
      "exec kills a child that ignores SIGTERM after --kill-after and exits with 137",
      () =>
        Effect.gen(function* () {
          const program = yield* exec(etcd(), "stubborn", [
            ...["--endpoint", "http://127.0.0.1:1", "--kill-after", "500 millis", "--"],
            ...["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"]
          ])
          yield* program.awaitLine("ready")
          yield* awaitSet(etcd(), "stubborn", hasStatus("up"))
          yield* program.signal("SIGTERM")
          assert.deepEqual(yield* program.exit, { code: 137, signal: null })
          assert.equal(yield* keys(etcd(), "stubborn"), "")
        })
    )

    live(
      "exec exits with 127 for an unknown command and with 2 for an invalid option, and registers nothing",
      () =>
        Effect.gen(function* () {
          const unknown = yield* exec(etcd(), "unknown", ["--endpoint", "http://127.0.0.1:1", "--", "/no/such/command"])
          assert.deepEqual(yield* unknown.exit, { code: 127, signal: null })
          assert.match(yield* unknown.stderr, /^etcd-discovery: cannot start ".*": there is no such command/m)
          const invalid = yield* exec(etcd(), "unknown", ["--endpoint", "nonsense", "--", "echo", "started"])
          assert.deepEqual(yield* invalid.exit, { code: 2, signal: null })
          assert.doesNotMatch(yield* invalid.stdout, /started/)
          assert.equal(yield* keys(etcd(), "unknown"), "")
        })
    )

    live(
      "agent drains all services of its file at the same time on SIGTERM, and leaves no key and no lease",
      () =>
        Effect.gen(function* () {
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "agent-"))),
            (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
          )
          const file = join(folder, "services.json")
          const names = ["agent-a", "agent-b", "agent-c"]
          writeFileSync(
            file,
            JSON.stringify({
              etcd: { endpoints: [etcd().endpoint] },
              services: names.map((name) => ({ name, endpoints: ["http://10.0.0.5:1"], drain: "5 seconds" }))
            })
          )
          const program = yield* runProgram({ file: main, args: ["agent", file] })
          yield* program.awaitLine("registered")
          yield* program.signal("SIGTERM")
          yield* Effect.forEach(names, (name) => awaitSet(etcd(), name, hasStatus("draining")), { concurrency: 3 })
          assert.deepEqual(yield* program.exit, { code: 0, signal: null })
          assert.equal(yield* etcdctl(etcd(), "get", "--prefix", "/services/agent-", "--keys-only"), "")
        })
    )

    live(
      "exec leaves no key and no lease after 100 starts and stops",
      () =>
        Effect.gen(function* () {
          const one = (index: number) =>
            Effect.scoped(Effect.gen(function* () {
              const service = `hundred-${index % 10}`
              const program = yield* runProgram({
                file: main,
                args: [
                  ...["exec", service, "--endpoints", etcd().endpoint, "--endpoint", "http://127.0.0.1:1"],
                  ...["--log-level", "info", "--", "sh", "-c", "echo started; exec sleep 1000"]
                ]
              })
              // Ends in every phase: before, while and after it registers.
              yield* program.awaitLine(index % 3 === 0 ? "started" : "registered")
              yield* program.signal(index % 2 === 0 ? "SIGTERM" : "SIGINT")
              assert.deepEqual(yield* program.exit, { code: index % 2 === 0 ? 143 : 130, signal: null })
            }))
          yield* Effect.forEach(Array.from({ length: 100 }, (_, index) => index), one, { concurrency: 4 })
          assert.equal(yield* etcdctl(etcd(), "get", "--prefix", "/services/hundred-", "--keys-only"), "")
          yield* eventually(Effect.flatMap(
            etcdctl(etcd(), "lease", "list"),
            (text) => /found 0 leases/.test(text) ? Effect.void : Effect.fail(text)
          ))
        }),
      { timeout: 300_000 }
    )
  })
})

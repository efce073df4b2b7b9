import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import { describe } from "node:test"
import { etcdctl, type EtcdServer, startEtcd } from "../harness/EtcdServer.ts"
import * as it from "../harness/it.ts"
import { currentRuntime, type Program, runProgram, type RuntimeName } from "../harness/program.ts"
import { eventually } from "../harness/real.ts"

const start = (
  etcd: EtcdServer,
  name: string,
  options: { readonly args?: ReadonlyArray<string>; readonly runtime?: RuntimeName } = {}
): Effect.Effect<Program, Error, Scope.Scope> =>
  runProgram({
    file: new URL(`../../examples/${name}.ts`, import.meta.url),
    env: { ETCD_ENDPOINTS: etcd.endpoint },
    ...options
  })

const keys = (etcd: EtcdServer): Effect.Effect<ReadonlyArray<string>, Error> =>
  Effect.map(
    etcdctl(etcd, "get", "--prefix", "/services/", "--keys-only"),
    (text) => text.split("\n").filter((line) => line !== "")
  )

/** How `runMain` ends after SIGTERM and after SIGINT. */
const terminated = { code: 0, signal: null }
const interrupted = { code: 130, signal: null }

/** What a program printed, without the lines of Effect's logger. */
const printed = (stdout: string): string =>
  stdout.split("\n").filter((line) => !/^\[\d\d:\d\d:\d\d/.test(line)).join("\n")

const other: Readonly<Record<RuntimeName, RuntimeName>> = { deno: "node", node: "bun", bun: "deno" }

describe("examples", () => {
  it.live("examples/register.ts keeps its instance in etcd, under a lease, until SIGTERM", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "register")
      const line = yield* program.awaitLine("registered /services/orders/")
      const [key = "", ...more] = yield* keys(etcd)
      assert.ok(line.endsWith(key))
      assert.deepEqual(more, [])
      const { kvs: [kv] } = JSON.parse(yield* etcdctl(etcd, "get", key, "--write-out=json"))
      assert.notEqual(kv.lease ?? 0, 0)
      assert.deepEqual(JSON.parse(atob(kv.value)), {
        id: key.slice("/services/orders/".length),
        name: "orders",
        version: "1.0.0",
        metadata: {},
        endpoints: ["http://127.0.0.1:8080"],
        weight: 1,
        zone: "eu-1",
        status: "up"
      })
      yield* program.signal("SIGTERM")
      assert.deepEqual(yield* program.exit, terminated)
      assert.deepEqual(yield* keys(etcd), [])
    }))

  it.live("examples/discover.ts prints the empty set first, then the set after each change", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const consumer = yield* start(etcd, "discover")
      yield* consumer.awaitLine(/^0 of orders at revision \d+$/)
      const producer = yield* start(etcd, "register")
      yield* consumer.awaitLine(/^1 of orders at revision \d+$/)
      yield* consumer.awaitLine(/^ {2}orders-[0-9a-f]{16} up http:\/\/127\.0\.0\.1:8080$/)
      yield* producer.signal("SIGINT")
      assert.deepEqual(yield* producer.exit, interrupted)
      yield* eventually(
        Effect.flatMap(
          consumer.stdout,
          (text) => text.match(/^0 of orders/gm)?.length === 2 ? Effect.void : Effect.fail(text)
        )
      )
      yield* consumer.signal("SIGTERM")
      assert.deepEqual(yield* consumer.exit, terminated)
      assert.equal(yield* consumer.stderr, "")
    }))

  it.live("examples/graceful_shutdown.ts drains after SIGTERM, leaves no key, and stops serving last", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const consumer = yield* start(etcd, "discover", { args: ["hello"] })
      const server = yield* start(etcd, "graceful_shutdown")
      const up = yield* consumer.awaitLine(/^ {2}hello-\S+ up http/)
      const answer = yield* Effect.promise(async () => (await fetch(up.slice(up.indexOf("http")))).text())
      assert.equal(answer, "hello\n")
      yield* server.signal("SIGTERM")
      yield* consumer.awaitLine(/^ {2}hello-\S+ draining http/)
      assert.deepEqual(yield* server.exit, terminated)
      assert.deepEqual(yield* keys(etcd), [])
      const said = yield* server.stdout
      assert.match(said, /serving as \/services\/hello\/hello-[^]*the key is gone[^]*the server has stopped/)
    }))

  it.live("examples/typed_metadata.ts decodes valid metadata and reports the rest", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "typed_metadata")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      const said = yield* program.stdout
      assert.match(said, /^cannot call registerService: metadata is .*Expected an integer at \["shard"\]$/m)
      assert.match(said, /^worker-1: shard 7, mail,push, 2026-01-01T00:00:00.000Z$/m)
      assert.match(said, /^\/services\/workers\/old-worker: not an instance: metadata: Missing key at \["shard"\]$/m)
      assert.deepEqual(yield* keys(etcd), [])
    }))

  it.live("examples/kv.ts reads and writes typed values, and its watch emits the worker's put and delete", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "kv")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      const said = (yield* program.stdout).trim().split("\n")
      const news = ["worker w1 came", "worker w1 left"]
      assert.deepEqual(said.filter((line) => !news.includes(line)), [
        "listed: 0 workers",
        "/example-kv/jobs/backup: pg_dump at 2026-01-01T02:00:00.000Z",
        "/example-kv/jobs/report: report at 2026-01-01T06:00:00.000Z",
        "2 jobs at revision 3",
        `cannot write "/example-kv/jobs/backup": Expected a value with a length of at least 1 at ["command"]; nothing was sent`,
        "pg_dump is put off to 2026-01-01T03:00:00.000Z, version 2",
        "w1 has the job, 1 remaining",
        "running: false, 1 job deleted"
      ])
      assert.deepEqual(said.filter((line) => news.includes(line)), news)
      assert.equal(yield* etcdctl(etcd, "get", "", "--from-key", "--keys-only"), "")
    }))

  const greetings = ["alice called bob: hello, this is bob", "bob called alice: hello, this is alice"]

  it.live("examples/two_services.ts finds the other service in the same process", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "two_services")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      assert.deepEqual(printed(yield* program.stdout).trim().split("\n").sort(), greetings)
      assert.deepEqual(yield* keys(etcd), [])
    }))

  it.live("examples/two_services.ts finds the other service in a process of another runtime", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const alice = yield* start(etcd, "two_services", { args: ["alice", "bob"] })
      const bob = yield* start(etcd, "two_services", { args: ["bob", "alice"], runtime: other[currentRuntime] })
      assert.deepEqual([yield* alice.exit, yield* bob.exit], [{ code: 0, signal: null }, { code: 0, signal: null }])
      assert.deepEqual([printed(yield* alice.stdout).trim(), printed(yield* bob.stdout).trim()], greetings)
      assert.deepEqual(yield* keys(etcd), [])
    }))

  it.live("examples/config.ts restarts its server with each new value, and keeps the last valid one", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "config")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      const lines = (yield* program.stdout).split("\n")
      const of = (who: string) =>
        lines.filter((line) => line.startsWith(`${who}: `)).map((line) => line.slice(who.length + 2))
      assert.deepEqual(of("request"), ["no limits", "limit 100", "limit 200", "limit 200"])
      assert.deepEqual(of("server").slice(-2), ["200 requests per second", "stopped"])
      assert.match(lines.join("\n"), /"\/config\/limits" at revision 4 is not used: requestsPerSecond: Expected number/)
      assert.equal(yield* etcdctl(etcd, "get", "", "--from-key", "--keys-only"), "")
    }))

  it.live("examples/declared.ts registers and discovers what its file declares, until SIGTERM", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "declared")
      assert.equal(yield* program.awaitLine("orders: "), "orders: http://127.0.0.1:8080")
      assert.equal((yield* keys(etcd)).length, 1)
      yield* program.signal("SIGTERM")
      assert.deepEqual(yield* program.exit, terminated)
      assert.deepEqual(yield* keys(etcd), [])
    }))

  it.live("examples/singleton.ts migrates once, and its worker moves to the other process", () =>
    Effect.gen(function* () {
      const etcd = yield* startEtcd()
      const program = yield* start(etcd, "singleton")
      assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      assert.equal(
        printed(yield* program.stdout),
        "the schema is migrated\na leads and works\nthe schema is migrated already\nb leads and works\n"
      )
      assert.equal(yield* etcdctl(etcd, "get", "--prefix", "/example/", "--keys-only"), "")
    }))

  it.live("examples/register.ts reports an unreachable etcd and exits with 1", () =>
    Effect.gen(function* () {
      const program = yield* runProgram({
        file: new URL("../../examples/register.ts", import.meta.url),
        env: { ETCD_ENDPOINTS: "http://127.0.0.1:1" }
      })
      assert.deepEqual(yield* program.exit, { code: 1, signal: null })
      const said = (yield* program.lines).map(({ text }) => text).join("\n")
      assert.match(said, /StartupTimeout: cannot register .*ECONNREFUSED/)
    }))
})

import { Effect, Fiber, Latch, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { discover } from "../../src/registry/discover.ts"
import * as Registry from "../../src/registry/Registry.ts"
import { describe, live } from "../harness/it.ts"
import { eventually } from "../harness/real.ts"
import { memory, plain, ran, recording, terminal } from "./support.ts"

/** A namespace with two services: one instance drains, one key is no instance, one has no lease. */
const populated = Effect.gen(function* () {
  const world = yield* memory
  const { etcd } = world
  yield* etcd.leaseGrant({ id: 0x10n, ttl: 60 })
  yield* etcd.leaseGrant({ id: 0x20n, ttl: 60 })
  const put = (key: string, value: unknown, lease: bigint) =>
    etcd.put({ key, value: typeof value === "string" ? value : JSON.stringify(value), lease })
  yield* put("/services/orders/a", { endpoints: ["http://10.0.0.5:80"], zone: "z", version: "1.2" }, 0x10n)
  yield* put("/services/orders/b-long", { endpoints: ["http://b:80"], status: "draining", weight: 0.5 }, 0x10n)
  yield* put("/services/orders/broken", "10.0.0.1:80", 0x20n)
  yield* put("/services/payments/p", { endpoints: ["http://p:80"], metadata: { shard: 3 } }, 0x20n)
  yield* put("/services/payments/static", { endpoints: ["http://s:80"] }, 0n)
  return world
})

/** Runs a command line in the background, and ends it with the test. */
const started = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  options: Parameters<typeof recording>[1]
): Effect.fn.Return<ReturnType<typeof recording>, never, Scope.Scope> {
  const run = recording(args, options)
  const fiber = yield* Effect.forkScoped(run.effect)
  yield* Effect.addFinalizer(() => Fiber.interrupt(fiber))
  return run
})

/** Waits until a text has this many lines, and returns them parsed. */
const linesOf = (text: () => string, count: number) =>
  eventually(Effect.suspend(() => {
    const lines = text().split("\n").slice(0, -1)
    return lines.length >= count ? Effect.succeed(lines) : Effect.fail(`${lines.length} lines`)
  }))

const jsonOf = (text: string): unknown => JSON.parse(text)

describe("command line: looking", () => {
  live("services prints an aligned table, and JSON with --json", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      assert.deepEqual(yield* ran(["services"], { connect }), {
        exitCode: 0,
        stderr: "",
        stdout: "SERVICE   INSTANCES\norders    3\npayments  1\n"
      })
      assert.deepEqual(jsonOf((yield* ran(["services", "--json", "--prefix", "pay"], { connect })).stdout), {
        services: [{ name: "payments", instances: 1 }]
      })
    }))

  live("instances prints a table, and the rejected keys to standard error", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      const { stderr, ...rest } = yield* ran(["instances", "orders"], { connect })
      assert.deepEqual(rest, {
        exitCode: 0,
        stdout: "ID      STATUS    WEIGHT  VERSION  ZONE  ENDPOINTS\n" +
          "a       up        1       1.2      z     http://10.0.0.5:80\n" +
          "b-long  draining  0.5     -        -     http://b:80\n"
      })
      assert.equal(stderr, "rejected /services/orders/broken: the value is not JSON\n")
    }))

  live("instances prints complete instances with --json", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      const { exitCode, stderr, stdout } = yield* ran(["instances", "payments", "--json"], { connect })
      assert.deepEqual([exitCode, stderr], [0, ""])
      const { rejected, ...rest } = JSON.parse(stdout)
      assert.deepEqual(rest, {
        service: "payments",
        revision: "6",
        freshness: { state: "live" },
        instances: [{
          id: "p",
          name: "payments",
          metadata: { shard: "3" },
          endpoints: ["http://p:80"],
          weight: 1,
          status: "up"
        }]
      })
      assert.deepEqual(rejected.map(({ key }: { readonly key: string }) => key), ["/services/payments/static"])
    }))

  live("instances of an unknown service exits with 3 and prints a remedy", () =>
    Effect.gen(function* () {
      const { connect } = yield* memory
      assert.deepEqual(yield* ran(["instances", "nothing"], { connect }), {
        exitCode: 3,
        stdout: "",
        stderr: 'etcd-discovery: service "nothing" has no keys. ' +
          "Run etcd-discovery services to list the services, and check --namespace.\n"
      })
    }))

  live("instance shows value, lease and revisions", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      const { exitCode, stdout } = yield* ran(["instance", "orders", "b-long"], { connect })
      assert.equal(exitCode, 0)
      assert.equal(
        stdout.replace(/\d+ s left/, "N s left"),
        "key        /services/orders/b-long\n" +
          "status     draining\n" +
          "weight     0.5\n" +
          "endpoints  http://b:80\n" +
          "version    -\n" +
          "zone       -\n" +
          "metadata   {}\n" +
          "lease      10, N s left of 60 s\n" +
          "created    at revision 3\n" +
          "written    at revision 3, write number 1\n" +
          'value      {"endpoints":["http://b:80"],"status":"draining","weight":0.5}\n'
      )
    }))

  live("instance prints why consumers reject a key, also as JSON", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      const { stdout } = yield* ran(["instance", "payments", "static"], { connect })
      assert.match(stdout, /^rejected {2}the key has no lease, so nothing would remove it$/m)
      assert.match(stdout, /^lease {5}none; the key stays until it is deleted$/m)
      const { lease, rejected } = JSON.parse(
        (yield* ran(["instance", "orders", "broken", "--json"], { connect })).stdout
      )
      assert.deepEqual([lease.id, lease.ttl, rejected], ["20", 60, "the value is not JSON"])
      assert.equal((yield* ran(["instance", "orders", "nobody"], { connect })).exitCode, 3)
    }))

  live("leases lists leases with their keys, and with --all also leases without keys", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* populated
      yield* etcd.leaseGrant({ id: 0x30n, ttl: 60 })
      const { stdout } = yield* ran(["leases"], { connect })
      assert.equal(
        stdout.replaceAll(/\d+ s {2}\//g, "N s  /"),
        "LEASE  TTL   LEFT  KEYS\n" +
          "10     60 s  N s  /services/orders/a /services/orders/b-long\n" +
          "20     60 s  N s  /services/orders/broken /services/payments/p\n"
      )
      const { leases } = JSON.parse((yield* ran(["leases", "--all", "--json"], { connect })).stdout)
      assert.deepEqual(leases.map(({ id, ttl }: Record<string, unknown>) => [id, ttl]), [["10", 60], ["20", 60], [
        "30",
        60
      ]])
    }))

  live(
    "watch prints a JSON line with the complete set after each change when it is piped",
    () =>
      Effect.gen(function* () {
        const { connect, etcd } = yield* populated
        const { stdout } = yield* started(["watch", "orders"], { connect })
        yield* linesOf(stdout, 1)
        yield* etcd.deleteRange({ key: "/services/orders/a" })
        const [first = "", second = ""] = yield* linesOf(stdout, 2)
        const ids = (line: string) => JSON.parse(line).instances.map(({ id }: { readonly id: string }) => id)
        assert.deepEqual([ids(first), ids(second)], [["a", "b-long"], ["b-long"]])
      })
  )

  live("watch waits for a slow reader, then prints the newest set (D5)", () =>
    Effect.gen(function* () {
      const { connect, etcd, registry } = yield* populated
      const gate = yield* Latch.make()
      const { stdout } = yield* started(["watch", "orders"], { connect, screen: { ...plain, flushed: gate.await } })
      yield* linesOf(stdout, 1)
      const put = (weight: number) =>
        etcd.put({ key: "/services/orders/a", value: `{"endpoints":["http://a"],"weight":${weight}}`, lease: 0x10n })
      yield* Effect.forEach(Array.from({ length: 100 }, (_, weight) => weight), put)
      const { header: { revision } } = yield* etcd.range({ key: "/x" })
      // A consumer of the same watch has the newest set, so the reader has skipped the sets in between.
      yield* discover("orders").pipe(
        Stream.takeUntil((set) => set.revision === revision),
        Stream.runDrain,
        Effect.provideService(Registry.Registry, registry)
      )
      yield* gate.open
      const lines = yield* eventually(Effect.suspend(() => {
        const lines = stdout().split("\n").slice(0, -1)
        return JSON.parse(lines.at(-1) ?? "{}").revision === String(revision) ?
          Effect.succeed(lines) :
          Effect.fail(lines)
      }))
      assert.ok(lines.length <= 3, `${lines.length} lines`)
    }))

  live("watch of all services prints only changed services, and one that ends", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* populated
      const { stdout } = yield* started(["watch"], { connect })
      yield* linesOf(stdout, 2)
      yield* etcd.deleteRange({ key: "/services/payments/", rangeEnd: "/services/payments0" })
      const lines = yield* linesOf(stdout, 3)
      assert.deepEqual(
        lines.map((line) => [JSON.parse(line).service, JSON.parse(line).instances.length]),
        [["orders", 2], ["payments", 1], ["payments", 0]]
      )
    }))

  live("watch draws a table in place on a terminal, cut to its size", () =>
    Effect.gen(function* () {
      const { connect } = yield* populated
      const frameOf = Effect.fnUntraced(function* (rows: number) {
        const screen = { ...terminal, columns: () => 40, rows: () => rows }
        const { stdout } = yield* started(["watch"], { connect, screen })
        yield* eventually(
          Effect.suspend(() => stdout().endsWith("\u001b[J\n") ? Effect.void : Effect.fail("no frame"))
        )
        const frame = stdout().split("\u001b[H")[1] ?? ""
        // deno-lint-ignore no-control-regex -- a terminal's own sequences
        return frame.replaceAll(/\u001b\[[\d;]*[A-Za-z]/g, "").split("\n").slice(0, rows - 1)
      })
      assert.deepEqual(yield* frameOf(6), [
        "all services  revision 6",
        "SERVICE   ID                         ST…",
        "orders    a                          up …",
        "orders    b-long                     dr…",
        "… 3 more"
      ])
      assert.equal((yield* frameOf(4)).at(-1), "… 5 more")
    }))

  live("changes prints what happened to each instance, as JSON lines when it is piped", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* populated
      const piped = yield* started(["changes", "orders", "--initial"], { connect })
      const shown = yield* started(["changes", "--initial"], { connect, screen: { ...terminal, hasColour: false } })
      yield* linesOf(piped.stdout, 2)
      yield* linesOf(shown.stdout, 3)
      const value = JSON.stringify({ endpoints: ["http://10.0.0.5:80"], zone: "z", version: "1.2", status: "down" })
      yield* etcd.put({ key: "/services/orders/a", value, lease: 0x10n })
      yield* linesOf(piped.stdout, 3)
      yield* etcd.deleteRange({ key: "/services/orders/a" })
      const lines = (yield* linesOf(piped.stdout, 4)).map((line) => JSON.parse(line))
      assert.deepEqual(
        lines.map(({ change, instance, previous }) => [change, instance.id, instance.status, previous?.status]),
        [
          ["added", "a", "up", undefined],
          ["added", "b-long", "draining", undefined],
          ["updated", "a", "down", "up"],
          ["removed", "a", "down", undefined]
        ]
      )
      const text = (yield* linesOf(shown.stdout, 5)).map((line) => line.replace(/^\d\d:\d\d:\d\d/, "TIME"))
      assert.deepEqual(text.slice(3), [
        'TIME  7  ~ orders/a  status "up" → "down"',
        "TIME  8  - orders/a  down http://10.0.0.5:80"
      ])
    }))
})

describe("command line: untrusted text", () => {
  const evil = "\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\r\n"

  live("no command prints a control character from etcd", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      const { id } = yield* etcd.leaseGrant({ ttl: 60 })
      const value = JSON.stringify({
        endpoints: [`http://x/${evil}`],
        zone: evil,
        version: evil,
        metadata: { [evil]: evil }
      })
      yield* etcd.put({ key: "/services/orders/a", value, lease: id })
      yield* etcd.put({ key: `/services/orders/b${evil}`, value: evil, lease: id })
      yield* etcd.put({ key: `/services/x${evil}/a`, value, lease: id })
      const screens = [{ ...terminal, hasColour: false }, undefined]
      for (const screen of screens) {
        for (const json of [[], ["--json"]]) {
          for (
            const args of [["services"], ["instances", "orders"], ["instance", "orders", "a"], ["leases"], ["kv", "ls"]]
          ) {
            const { exitCode, stderr, stdout } = yield* ran([...args, ...json], {
              connect,
              ...(screen === undefined ? {} : { screen })
            })
            assert.equal(exitCode, 0, args.join(" "))
            // deno-lint-ignore no-control-regex -- these must not occur
            assert.doesNotMatch(stdout + stderr, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, args.join(" "))
            if (json.length > 0) assert.doesNotThrow(() => JSON.parse(stdout))
          }
        }
      }
      const missing = yield* ran(["instances", "no\u001b[31mthing"], { connect })
      assert.equal(missing.exitCode, 2)
      assert.ok(!missing.stderr.includes("\u001b"))
    }))

  live(
    "watch, changes and kv get write no control character from etcd to a terminal",
    () =>
      Effect.gen(function* () {
        const { connect, etcd } = yield* memory
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        const value = JSON.stringify({ endpoints: [`http://x/${evil}`], zone: evil, metadata: { [evil]: evil } })
        yield* etcd.put({ key: "/services/orders/a", value, lease: id })
        yield* etcd.put({ key: `/services/orders/b${evil}`, value: evil, lease: id })
        yield* etcd.put({ key: "/x", value: `first line\n${evil}` })
        const screen = { ...terminal, hasColour: false, columns: () => 1000 }
        for (
          const args of [
            ["watch", "orders"],
            ["watch"],
            ["changes", "--initial"],
            ["kv", "watch", "/services/", "--prefix"],
            ["kv", "get", "/x"],
            ["doctor"]
          ]
        ) {
          const { stderr, stdout } = yield* started(args, { connect, screen })
          yield* eventually(Effect.suspend(() => stdout().length > 10 ? Effect.void : Effect.fail("nothing printed")))
          // The sequences of `watch` itself: to the top, erase the line, erase below, erase all.
          // deno-lint-ignore no-control-regex -- a terminal's own sequences
          const text = (stdout() + stderr()).replaceAll(/\u001b\[(?:H|K|J|2J)/g, "")
          // deno-lint-ignore no-control-regex -- these must not occur
          assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/, args.join(" "))
        }
      })
  )
})

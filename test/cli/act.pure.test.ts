import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { describe, live } from "../harness/it.ts"
import { eventually } from "../harness/real.ts"
import { memory, ran, recording } from "./support.ts"

/** A world with one registered instance of orders. */
const registered = Effect.gen(function* () {
  const world = yield* memory
  const registration = yield* registerService("orders", {
    id: "a",
    endpoints: ["http://10.0.0.5:8080"],
    metadata: { shard: "3" }
  }).pipe(Effect.provideService(Registry.Registry, world.registry))
  return { ...world, registration }
})

describe("command line: acting", () => {
  live(
    "drain, weight and undrain change a running instance and print the reaction of its owner (R12)",
    () =>
      Effect.gen(function* () {
        const { connect, registration } = yield* registered
        assert.deepEqual(yield* ran(["drain", "orders", "a"], { connect }), {
          exitCode: 0,
          stderr: "",
          stdout: "/services/orders/a: status up → draining at revision 3; the owner keeps it\n"
        })
        assert.equal(registration.instance.status, "draining")
        const { lease: _, ...weighed } = JSON.parse(
          (yield* ran(["weight", "orders", "a", "0.5", "--json"], { connect })).stdout
        )
        assert.deepEqual(weighed, {
          key: "/services/orders/a",
          revision: "4",
          changed: true,
          before: { status: "draining", weight: 1 },
          after: { status: "draining", weight: 0.5 },
          outcome: "kept"
        })
        assert.equal(
          (yield* ran(["undrain", "orders", "a"], { connect })).stdout,
          "/services/orders/a: status draining → up at revision 5; the owner keeps it\n"
        )
        assert.equal(
          (yield* ran(["undrain", "orders", "a"], { connect })).stdout,
          "/services/orders/a is already up with weight 0.5\n"
        )
        assert.deepEqual(registration.instance.metadata, { shard: "3" })
      })
  )

  live(
    "drain exits with 3 for a missing instance and with 2 for a format without a status",
    () =>
      Effect.gen(function* () {
        const { connect } = yield* memory
        assert.deepEqual(yield* ran(["drain", "orders", "a"], { connect }), {
          exitCode: 3,
          stdout: "",
          stderr: 'etcd-discovery: there is no instance at "/services/orders/a". ' +
            "Check the service, the id and the namespace.\n"
        })
        assert.deepEqual(yield* ran(["drain", "orders", "10.0.0.1:80", "--format", "kitex"], { connect }), {
          exitCode: 2,
          stdout: "",
          stderr: 'etcd-discovery: status is "draining"; the format of this service has no status; ' +
            "set its weight instead\n"
        })
        assert.equal((yield* ran(["weight", "orders", "a", "--", "-1"], { connect })).exitCode, 2)
      })
  )

  live("drain exits with 6 when the owner writes the old value back", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      const { id } = yield* etcd.leaseGrant({ ttl: 60 })
      const put = etcd.put({ key: "/services/orders/a", value: '{"endpoints":["http://a:80"]}', lease: id })
      yield* put
      const running = yield* Effect.forkChild(ran(["drain", "orders", "a"], { connect }))
      yield* eventually(Effect.flatMap(
        etcd.range({ key: "/services/orders/a" }),
        ({ kvs: [kv] }): Effect.Effect<unknown, unknown> =>
          kv !== undefined && kv.version > 1n ? put : Effect.fail("not drained")
      ))
      const { exitCode, stderr, stdout } = yield* Fiber.join(running)
      assert.equal(exitCode, 6)
      assert.match(stdout, /the owner wrote the old value back/)
      assert.match(stderr, /its owner does not adopt edits/)
    }))

  live("deregister deletes a key without a lease and refuses one with an owner", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* registered
      yield* etcd.put({ key: "/services/orders/static", value: "x" })
      assert.match(
        (yield* ran(["deregister", "orders", "static"], { connect })).stdout,
        /^deleted \/services\/orders\/static at/
      )
      const refused = yield* ran(["deregister", "orders", "a"], { connect })
      assert.equal(refused.exitCode, 6)
      assert.match(refused.stderr, /would register it again\. Stop that process, or drain the instance\.\n$/)
    }))

  live("register keeps an instance until it is interrupted", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      const run = recording(
        ["register", "orders", "--endpoint", "http://10.0.0.5:80", "--id", "a", "--metadata", "shard=3", "--json"],
        { connect }
      )
      const fiber = yield* Effect.forkChild(run.effect)
      const { instance, key } = JSON.parse(
        yield* eventually(
          Effect.suspend(() => run.stdout() === "" ? Effect.fail("nothing") : Effect.succeed(run.stdout()))
        )
      )
      assert.deepEqual([key, instance.metadata, instance.endpoints], [
        "/services/orders/a",
        { shard: "3" },
        ["http://10.0.0.5:80"]
      ])
      assert.equal((yield* etcd.range({ key })).kvs.length, 1)
      yield* Fiber.interrupt(fiber)
      assert.equal((yield* etcd.range({ key })).kvs.length, 0)
    }))

  live("register exits with 2 for an invalid option and with 6 for an id that is taken", () =>
    Effect.gen(function* () {
      const { connect } = yield* registered
      const invalid = yield* ran(["register", "orders", "--endpoint", "http://x:1", "--ttl", "1 second"], { connect })
      assert.equal(invalid.exitCode, 2)
      assert.match(invalid.stderr, /^etcd-discovery: ttl is "1 second"; it must be a .*duration of at least 2 s/)
      const taken = yield* ran(
        ["register", "orders", "--endpoint", "http://x:1", "--id", "a", "--claim", "exclusive"],
        { connect }
      )
      assert.equal(taken.exitCode, 6)
      assert.match(taken.stderr, /it is held by "http:\/\/10\.0\.0\.5:8080" under lease/)
    }))

  live("kv reads, writes, lists and deletes raw keys", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      const run = (...args: ReadonlyArray<string>) => ran(["kv", ...args], { connect })
      assert.equal((yield* run("put", "/a/1", "one")).stdout, "wrote /a/1 at revision 2\n")
      assert.equal((yield* run("get", "/a/1")).stdout, "one\n")
      assert.deepEqual(JSON.parse((yield* run("get", "/a/1", "--json")).stdout), {
        key: "/a/1",
        value: "one",
        revision: "2",
        createRevision: "2",
        version: "1",
        lease: null
      })
      assert.equal((yield* run("put", "/a/1", "two", "--if-revision", "2")).exitCode, 0)
      assert.deepEqual(yield* run("put", "/a/1", "three", "--if-revision", "2"), {
        exitCode: 6,
        stdout: "",
        stderr:
          'etcd-discovery: cannot put "/a/1": it was last written at revision 3. Read the key again before writing.\n'
      })
      yield* etcd.put({ key: "/a/2", value: new Uint8Array([0xff]) })
      assert.equal(
        (yield* run("ls", "/a/")).stdout,
        "KEY   REVISION  LEASE  BYTES\n/a/1  3         -      3\n/a/2  4         -      1\n"
      )
      assert.equal(JSON.parse((yield* run("get", "/a/2", "--json")).stdout).base64, "/w==")
      assert.equal((yield* run("del", "/a/1")).stdout, "deleted 1 key\n")
      assert.equal((yield* run("del", "/a/", "--prefix")).stdout, "deleted 1 key\n")
      assert.equal((yield* run("del", "/a/", "--prefix")).exitCode, 3)
      assert.equal((yield* run("get", "/a/1")).exitCode, 3)
    }))

  live("kv watch prints the state and then each change", () =>
    Effect.gen(function* () {
      const { connect, etcd } = yield* memory
      yield* etcd.put({ key: "/a/1", value: "one" })
      const run = recording(["kv", "watch", "/a/", "--prefix"], { connect })
      const fiber = yield* Effect.forkChild(run.effect)
      const events = (count: number) =>
        eventually(Effect.suspend(() => {
          const lines = run.stdout().split("\n").slice(0, -1)
          return lines.length >= count ?
            Effect.succeed(lines.map((line) => JSON.parse(line))) :
            Effect.fail(lines.length)
        }))
      yield* events(1)
      yield* etcd.put({ key: "/a/2", value: "two" })
      yield* etcd.deleteRange({ key: "/a/1" })
      const [listed, put, deleted] = yield* events(3)
      assert.deepEqual(
        [listed.event, listed.entries.length, put.event, put.value, deleted.event, deleted.key],
        ["listed", 1, "put", "two", "deleted", "/a/1"]
      )
      yield* Fiber.interrupt(fiber)
    }))
})

describe("command line: trying out", () => {
  live("the flag --memory works without etcd", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* ran(["--memory", "services", "--json"]), {
        exitCode: 0,
        stdout: '{"services":[]}\n',
        stderr: ""
      })
      assert.deepEqual(yield* ran(["--memory", "doctor"]), { exitCode: 0, stdout: "no problems found\n", stderr: "" })
    }))
})

describe("command line: usage", () => {
  live(
    "an invalid command line prints one sentence that refers to --help, and exits with 2",
    () =>
      Effect.gen(function* () {
        for (
          const [args, message] of [
            [
              ["instancs"],
              /^etcd-discovery: Unknown subcommand "instancs".*instances.* See etcd-discovery --help\.\n$/
            ],
            [
              ["instances"],
              /^etcd-discovery: Missing required argument: service\. See etcd-discovery instances --help\.\n$/
            ],
            [
              ["instances", "a", "--jsn"],
              /^etcd-discovery: Unrecognized flag: --jsn.* See etcd-discovery instances --help\.\n$/
            ],
            [["services", "--namespace", "//"], /^etcd-discovery: --namespace is "\/\/"; it must be segments/],
            [["services", "--endpoints", "ftp://x"], /^etcd-discovery: endpoints is "ftp:\/\/x"; each must be http/],
            [
              ["services", "--password-file", "/nowhere"],
              /^etcd-discovery: cannot read the password from "\/nowhere": /
            ]
          ] as const
        ) {
          const { exitCode, stderr, stdout } = yield* ran(args)
          assert.deepEqual([exitCode, stdout], [2, ""], args.join(" "))
          assert.match(stderr, message)
          assert.equal(stderr.trimEnd().split("\n").length, 1, stderr)
        }
      })
  )

  live("every command has a description and an example in its help", () =>
    Effect.gen(function* () {
      const { stdout } = yield* ran(["--help"])
      const names = Array.from(
        stdout.slice(stdout.indexOf("SUBCOMMANDS")).matchAll(/^ {2}([a-z-]+) {2,}\S/gm),
        ([, name = ""]) => name
      )
      assert.ok(names.length >= 14, names.join())
      for (const name of names) {
        const help = (yield* ran([name, "--help"])).stdout
        if (help.includes("SUBCOMMANDS")) continue
        assert.match(help, /^EXAMPLES\n {2}# \S.*\n {2}.*\betcd-discovery /m, name)
      }
      assert.equal((yield* ran(["--version"])).stdout, "etcd-discovery v0.1.0\n")
    }))
})

import { Effect, Option } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { freePort } from "../harness/real.ts"
import { ran } from "./support.ts"

/** A file with a password. */
const passwordFile = (password: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "cli-password-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    ),
    (folder) => {
      const file = join(folder, "password")
      writeFileSync(file, `${password}\n`)
      return file
    }
  )

/** Commands that read, write, follow and wait. */
const commands: ReadonlyArray<ReadonlyArray<string>> = [
  ["services"],
  ["instances", "orders"],
  ["instance", "orders", "a"],
  ["watch"],
  ["changes", "orders"],
  ["leases"],
  ["drain", "orders", "a"],
  ["deregister", "orders", "a"],
  ["register", "orders", "--endpoint", "http://10.0.0.1:80"],
  ["lock", "/services/lock", "--", "true"],
  ["elect", "/services/election", "--", "true"],
  ["kv", "get", "/services/x"],
  ["kv", "put", "/services/x", "1"],
  ["kv", "watch", "/services/x"]
]

const isOneSentence = (stderr: string, what: string): void => {
  assert.equal(stderr.trimEnd().split("\n").length, 1, `${what}: ${stderr}`)
  assert.doesNotMatch(stderr, /\n\s+at |Error:|\[object/, what)
}

describe("command line: failures of etcd", () => {
  live("every command prints one sentence and exits with 4 if etcd does not answer", () =>
    Effect.gen(function* () {
      const endpoint = `http://127.0.0.1:${yield* freePort}`
      yield* Effect.forEach(commands, (args) =>
        Effect.gen(function* () {
          const what = args.join(" ")
          const { exitCode, stderr, stdout } = yield* ran(["--endpoints", endpoint, ...args])
          assert.deepEqual([exitCode, stdout], [4, ""], what)
          isOneSentence(stderr, what)
          assert.ok(
            stderr.startsWith(`etcd-discovery: cannot reach etcd at ${endpoint}: connect ECONNREFUSED`) &&
              stderr.endsWith("Check that etcd runs there, and check --endpoints (or ETCD_ENDPOINTS).\n"),
            stderr
          )
        }), { concurrency: "unbounded", discard: true })
    }))

  live(
    "a command prints one sentence and exits with 5 without a user, a valid password or a permission",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        for (
          const command of [
            "user add root:root",
            "user grant-role root root",
            "role add orders",
            "role grant-permission orders read /services/orders/ --prefix=true",
            "user add alice:s3cret",
            "user grant-role alice orders",
            "auth enable"
          ]
        ) yield* etcdctl(server, ...command.split(" "))
        const right = yield* passwordFile("s3cret")
        const wrong = yield* passwordFile("wr0ng")
        const as = (password: string, ...args: ReadonlyArray<string>) =>
          ran(["--endpoints", server.endpoint, "--user", "alice", "--password-file", password, ...args])

        const missing = yield* ran(["--endpoints", server.endpoint, "services"])
        assert.deepEqual(missing, {
          exitCode: 5,
          stdout: "",
          stderr: `etcd-discovery: etcd at ${server.endpoint} requires a user. ` +
            "Set --user and --password-file (or ETCD_USERNAME and ETCD_PASSWORD).\n"
        })
        yield* Effect.forEach(commands, (args) =>
          Effect.gen(function* () {
            const what = args.join(" ")
            const refused = yield* as(wrong, ...args)
            assert.deepEqual([refused.exitCode, refused.stdout], [5, ""], `${what}: ${refused.stderr}`)
            isOneSentence(refused.stderr, what)
            assert.match(refused.stderr, /rejected the user or the password\. Check --user and --password-file/)
            assert.doesNotMatch(refused.stderr, /wr0ng/)
          }), { concurrency: 4, discard: true })
        for (const args of [["services"], ["watch"], ["kv", "put", "/services/orders/a", "1"]]) {
          const denied = yield* as(right, ...args)
          assert.deepEqual([denied.exitCode, denied.stdout], [5, ""], args.join(" "))
          isOneSentence(denied.stderr, args.join(" "))
          assert.match(
            denied.stderr,
            /^etcd-discovery: etcd does not permit (range|put|txn).* Grant one of this user/
          )
        }
        // What the role covers works, and root's `Status` is not needed.
        yield* etcdctl(server, "--user", "root:root", "put", "/services/orders/a", '{"endpoints":["http://a:80"]}')
        assert.equal((yield* as(right, "instances", "orders")).exitCode, 0)
        const doctor = yield* as(right, "doctor", "--json")
        const { findings, skipped } = JSON.parse(doctor.stdout)
        assert.equal(doctor.exitCode, 7)
        assert.deepEqual(
          findings.map(({ check, severity }: Record<string, unknown>) => [check, severity]),
          [["password-unencrypted", "warning"], ["namespace-denied", "problem"]]
        )
        // Older etcds permit every user to read the status of a member.
        const status = yield* Effect.option(etcdctl(server, "--user", "alice:s3cret", "endpoint", "status"))
        assert.deepEqual(
          skipped.map(({ checks }: Record<string, unknown>) => checks),
          Option.isSome(status) ? [] : [["no-leader", "quota", "fragmentation", "versions-differ"]]
        )
      })
  )
})

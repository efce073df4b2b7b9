import { Effect } from "effect"
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { onPath, root } from "../../tools/runtimes.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { eventually, freePort, get } from "../harness/real.ts"
import { binariesOf } from "../harness/versions.ts"

const units = join(root, "examples", "deploy", "systemd")

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "deploy-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const [analyze] = onPath("systemd-analyze")

/** The commands of the section on roles, with the words that a shell makes of them. */
const roleCommands = (password: string): ReadonlyArray<ReadonlyArray<string>> => {
  const section = readFileSync(join(root, "docs/guide/operators.md"), "utf8").split("## Least privileges")[1] ?? ""
  const block = /```sh\n([^]*?)```/.exec(section)?.[1] ?? ""
  return block.trim().split("\n").map((line) => {
    const [program, ...words] = line.split(" ")
    assert.equal(program, "etcdctl")
    return words.map((word) => word.replaceAll(`"$PASSWORD"`, password))
  })
}

describe("examples/deploy on this machine", () => {
  live(
    "systemd accepts the units and reports them as confined",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporary
        const files = readdirSync(units).map((name) => {
          const text = readFileSync(join(units, name), "utf8")
          // What the units start is not on this machine.
          writeFileSync(join(folder, name), text.replace(/^ExecStart=\S+/m, "ExecStart=/bin/true"))
          return join(folder, name)
        })
        assert.ok(files.length >= 3)
        const run = (...args: ReadonlyArray<string>) =>
          execFileSync(analyze ?? "", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
        assert.equal(run("verify", ...files), "")
        // 100 is a unit without any restriction.
        for (const file of files) run("security", "--offline=true", "--threshold=60", "--no-pager", file)
      }),
    { skip: analyze === undefined && "there is no systemd-analyze on this machine" }
  )

  live(
    "examples/deploy/orders.ts registers with least privileges, keeps its key while the password rotates, and leaves on SIGTERM",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const folder = yield* temporary
        const passwordFile = join(folder, "password")
        writeFileSync(passwordFile, "one\n")
        const etcdctl = (args: ReadonlyArray<string>, input = "") =>
          execFileSync(binariesOf(etcd.version).etcdctl, [`--endpoints=${etcd.endpoint}`, ...args], {
            encoding: "utf8",
            input,
            env: { PATH: process.env["PATH"], ETCDCTL_API: "3" }
          })
        const asRoot = (...args: ReadonlyArray<string>) => etcdctl(["--user=root:root", ...args])
        etcdctl(["user", "add", "root:root"])
        etcdctl(["user", "grant-role", "root", "root"])
        for (const words of roleCommands("one")) etcdctl(words)
        etcdctl(["auth", "enable"])

        const monitoringPort = yield* freePort
        const program = yield* runProgram({
          file: join(root, "examples", "deploy", "orders.ts"),
          env: {
            ETCD_ENDPOINTS: etcd.endpoint,
            ETCD_USERNAME: "orders",
            ETCD_PASSWORD_FILE: passwordFile,
            POD_IP: "10.1.2.3",
            PORT: String(yield* freePort),
            MONITORING_PORT: String(monitoringPort)
          }
        })
        const base = `http://127.0.0.1:${monitoringPort}`
        yield* eventually(get(`${base}/readyz`))
        const targets = JSON.parse(yield* get(`${base}/sd/prometheus`))
        assert.match(targets[0].targets[0], /^10\.1\.2\.3:\d+$/)
        const number = (name: string) =>
          Effect.map(get(`${base}/metrics`), (text) => Number(new RegExp(`^${name}\\S* (\\S+)$`, "m").exec(text)?.[1]))
        const heartbeats = number("etcd_discovery_heartbeats_total")

        writeFileSync(passwordFile, "two\n")
        etcdctl(["--user=root:root", "user", "passwd", "orders", "--interactive=false"], "two")
        const before = yield* heartbeats
        // Heartbeats go on: the process has authenticated with the new password.
        yield* eventually(
          Effect.flatMap(heartbeats, (count) => count >= before + 2 ? Effect.void : Effect.fail(new Error(`${count}`))),
          { every: 200 }
        )
        assert.equal(yield* number("etcd_discovery_registrations_lost_total"), 0)
        yield* get(`${base}/readyz`)

        yield* program.signal("SIGTERM")
        // It drains: not ready any more, and alive.
        yield* eventually(Effect.flip(get(`${base}/readyz`)))
        assert.equal(yield* get(`${base}/livez`), "live\n")
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
        assert.equal(asRoot("get", "--prefix", "/services/", "--keys-only"), "")
      })
  )
})

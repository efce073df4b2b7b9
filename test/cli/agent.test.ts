// `etcd-discovery agent` on the embedded engine.
import { Effect, Fiber, Option, Stream } from "effect"
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { discoverAll, Registry } from "../../mod.ts"
import { describe, live } from "../harness/it.ts"
import { eventually } from "../harness/real.ts"
import { keysIn, leasesIn } from "../harness/virtual.ts"
import { memory, ran, recording } from "./support.ts"

const setup = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "agent-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const there = yield* memory
  const file = (text: string) => {
    writeFileSync(join(folder, "services.yaml"), text)
    return join(folder, "services.yaml")
  }
  return { ...there, file, folder }
})

const services = `
services:
  - name: orders
    id: a
    endpoints: ["http://0.0.0.0:8080"]
    health: { cmd: "test -e FLAG", interval: 20 millis, threshold: 1 }
  - name: payments
    id: b
    endpoints: ["http://10.0.0.5:8081"]
    zone: eu-1
`

describe("command line: agent", () => {
  live(
    "agent registers all services of a file on one lease, with health, and removes them at the end (R11, R13)",
    () =>
      Effect.gen(function* () {
        const { connect, etcd, file, folder, registry } = yield* setup
        const flag = join(folder, "flag")
        const { effect, stderr } = recording(
          ["agent", file(services.replace("FLAG", flag)), "--advertise", "10.0.0.9"],
          { connect }
        )
        const fiber = yield* Effect.forkScoped(effect, { startImmediately: true })
        const awaitStatus = (status: string) =>
          discoverAll().pipe(
            Stream.filter((catalog) =>
              Option.exists(
                catalog.get("orders"),
                (set) => Option.exists(set.get("a"), (instance) => instance.status === status)
              )
            ),
            Stream.runHead,
            Effect.provideService(Registry.Registry, registry)
          )
        yield* awaitStatus("starting")
        yield* eventually(
          Effect.suspend(() =>
            stderr().includes("registered /services/orders/a, /services/payments/b") ?
              Effect.void :
              Effect.fail(stderr())
          )
        )
        writeFileSync(flag, "")
        const catalog = Option.getOrThrow(yield* awaitStatus("up"))
        rmSync(flag)
        yield* awaitStatus("down")
        const sets = ["orders", "payments"].map((name) => Option.getOrThrow(catalog.get(name)))
        assert.deepEqual(
          sets.flatMap((set) => set.instances.map(({ endpoints, zone }) => [endpoints.join(), zone])),
          [
            ["http://10.0.0.9:8080", undefined],
            ["http://10.0.0.5:8081", "eu-1"]
          ]
        )
        const leases = Object.values(yield* keysIn(etcd))
        assert.equal(leases.length, 2)
        assert.equal(new Set(leases).size, 1)
        yield* Fiber.interrupt(fiber)
        assert.deepEqual([yield* keysIn(etcd), yield* leasesIn(etcd)], [{}, []])
      })
  )

  live("agent uses own leases with --lease own or with lease in the file", () =>
    Effect.gen(function* () {
      const { connect, etcd, file } = yield* setup
      const text = "services:\n" +
        ["a", "b"].map((id) => `  - { name: orders, id: ${id}, endpoints: ["http://10.0.0.5:1"] }\n`).join("")
      const { effect, stderr } = recording(["agent", file(text), "--lease", "own"], { connect })
      yield* Effect.forkScoped(effect, { startImmediately: true })
      yield* eventually(Effect.suspend(() => stderr() === "" ? Effect.fail("not yet") : Effect.void))
      assert.equal(new Set(Object.values(yield* keysIn(etcd))).size, 2)
    }))

  live("agent reports every problem of the file with 2 and registers nothing", () =>
    Effect.gen(function* () {
      const { connect, etcd, file } = yield* setup
      const path = file("services:\n  - name: orders\n    endpoint: x\n    health: { http: ftp://a }\n")
      const { exitCode, stderr } = yield* ran(["agent", path], { connect })
      assert.equal(exitCode, 2)
      const problem =
        "services[0].health.http: it must be a URL such as http://127.0.0.1:8080/health, without credentials"
      for (const text of ["3 problems; ", `${path}:3:5 services[0].endpoint: there is no such setting`, problem]) {
        assert.ok(stderr.includes(text), stderr)
      }
      assert.deepEqual(yield* keysIn(etcd), {})
    }))
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import * as http from "node:http"
import { Auth } from "../../src/admin/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { greet } from "../../src/cli/doctor/greet.ts"
import { makeAuthority } from "../etcd/grpc/certificates.ts"
import { etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { attempt, eventually, freePort } from "../harness/real.ts"
import { ran } from "./support.ts"

interface Found {
  readonly check: string
  readonly severity: string
  readonly subject: string
  readonly message: string
  readonly remedy: string
}

/** What `doctor` finds. */
const doctor = Effect.fnUntraced(function* (endpoints: string, ...flags: ReadonlyArray<string>) {
  const { exitCode, stderr, stdout } = yield* ran(["--endpoints", endpoints, "doctor", "--json", ...flags])
  assert.equal(stderr, "")
  const { findings, skipped }: { readonly findings: ReadonlyArray<Found>; readonly skipped: ReadonlyArray<unknown> } =
    JSON.parse(stdout)
  assert.equal(exitCode, findings.some(({ severity }) => severity === "problem") ? 7 : 0)
  for (const { message, remedy } of findings) assert.ok(message !== "" && remedy.endsWith("."), remedy)
  return { checks: findings.map(({ check, subject }) => `${check} ${subject}`), findings, skipped }
})

const instance = (members: object = {}) => JSON.stringify({ endpoints: ["http://10.0.0.1:80"], ...members })

describe("command line: doctor", () => {
  live("doctor reports nothing on a healthy etcd, and each planted fault of its keys", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      yield* etcd.leaseGrant({ id: 0x10n, ttl: 600 })
      yield* etcd.put({ key: "/services/orders/a", value: instance(), lease: 0x10n })
      assert.deepEqual(yield* doctor(server.endpoint), { checks: [], findings: [], skipped: [] })
      assert.equal((yield* ran(["--endpoints", server.endpoint, "doctor"])).stdout, "no problems found\n")

      yield* etcd.put({ key: "/services/orders/broken", value: "10.0.0.1:80", lease: 0x10n })
      yield* etcd.put({ key: "/services/orders/static", value: instance() })
      yield* etcd.put({ key: "/services/stray", value: "x", lease: 0x10n })
      yield* etcd.put({ key: "/services/payments/p", value: instance({ status: "down" }), lease: 0x10n })
      assert.deepEqual((yield* doctor(server.endpoint)).checks, [
        "value-invalid /services/orders/broken",
        "key-without-lease /services/orders/static",
        "key-foreign /services/stray",
        "service-unavailable payments"
      ])
    }))

  live(
    "doctor reports an endpoint that does not answer, a member that has not started, and a missing leader",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const other = yield* startEtcd()
        const dead = `http://127.0.0.1:${yield* freePort}`
        assert.deepEqual((yield* doctor(`${server.endpoint},${dead}`)).checks, [`endpoint-unreachable ${dead}`])
        assert.deepEqual((yield* doctor(`${server.endpoint},${other.endpoint}`)).checks, [
          `clusters-differ ${server.endpoint} ${other.endpoint}`
        ])
        // A cluster of one that waits for its second member has no majority.
        yield* etcdctl(server, "member", "add", "second", "--peer-urls=http://127.0.0.1:1")
        const checks = yield* eventually(Effect.flatMap(doctor(server.endpoint), ({ checks }) =>
          checks.some((check) =>
              check.startsWith("no-leader")
            ) ?
            Effect.succeed(checks) :
            Effect.fail("has a leader")))
        assert.ok(
          checks.some((check) =>
            check.startsWith("member-not-started ")
          ),
          checks.join()
        )
      })
  )

  live("doctor reports a full quota, its alarm, and a fragmented database", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd({ args: ["--quota-backend-bytes", String(48 * 1024 * 1024)] })
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const value = new Uint8Array(1024 * 1024)
      const fill = etcd.put({ key: "/fill", value }).pipe(Effect.forever)
      const full = yield* Effect.flip(fill)
      assert.equal(full.reason._tag, "NoSpace")
      const quota = ["--quota-bytes", String(48 * 1024 * 1024)]
      const filled = yield* doctor(server.endpoint, ...quota)
      assert.deepEqual(filled.checks.map((check) => check.replace(/^(alarm) .*/, "$1")), [
        "alarm",
        `quota ${server.endpoint}`
      ])
      const { header: { revision } } = yield* etcd.range({ key: "/fill" })
      yield* etcd.compact({ revision, physical: true })
      // etcd counts the freed pages when it commits a later write. With the alarm it still takes writes of roles.
      let roles = 0
      const write = Effect.provideService(Effect.suspend(() => Auth.roleAdd(`role-${roles++}`)), Etcd, etcd)
      yield* eventually(Effect.flatMap(Effect.andThen(write, doctor(server.endpoint, ...quota)), ({ checks }) =>
        checks.includes(`fragmentation ${server.endpoint}`) ? Effect.void : Effect.fail(checks.join())))
    }))

  live("doctor reports certificates of member and client that expire soon", () =>
    Effect.gen(function* () {
      const authority = yield* makeAuthority
      const [server, client] = [yield* authority.sign("IP:127.0.0.1", 5), yield* authority.sign("IP:127.0.0.1", 5)]
      const { endpoint } = yield* startEtcd({ tls: { ...server, clientCa: authority.ca } })
      const flags = ["--cacert", authority.ca, "--cert", client.cert, "--key", client.key]
      assert.deepEqual((yield* doctor(endpoint, ...flags, "--certificate-days", "4")).checks, [])
      assert.deepEqual((yield* doctor(endpoint, ...flags)).checks, [
        `certificate-expires ${endpoint}`,
        "certificate-expires this client"
      ])
    }))

  live("doctor reads the clock of a member from its response to /version", () =>
    Effect.gen(function* () {
      const ahead = yield* Effect.acquireRelease(
        attempt(() =>
          new Promise<http.Server>((resolve) => {
            const server = http.createServer((_, response) => {
              response.setHeader("date", new Date(Date.now() + 3_600_000).toUTCString()).end("{}")
            })
            server.listen(0, "127.0.0.1", () => resolve(server))
          })
        ),
        (server) => Effect.sync(() => void server.close())
      )
      const address = ahead.address()
      assert.ok(typeof address === "object" && address !== null)
      const { aheadMillis } = yield* greet(`http://127.0.0.1:${address.port}`, { endpoints: [] })
      assert.ok(Math.abs(aheadMillis - 3_600_000) < 5000, String(aheadMillis))
    }))
})

import { Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { registerService, Registry } from "../../mod.ts"
import { Monitoring } from "../../src/monitoring/mod.ts"
import { obtainPrometheus } from "../../tools/prometheus.ts"
import { root } from "../../tools/runtimes.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { eventually, freePort, get } from "../harness/real.ts"

const examples = join(root, "examples", "monitoring")

/** Prometheus with the configuration of the examples, which requests targets from `port` each second. */
const startPrometheus = Effect.fnUntraced(function* (port: number) {
  const { prometheus } = obtainPrometheus()
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "prometheus-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const config = readFileSync(join(examples, "prometheus.yml"), "utf8")
  assert.ok(config.includes("127.0.0.1:9090") && config.includes("15s"))
  writeFileSync(
    join(folder, "prometheus.yml"),
    config.replaceAll("127.0.0.1:9090", `127.0.0.1:${port}`).replaceAll("15s", "1s")
  )
  copyFileSync(join(examples, "alerts.yml"), join(folder, "alerts.yml"))
  const own = yield* freePort
  yield* runProgram({
    runtime: "native",
    file: prometheus,
    cwd: folder,
    args: [
      "--config.file=prometheus.yml",
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${own}`
    ]
  })
  const base = `http://127.0.0.1:${own}`
  yield* eventually(get(`${base}/-/ready`))
  return base
})

interface Target {
  readonly health: string
  readonly labels: Readonly<Record<string, string>>
  readonly scrapePool: string
}

/** The targets that Prometheus scrapes, such as `orders/a up`. */
const targetsOf = (base: string) =>
  Effect.map(get(`${base}/api/v1/targets?state=active`), (text) => {
    const { data }: { readonly data: { readonly activeTargets: ReadonlyArray<Target> } } = JSON.parse(text)
    return data.activeTargets.filter(({ scrapePool }) => scrapePool === "services")
      .map(({ health, labels }) => `${labels["service"]}/${labels["instance"]} ${health}`).sort()
  })

/** The values of a query with the labels that are asked for. */
const query = (base: string, expr: string) =>
  Effect.map(get(`${base}/api/v1/query?query=${encodeURIComponent(expr)}`), (text) => {
    const { data }: {
      readonly data: {
        readonly result: ReadonlyArray<{
          readonly metric: Readonly<Record<string, string>>
          readonly value: readonly [number, string]
        }>
      }
    } = JSON.parse(text)
    return data.result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }))
  })

const becomes = <A>(read: Effect.Effect<A, Error>, wanted: A) =>
  eventually(
    Effect.flatMap(read, (found) =>
      JSON.stringify(found) === JSON.stringify(wanted) ? Effect.void : Effect.fail(
        new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`)
      )),
    { every: 200 }
  )

describe("Prometheus", () => {
  live(
    "Prometheus scrapes the instances of /sd/prometheus, and keeps them while etcd is down",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        yield* Effect.gen(function* () {
          const handler = yield* Monitoring.webHandler({ maxStale: "1 second" })
          const { port } = yield* Monitoring.serve(handler, { port: 0 })
          // Each instance is a server of its own, so that each is a target of its own.
          const serveInstance = Effect.fnUntraced(function* (id: string, path?: string) {
            const own = yield* Scope.fork(yield* Effect.scope)
            const served: Monitoring.WebHandler = (request) =>
              new URL(request.url).pathname === (path ?? "/metrics") ?
                handler(new Request("http://localhost/metrics")) :
                Promise.resolve(new Response("", { status: 404 }))
            const { port } = yield* Monitoring.serve(served, { port: 0 })
            const registration = yield* registerService("orders", {
              id,
              endpoints: [`grpc://127.0.0.1:1`, `http://127.0.0.1:${port}`],
              metadata: path === undefined ? {} : { metrics_path: path }
            }).pipe(Scope.provide(own))
            return { registration, release: Scope.close(own, Exit.void) }
          })
          const a = yield* serveInstance("a")
          const b = yield* serveInstance("b", "/internal/numbers")
          const base = yield* startPrometheus(port)
          yield* becomes(targetsOf(base), ["orders/a up", "orders/b up"])

          // What the process exports is there, under the services that it names itself.
          const registered = `etcd_discovery_registrations{job="etcd-discovery",status="registered"}`
          yield* becomes(Effect.map(query(base, registered), (all) => all.map(({ value }) => value)), [2])
          yield* becomes(
            Effect.map(
              query(base, `etcd_discovery_instances{job="services",instance="a",status="up"}`),
              (all) => all.map(({ metric, value }) => [metric["service"], value])
            ),
            [["orders", 2]]
          )
          const types = JSON.parse(yield* get(`${base}/api/v1/metadata?metric=etcd_discovery_claims_total`))
          assert.equal(types.data["etcd_discovery_claims_total"][0].type, "counter")

          yield* b.release
          yield* becomes(targetsOf(base), ["orders/a up"])

          yield* etcd.kill("SIGKILL")
          const failures = Effect.map(
            query(base, `etcd_discovery_etcd_reachable{job="etcd-discovery"}`),
            (all) => all.map(({ value }) => value)
          )
          yield* becomes(failures, [0])
          yield* eventually(
            Effect.flip(get(`http://127.0.0.1:${port}/sd/prometheus`))
          )
          // Several refreshes of Prometheus that got 503.
          yield* eventually(
            Effect.flatMap(get(`${base}/metrics`), (text) =>
              Number(/^prometheus_sd_http_failures_total (\d+)/m.exec(text)?.[1]) >= 3 ?
                Effect.void :
                Effect.fail(new Error("no failures"))),
            { every: 200 }
          )
          assert.deepEqual(yield* targetsOf(base), ["orders/a up"])
          assert.equal((yield* a.registration.status.get)._tag === "Failed", false)
        }).pipe(
          Effect.scoped,
          Effect.provide(Registry.layerEtcd({ endpoints: [etcd.endpoint], releaseTimeout: "500 millis" }))
        )
      })
  )

  live("the alert rules are valid, and each fires in its test of promtool", () =>
    Effect.sync(() => {
      const { promtool } = obtainPrometheus()
      const run = (...args: ReadonlyArray<string>) =>
        execFileSync(promtool, args, { cwd: examples, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
      assert.match(run("check", "rules", "alerts.yml"), /SUCCESS: 11 rules found/)
      assert.match(run("check", "config", "prometheus.yml"), /is valid/)
      assert.match(run("test", "rules", "alerts.test.yml"), /SUCCESS/)
    }))
})

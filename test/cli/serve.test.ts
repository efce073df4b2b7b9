import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import { registerService, Registry } from "../../mod.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { attempt, eventually } from "../harness/real.ts"
import { memory, ran, recording } from "./support.ts"

const get = (url: string) =>
  attempt(async () => {
    const response = await fetch(url)
    return { status: response.status, text: await response.text() }
  })

/** The URL that a running `serve --json` printed. */
const urlOf = (stdout: () => string) =>
  eventually(
    Effect.suspend(() =>
      stdout().includes("\n") ? Effect.succeed(String(JSON.parse(stdout()).url)) : Effect.fail(new Error("no line"))
    )
  )

describe("command line: serve", () => {
  live(
    "serve answers the routes of ./monitoring for the namespace until it is interrupted",
    () =>
      Effect.gen(function* () {
        const { connect, registry } = yield* memory
        yield* registerService("orders", { id: "a", endpoints: ["http://10.0.0.5:8080"] }).pipe(
          Effect.provideService(Registry.Registry, registry)
        )
        const { effect, stdout } = recording(["serve", "--port", "0", "--json"], { connect })
        const running = yield* Effect.forkScoped(effect)
        const url = yield* urlOf(stdout)
        assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
        // Gauges of the services are there without a request for targets.
        yield* eventually(
          Effect.flatMap(get(`${url}/metrics`), ({ text }) =>
            text.includes(`etcd_discovery_instances{service="orders",status="up"} 1\n`) ?
              Effect.void :
              Effect.fail(new Error(text)))
        )
        assert.deepEqual(yield* get(`${url}/readyz`), { status: 200, text: "ready\n" })
        assert.deepEqual(
          JSON.parse((yield* get(`${url}/sd/prometheus`)).text).map(({ targets }: { targets: unknown }) =>
            targets
          ),
          [["10.0.0.5:8080"]]
        )
        yield* Fiber.interrupt(running)
        yield* Effect.flip(get(`${url}/livez`))
      })
  )

  live("serve prints in one sentence why it cannot serve", () =>
    Effect.gen(function* () {
      const { connect } = yield* memory
      const { effect, stdout } = recording(["serve", "--port", "0", "--json"], { connect })
      yield* Effect.forkScoped(effect)
      const { port } = new URL(yield* urlOf(stdout))
      const taken = yield* ran(["serve", "--port", port], { connect })
      assert.equal(taken.exitCode, 1)
      assert.match(
        taken.stderr,
        /^etcd-discovery: cannot serve on 127\.0\.0\.1:\d+: .*Choose another port or address\.\n$/
      )
      const invalid = yield* ran(["serve", "--port", "70000"], { connect })
      assert.equal(invalid.exitCode, 2)
      assert.match(invalid.stderr, /port is 70000; it must be a whole number from 0 to 65535\n$/)
    }))

  live(
    "serve is not ready while etcd is down, and exits with 0 after SIGTERM",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const program = yield* runProgram({
          file: fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url)),
          args: ["serve", "--port", "0", "--json", "--max-stale", "1 millis", "--endpoints", etcd.endpoint]
        })
        const { url } = JSON.parse(yield* program.awaitLine("http://"))
        const readiness = (wanted: number) =>
          eventually(
            Effect.flatMap(
              get(`${url}/readyz`),
              ({ status }) => status === wanted ? Effect.void : Effect.fail(new Error(`status ${status}`))
            )
          )
        yield* readiness(200)
        yield* etcd.kill("SIGKILL")
        yield* readiness(503)
        assert.equal((yield* get(`${url}/livez`)).status, 200)
        yield* program.signal("SIGTERM")
        assert.deepEqual(yield* program.exit, { code: 0, signal: null })
      })
  )
})

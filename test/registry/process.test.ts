import { Effect } from "effect"
import assert from "node:assert/strict"
import { eachSharedEtcd, etcdctl, type EtcdServer, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { currentRuntime, runProgram } from "../harness/program.ts"
import { eventually, freePort, pause } from "../harness/real.ts"
import {
  assertNothingLeft,
  eventuallyNothingLeft,
  freshNamespace,
  keysIn,
  observer,
  quiet,
  trafficOf
} from "./registration/support.ts"

const program = (name: string) => new URL(`programs/${name}.ts`, import.meta.url)

describe(`a process on ${currentRuntime}`, () => {
  eachSharedEtcd((server) => {
    const start = (namespace: string, env: Record<string, string> = {}) =>
      runProgram({
        file: program("registered"),
        env: { ETCD_ENDPOINTS: server().endpoint, ETCD_NAMESPACE: namespace, INSTANCE_ID: "a", ...env }
      })
    const value = JSON.stringify({
      id: "a",
      name: "orders",
      metadata: {},
      endpoints: ["http://10.0.0.5:8080"],
      weight: 1,
      status: "up"
    })

    for (const [signal, code] of [["SIGTERM", 0], ["SIGINT", 130]] as const) {
      live(
        `a process leaves no key and no lease and exits with ${code} when runMain gets ${signal} (R5)`,
        () =>
          Effect.gen(function* () {
            const namespace = freshNamespace()
            const running = yield* start(namespace)
            yield* running.awaitLine(`registered ${namespace}/orders/a`)
            assert.deepEqual((yield* keysIn(server(), namespace)).map(({ value }) => value), [value])
            yield* running.signal(signal)
            assert.deepEqual(yield* running.exit, { code, signal: null })
            assert.equal(yield* running.stdout, `registered ${namespace}/orders/a\nclosing\n`)
            yield* assertNothingLeft(server(), namespace)
          })
      )
    }

    live(
      "a process is drained when runMain gets SIGTERM, and exits at once with 128 + n on a second signal (R5)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const running = yield* start(namespace, { DRAIN_MILLIS: "600000" })
          yield* running.awaitLine("registered")
          yield* running.signal("SIGTERM")
          yield* eventually(
            Effect.flatMap(
              keysIn(server(), namespace),
              ([shown]) =>
                shown?.value === value.replace(`"up"`, `"draining"`) ? Effect.void : Effect.fail(`${shown?.value}`)
            )
          )
          // A signal within a second of the first counts as the same: a terminal and a task runner may both send it.
          const again = Effect.forever(Effect.andThen(pause(200), running.signal("SIGTERM")))
          assert.deepEqual(yield* Effect.raceFirst(running.exit, again), { code: 143, signal: null })
          yield* eventuallyNothingLeft(server(), namespace)
        })
    )

    live("a process killed with SIGKILL disappears when its lease expires (R7)", () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        const traffic = yield* trafficOf(yield* observer(server()), `${namespace}/`)
        const running = yield* start(namespace, { TTL: "4 seconds" })
        yield* running.awaitLine("registered")
        yield* traffic.until(({ type }) => type === "put")
        yield* running.signal("SIGKILL")
        assert.deepEqual(yield* running.exit, { code: null, signal: "SIGKILL" })
        // The last heartbeat was sent at most a third of the TTL ago.
        assert.deepEqual(traffic.events.map(({ type }) => type), ["put"])
        yield* traffic.until(({ type }) => type === "delete")
        assert.deepEqual(traffic.events.map(({ type }) => type), ["put", "delete"])
        yield* eventuallyNothingLeft(server(), namespace)
      }))

    live("runMain exits with 1 and logs the error when awaitFailure fails (R8)", () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        const running = yield* start(namespace)
        yield* running.awaitLine("registered")
        yield* etcdctl(server(), "put", `${namespace}/orders/a`, "mine")
        assert.deepEqual(yield* running.exit, { code: 1, signal: null })
        assert.match((yield* running.stdout) + (yield* running.stderr), /InstanceIdTaken/)
        assert.deepEqual((yield* keysIn(server(), namespace)).map(({ value }) => value), ["mine"])
        yield* etcdctl(server(), "del", "--prefix", namespace)
        yield* assertNothingLeft(server(), namespace)
      }))

    live(
      "a process exits by itself after its scopes have closed: no socket, timer or watch remains (D11)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const running = yield* runProgram({
            file: program("ends"),
            env: {
              ETCD_ENDPOINTS: server().endpoint,
              ETCD_NAMESPACE: namespace,
              NOWHERE: `http://127.0.0.1:${yield* freePort}`
            }
          })
          yield* running.awaitLine("done")
          const doneAt = performance.now()
          assert.deepEqual(yield* running.exit, { code: 0, signal: null })
          const elapsed = performance.now() - doneAt
          assert.ok(elapsed < 10_000, `it took ${elapsed} ms to end`)
          assert.deepEqual(
            (yield* running.stdout).split("\n").filter((line) => !/ (INFO|WARN) /.test(line)),
            ["3 instances, 1 service", "StartupTimeout", "done", ""]
          )
          yield* assertNothingLeft(server(), namespace)
        })
    )
  })

  live(
    "two processes discover each other, and each receives the departure of the other",
    () =>
      Effect.gen(function* () {
        const server: EtcdServer = yield* startEtcd()
        const namespace = freshNamespace()
        const start = (own: string, partner: string) =>
          runProgram({
            file: program("pair"),
            env: { ETCD_ENDPOINTS: server.endpoint, ETCD_NAMESPACE: namespace, OWN: own, PARTNER: partner }
          })
        const ping = yield* start("ping", "pong")
        const pong = yield* start("pong", "ping")
        yield* ping.awaitLine("sees http://pong:1")
        yield* pong.awaitLine("sees http://ping:1")
        yield* ping.signal("SIGINT")
        assert.deepEqual(yield* ping.exit, { code: 130, signal: null })
        assert.deepEqual(yield* pong.exit, { code: 0, signal: null })
        assert.equal(yield* pong.stdout, "sees http://ping:1\nsees \n")
        yield* assertNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )
})

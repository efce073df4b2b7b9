import { Context, Effect, Layer, Schedule, Stream } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import assert from "node:assert/strict"
import { discover, Registry } from "../../mod.ts"
import { DiscoveryHttpClient } from "../../src/http/mod.ts"
import { ran } from "../cli/support.ts"
import { startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { runProgram } from "../harness/program.ts"
import { freePort } from "../harness/real.ts"

/** A consumer under load: a registry of its own, and calls, eight at a time, without retries. */
const consumer = Effect.fnUntraced(function* (endpoint: string) {
  const registry = Context.get(yield* Layer.build(Registry.layerEtcd({ endpoints: [endpoint] })), Registry.Registry)
  const client = yield* DiscoveryHttpClient.make(yield* HttpClient.HttpClient, { attempts: 1 }).pipe(
    Effect.provideService(Registry.Registry, registry)
  )
  const calls = { sent: 0, failures: new Array<string>(), by: new Map<string, number>() }
  const call = Effect.gen(function* () {
    calls.sent += 1
    const { status, text } = yield* client.get("http://orders/")
    const id = yield* text
    if (status === 200) calls.by.set(id, (calls.by.get(id) ?? 0) + 1)
    else calls.failures.push(`status ${status}`)
  }).pipe(Effect.catch((error) => Effect.sync(() => void calls.failures.push(String(error)))))
  yield* Effect.forEach(Array.from({ length: 8 }), () => Effect.forkScoped(Effect.forever(call)), { discard: true })
  return {
    calls,
    /** Waits until this consumer's set has these available instances. */
    sees: (ids: ReadonlyArray<string>) =>
      discover("orders").pipe(
        Stream.filter(({ available }) => available.map(({ id }) => id).join() === ids.join()),
        Stream.take(1),
        Stream.runDrain,
        Effect.provideService(Registry.Registry, registry)
      )
  }
})

describe("draining under load", () => {
  live(
    "a drained instance gets no calls, and no call fails while an operator drains and restarts it (R12)",
    () =>
      Effect.gen(function* () {
        const etcd = yield* startEtcd()
        const operator = (...args: ReadonlyArray<string>) =>
          Effect.map(ran([...args, "--endpoints", etcd.endpoint]), (result) => {
            assert.equal(result.exitCode, 0, result.stderr)
            return result.stdout
          })
        const ports = yield* Effect.all({ a: freePort, b: freePort, c: freePort })
        const run = (id: keyof typeof ports) =>
          Effect.tap(
            runProgram({
              file: new URL("./programs/drained.ts", import.meta.url),
              env: { ETCD_ENDPOINTS: etcd.endpoint, INSTANCE_ID: id, PORT: String(ports[id]) }
            }),
            (program) => program.awaitLine("serving")
          )
        const [, b] = yield* Effect.all([run("a"), run("b"), run("c")], { concurrency: "unbounded" })
        const consumers = yield* Effect.all([consumer(etcd.endpoint), consumer(etcd.endpoint)])
        const see = (...ids: ReadonlyArray<string>) =>
          Effect.all(consumers.map(({ sees }) => sees(ids)), { concurrency: "unbounded", discard: true })
        const callsOf = (id: string) => consumers.map(({ calls }) => calls.by.get(id) ?? 0)
        /** Waits until each consumer has made so many more calls. */
        const load = Effect.fnUntraced(function* (more: number) {
          const until = consumers.map(({ calls }) => calls.sent + more)
          yield* Effect.repeat(Effect.void, {
            schedule: Schedule.spaced("5 millis"),
            until: () => consumers.every(({ calls }, index) => calls.sent >= (until[index] ?? 0))
          })
        })
        yield* see("a", "b", "c")
        yield* load(300)
        assert.ok(callsOf("b").every((count) => count > 50), `${callsOf("b")}`)

        yield* operator("drain", "orders", "b")
        yield* see("a", "c")
        // Those that were in flight end.
        yield* load(32)
        const drained = callsOf("b")
        yield* load(500)
        assert.deepEqual(callsOf("b"), drained)

        yield* b.signal("SIGTERM")
        assert.deepEqual(yield* b.exit, { code: 0, signal: null })
        yield* load(300)
        yield* run("b")
        yield* see("a", "b", "c")
        const { instances } = JSON.parse(yield* operator("instances", "orders", "--json"))
        assert.deepEqual(instances.map(({ id, status }: Record<string, string>) => `${id} ${status}`), [
          "a up",
          "b up",
          "c up"
        ])
        const restarted = callsOf("b")
        yield* load(300)
        assert.ok(callsOf("b").every((count, index) => count > (restarted[index] ?? 0) + 50))
        // The other way: an instance that is taken back without a restart.
        yield* operator("drain", "orders", "b")
        yield* see("a", "c")
        yield* operator("undrain", "orders", "b")
        yield* see("a", "b", "c")
        yield* load(300)
        for (const { calls } of consumers) assert.deepEqual(calls.failures, [])
      }).pipe(
        Effect.provide(FetchHttpClient.layer)
      )
  )
})

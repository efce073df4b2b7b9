// `exec` with a child that the test controls.
import { Deferred, Duration, Effect, Exit, Fiber, Result } from "effect"
import assert from "node:assert/strict"
import type { Child, ChildExit } from "../../../src/cli/exec/Child.ts"
import * as Exec from "../../../src/cli/exec/exec.ts"
import { type Handler, Signals } from "../../../src/cli/signals.ts"
import { ProbeFailed } from "../../../src/declared/health/Probe.ts"
import * as Keyspace from "../../../src/registry/model/Keyspace.ts"
import { Registry } from "../../../mod.ts"
import { describe } from "../../harness/it.ts"
import { elapse, keysIn, putInstance, settle, valueOf, verify, type World, world } from "../../harness/virtual.ts"

const keyspace = Result.getOrThrow(Keyspace.make("/services"))
const key = "/services/orders/a"
const options: Exec.ExecOptions = { service: "orders", register: { id: "a", endpoints: ["http://10.0.0.1:80"] } }

/** `exec` in the background, with what the test needs to drive it. */
const start = Effect.fnUntraced(function* (
  { process }: Pick<World, "process">,
  given: Exec.ExecOptions = options,
  isHealthy?: Effect.Effect<void, Error>
) {
  const { registry } = yield* process()
  const ended = yield* Deferred.make<ChildExit>()
  const sent: Array<string> = []
  const send = (signal: string) => Effect.sync(() => void sent.push(signal))
  const child: Child = {
    pid: 1,
    signal: send,
    exit: Deferred.await(ended),
    terminate: (signal = "SIGTERM") => Effect.andThen(send(`stop ${signal}`), Deferred.await(ended))
  }
  const handlers = new Set<Handler>()
  const plan = Result.getOrThrow(Exec.plan(keyspace, given))
  const fiber = yield* Exec.exec({ ...plan, isHealthy }, Effect.succeed(child)).pipe(
    Effect.provideService(Registry.Registry, registry),
    Effect.provideService(Signals, {
      handle: (handler) =>
        Effect.acquireRelease(
          Effect.sync(() => void handlers.add(handler)),
          () => Effect.sync(() => void handlers.delete(handler))
        )
    }),
    Effect.forkScoped({ startImmediately: true })
  )
  yield* settle
  return {
    sent,
    signal: (signal: NodeJS.Signals) =>
      Effect.andThen(Effect.sync(() => handlers.forEach((handler) => handler(signal))), settle),
    end: (exit: ChildExit) => Effect.andThen(Deferred.succeed(ended, exit), settle),
    exit: Fiber.await(fiber),
    isRunning: () => fiber.pollUnsafe() === undefined
  }
})

const statusIn = ({ operator }: World) =>
  Effect.map(valueOf(operator, key), (value) => {
    const status: unknown = typeof value === "object" && value !== null && "status" in value ? value.status : value
    return status
  })

describe("exec", () => {
  verify(
    "exec registers while the child runs, deregisters when it ends, and returns its exit",
    () =>
      Effect.gen(function* () {
        const there = yield* world
        const run = yield* start(there)
        assert.deepEqual(Object.keys(yield* keysIn(there.operator)), [key])
        yield* run.end({ code: 7, signal: null })
        assert.deepEqual(yield* run.exit, Exit.succeed({ code: 7, signal: null }))
        assert.deepEqual(yield* keysIn(there.operator), {})
        assert.deepEqual(yield* Effect.map(Effect.orDie(there.operator.leaseLeases), ({ leases }) => leases), [])
      })
  )

  verify("exec registers the instance as up after the first successful health check", (log) =>
    Effect.gen(function* () {
      const there = yield* world
      let isHealthy = false
      const check = Effect.suspend(() =>
        isHealthy ?
          Effect.void :
          Effect.fail(new ProbeFailed({ probe: { _tag: "Command", command: "c" }, detail: "no" }))
      )
      const run = yield* start(there, options, check)
      yield* elapse("14 seconds")
      assert.deepEqual(yield* keysIn(there.operator), {})
      assert.deepEqual(log.filter((line) => line.startsWith("Warn")), [
        `Warn "orders" is not registered yet: the command "c" failed: no`
      ])
      isHealthy = true
      yield* elapse("1 second")
      assert.equal(yield* statusIn(there), "up")
      yield* run.end({ code: 0, signal: null })
    }))

  verify(
    "exec marks the instance down while the check fails, and up when it succeeds again (R11)",
    () =>
      Effect.gen(function* () {
        const there = yield* world
        let isHealthy = true
        const check = Effect.suspend(() => isHealthy ? Effect.void : Effect.fail(new Error("hangs")))
        const run = yield* start(there, { ...options }, check)
        assert.equal(yield* statusIn(there), "up")
        isHealthy = false
        yield* elapse("15 seconds")
        assert.equal(yield* statusIn(there), "down")
        isHealthy = true
        yield* elapse("5 seconds")
        assert.equal(yield* statusIn(there), "up")
        yield* run.end({ code: 0, signal: null })
      })
  )

  verify("exec publishes draining and deregisters before the child gets SIGTERM", () =>
    Effect.gen(function* () {
      const there = yield* world
      const run = yield* start(there, { ...options, drain: "5 seconds" })
      yield* run.signal("SIGTERM")
      assert.equal(yield* statusIn(there), "draining")
      yield* elapse("4 seconds")
      assert.equal(yield* statusIn(there), "draining")
      assert.deepEqual(run.sent, [])
      yield* elapse("1 second")
      assert.deepEqual(yield* keysIn(there.operator), {})
      assert.deepEqual(run.sent, ["stop SIGTERM"])
      assert.ok(run.isRunning())
      yield* run.end({ code: 0, signal: null })
      assert.deepEqual(yield* run.exit, Exit.succeed({ code: 0, signal: null }))
    }))

  verify("exec deregisters at once when the child ends while it drains", () =>
    Effect.gen(function* () {
      const there = yield* world
      const run = yield* start(there, { ...options, drain: "1 hour" })
      yield* run.signal("SIGTERM")
      yield* run.end({ code: null, signal: "SIGKILL" })
      assert.deepEqual(yield* run.exit, Exit.succeed({ code: null, signal: "SIGKILL" }))
      assert.deepEqual(yield* keysIn(there.operator), {})
      assert.deepEqual(run.sent, [])
    }))

  verify("exec forwards SIGHUP to the child and stays registered", () =>
    Effect.gen(function* () {
      const there = yield* world
      const run = yield* start(there)
      yield* run.signal("SIGHUP")
      assert.deepEqual(run.sent, ["SIGHUP"])
      assert.equal(yield* statusIn(there), "up")
      yield* run.end({ code: 0, signal: null })
    }))

  verify("exec ends the child and fails when the id is taken", () =>
    Effect.gen(function* () {
      const there = yield* world
      yield* putInstance(there.operator, "a")
      const run = yield* start(there, { ...options, register: { ...options.register, claim: "exclusive" } })
      assert.deepEqual(run.sent, ["stop SIGTERM"])
      yield* run.end({ code: 0, signal: null })
      const exit = yield* run.exit
      assert.ok(Exit.isFailure(exit) && String(exit.cause).includes("InstanceIdTaken"))
    }))

  verify(
    "exec keeps the child running while etcd does not answer, and registers when it does (R3)",
    () =>
      Effect.gen(function* () {
        const there = yield* world
        const { faults, registry } = yield* there.process()
        yield* faults.outage
        const run = yield* start({ process: () => Effect.succeed({ registry, faults, exit: Effect.void }) })
        yield* elapse("1 minute")
        assert.deepEqual(run.sent, [])
        yield* faults.clear
        yield* elapse("10 seconds")
        assert.equal(yield* statusIn(there), "up")
        yield* run.end({ code: 0, signal: null })
      })
  )

  verify(
    "exec keeps the child running and logs an error when another process takes the id (R8)",
    (log) =>
      Effect.gen(function* () {
        const there = yield* world
        const run = yield* start(there)
        yield* putInstance(there.operator, "a")
        yield* elapse("1 second")
        assert.deepEqual(run.sent, [])
        assert.ok(log.some((line) => line.startsWith("Error") && line.includes("The command keeps running")))
        yield* run.end({ code: 0, signal: null })
        assert.deepEqual(Object.keys(yield* keysIn(there.operator)), [key])
      })
  )

  verify("Exec.plan refuses invalid options before it starts anything", () =>
    Effect.sync(() => {
      const optionOf = (bad: Partial<Exec.ExecOptions>) => {
        const plan = Exec.plan(keyspace, { ...options, ...bad })
        return Result.isFailure(plan) ? plan.failure.option : undefined
      }
      assert.equal(optionOf({ service: "a/b" }), "service")
      assert.equal(optionOf({ drain: -1 }), "drain")
      assert.equal(optionOf({ register: { endpoints: [] } }), "endpoints")
      assert.equal(optionOf({ register: { endpoints: ["http://a:0"] } }), "endpoints[0]")
      const probe = { _tag: "Tcp", host: "a", port: 1 } as const
      assert.equal(optionOf({ health: { probe, interval: 0 } }), "healthInterval")
      assert.equal(optionOf({ health: { probe, timeout: Duration.minutes(1) } }), "healthTimeout")
      assert.equal(optionOf({ health: { probe, threshold: 0 } }), "healthThreshold")
    }))
})

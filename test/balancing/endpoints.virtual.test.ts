import { Cause, Deferred, Duration, Effect, Exit, Fiber, Metric, Option, Schedule, type Scope } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import type { Registry, ServiceInstance } from "../../mod.ts"
import { EtcdError } from "../../src/etcd/mod.ts"
import { Balancer, Endpoints } from "../../src/balancing/mod.ts"
import { describe } from "../harness/it.ts"
import { counted, elapse, failureOf, settle, start, verify as onVirtualTime } from "../harness/virtual.ts"
import { type Fake, fake, now } from "./endpointsSupport.ts"

/** What happened to the clients: `open a`, `close a`. */
type Clients = Array<string>

type Options = Partial<
  Endpoints.EndpointsOptions<string, Readonly<Record<string, string>>, unknown, Scope.Scope>
>

/** Endpoints whose clients are the ids of their instances. */
const clientsOf = (options: Options = {}) =>
  Effect.gen(function* () {
    const log: Clients = []
    const endpoints = yield* Endpoints.make<string, unknown, Scope.Scope>({
      service: "orders",
      connect: ({ id }: ServiceInstance) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            log.push(`open ${id}`)
            return id
          }),
          () => Effect.sync(() => void log.push(`close ${id}`))
        ),
      ...options
    })
    yield* settle
    return { endpoints, log }
  })

const verify = <E>(
  title: string,
  body: (fake: Fake, log: ReadonlyArray<string>) => Effect.Effect<void, E, Scope.Scope | Registry.Registry>
): void => onVirtualTime(title, (log) => Effect.flatMap(fake, (fake) => Effect.provide(body(fake, log), fake.layer)))

const ok = (id: string) => Effect.succeed(id)

/** Each error of a failed call, by instance. */
const attemptsOf = (error: unknown): ReadonlyArray<readonly [string, number, unknown]> =>
  error instanceof Endpoints.CallFailed ?
    error.attempts.map((
      { duration, error, instance }
    ) => [instance.id, Math.round(Duration.toMillis(duration)), error]) :
    []

describe("Endpoints", () => {
  describe("clients", () => {
    verify("are opened on first use, shared, and closed when the instance leaves", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints, log } = yield* clientsOf()
        assert.deepEqual(log, [])
        const called = yield* Effect.all(Array.from({ length: 6 }, () => endpoints.call(ok)), { concurrency: 6 })
        assert.deepEqual(called.toSorted(), ["a", "a", "a", "b", "b", "b"])
        assert.deepEqual(log.toSorted(), ["open a", "open b"])
        yield* fake.set("b")
        yield* settle
        assert.deepEqual(log.slice(2), ["close a"])
        // Where it goes from here on, and after it has come back, with a client of its own.
        assert.deepEqual([yield* endpoints.call(ok), yield* endpoints.call(ok)], ["b", "b"])
        yield* fake.set("a", "b")
        yield* settle
        yield* endpoints.call(ok)
        yield* endpoints.call(ok)
        assert.deepEqual(log.slice(3), ["open a"])
      }))

    verify(
      "are opened eagerly when that is asked for, and again after a failed connect",
      (fake) =>
        Effect.gen(function* () {
          const opened: Array<readonly [number, string]> = []
          yield* fake.set("a", { id: "down", status: "down" })
          yield* clientsOf({
            open: "eagerly",
            connectBackoff: Schedule.spaced("1 second"),
            connect: ({ id }) =>
              Effect.flatMap(now, (at) => {
                opened.push([at, id])
                return opened.length < 3 ? Effect.fail("refused") : Effect.succeed(id)
              })
          })
          yield* elapse("10 seconds")
          assert.deepEqual(opened, [[0, "a"], [1000, "a"], [2000, "a"]])
        })
    )

    verify(
      "stay open for the calls in flight when the instance leaves, and are closed after them",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { endpoints, log } = yield* clientsOf()
          const call = yield* start(endpoints.call((id) => Effect.as(Effect.sleep("10 seconds"), id)))
          yield* fake.set("b")
          yield* elapse(9_999)
          assert.deepEqual([log, call.exit()], [["open a"], undefined])
          yield* elapse(1)
          assert.deepEqual([log, call.exit()], [["open a", "close a"], Exit.succeed("a")])
        })
    )

    verify("are closed under calls that take longer than closeTimeout", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { endpoints, log } = yield* clientsOf({ closeTimeout: "3 seconds" })
        yield* start(endpoints.call(() => Effect.never))
        yield* fake.set("b")
        yield* elapse(2_999)
        assert.deepEqual(log, ["open a"])
        yield* elapse(1)
        assert.deepEqual(log, ["open a", "close a"])
      }))

    verify("are replaced when what connect depends on changes, and only then", (fake) =>
      Effect.gen(function* () {
        const a = { id: "a", endpoints: ["http://10.0.0.1:80"], metadata: { shard: "1" } }
        yield* fake.set(a)
        const { endpoints, log } = yield* clientsOf()
        const step = (change: Partial<ServiceInstance>) =>
          Effect.gen(function* () {
            yield* fake.set({ ...a, ...change })
            yield* settle
            yield* endpoints.call(ok)
            return log.splice(0)
          })
        assert.deepEqual(yield* step({}), ["open a"])
        assert.deepEqual(yield* step({ weight: 7, version: "2", zone: "eu", metadata: { shard: "1" } }), [])
        assert.deepEqual(yield* step({ metadata: { shard: "2" } }), ["close a", "open a"])
        assert.deepEqual(yield* step({ metadata: { shard: "2" }, endpoints: ["http://10.0.0.2:80"] }), [
          "close a",
          "open a"
        ])
        // The numbers of an instance that stays are kept.
        assert.equal((yield* endpoints.state).instances[0]?.requests, 4)
      }))

    verify(
      "are closed with the scope, after the calls in flight; later calls are refused",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const made = yield* Deferred.make<Endpoints.Endpoints<string>>()
          const log: Clients = []
          const owner = yield* start(Effect.scoped(Effect.gen(function* () {
            const own = yield* clientsOf({
              connect: ({ id }) =>
                Effect.acquireRelease(Effect.succeed(id), () => Effect.sync(() => void log.push(`close ${id}`)))
            })
            yield* Deferred.succeed(made, own.endpoints)
            yield* Effect.sleep("1 second")
          })))
          const endpoints = yield* Deferred.await(made)
          const call = yield* start(endpoints.call((id) => Effect.as(Effect.sleep("5 seconds"), id)))
          yield* elapse("1 second")
          const late = yield* start(endpoints.call(ok, { waitFor: "1 minute" }))
          assert.equal((failureOf(late) as Endpoints.NoInstanceAvailable).reason, "closed")
          assert.deepEqual([log, owner.exit()], [[], undefined])
          yield* elapse("4 seconds")
          assert.deepEqual([log, call.exit(), owner.exit()], [["close a"], Exit.succeed("a"), Exit.void])
        })
    )

    verify(
      "that are being opened for a call when the scope closes are waited for, too",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const log: Clients = []
          const made = yield* Deferred.make<Endpoints.Endpoints<string>>()
          const owner = yield* start(Effect.scoped(Effect.gen(function* () {
            const { endpoints } = yield* clientsOf({
              connect: ({ id }) =>
                Effect.acquireRelease(
                  Effect.as(Effect.sleep("3 seconds"), id),
                  () => Effect.sync(() => void log.push("close"))
                )
            })
            yield* Deferred.succeed(made, endpoints)
            yield* Effect.sleep("1 second")
          })))
          const call = yield* start((yield* Deferred.await(made)).call(ok))
          yield* elapse("2 seconds")
          assert.deepEqual([call.exit(), owner.exit(), log], [undefined, undefined, []])
          yield* elapse("1 second")
          assert.deepEqual([call.exit(), owner.exit(), log], [Exit.succeed("a"), Exit.void, ["close"]])
        })
    )
  })

  describe("connect", () => {
    verify("that fails takes its instance out for the backoff and touches no other", (fake) =>
      Effect.gen(function* () {
        const opened: Array<readonly [number, string]> = []
        yield* fake.set("a", "b", "c")
        const { endpoints } = yield* clientsOf({
          connectBackoff: Schedule.exponential("1 second"),
          connect: ({ id }) =>
            Effect.flatMap(now, (at) => {
              opened.push([at, id])
              return id === "b" ? Effect.fail("refused") : Effect.succeed(id)
            })
        })
        const calls = Effect.all(Array.from({ length: 12 }, () => endpoints.call(ok, { backoff: Schedule.spaced(0) })))
        const called = new Set(yield* calls)
        assert.deepEqual(called, new Set(["a", "c"]))
        assert.deepEqual(opened.map(([at]) => at), [0, 0, 0])
        const b = (yield* endpoints.state).instances[1]
        assert.deepEqual([b?.health, b?.outFor, b?.client, b?.failures], ["out", 1000, "failed", 1])
        yield* elapse(1000)
        yield* calls
        yield* elapse(1000)
        yield* calls
        assert.deepEqual(opened.slice(3), [[1000, "b"]])
        yield* elapse(1000)
        yield* calls
        assert.deepEqual(opened.slice(4), [[3000, "b"]])
      }))

    verify("that never ends is bounded, and is shared by those who wait for it", (fake) =>
      Effect.gen(function* () {
        let interrupted = 0
        yield* fake.set("a")
        const { endpoints } = yield* clientsOf({
          connectTimeout: "2 seconds",
          connect: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
        })
        const one = yield* start(endpoints.call(ok))
        const other = yield* start(endpoints.call(ok))
        const gone = yield* start(endpoints.call(ok))
        yield* gone.interrupt
        assert.equal(interrupted, 0)
        yield* elapse(1999)
        assert.deepEqual([one.exit(), other.exit(), interrupted], [undefined, undefined, 0])
        yield* elapse("1 second")
        for (const call of [one, other]) {
          const error = failureOf(call)
          assert.ok(error instanceof Endpoints.CallFailed)
          assert.equal(error.reason, "instances")
          assert.equal(
            error.message,
            'cannot call "orders": no other instance is left (a after 2000 ms: cannot connect to a of "orders": ' +
              "the connect did not end within 2s)"
          )
        }
        assert.equal(interrupted, 1)
      }))

    verify(
      "that never ends and cannot be interrupted is left behind; what it makes later is closed",
      (fake) =>
        Effect.gen(function* () {
          const log: Clients = []
          const gate = yield* Deferred.make<void>()
          yield* fake.set("a")
          const closed = yield* start(Effect.scoped(Effect.gen(function* () {
            const { endpoints } = yield* clientsOf({
              connectTimeout: "2 seconds",
              closeTimeout: "1 second",
              connect: () =>
                Effect.acquireRelease(
                  Effect.as(Deferred.await(gate), "late"),
                  () => Effect.sync(() => log.push("closed"))
                )
            })
            const error = yield* Effect.flip(endpoints.call(ok))
            assert.equal(error._tag, "CallFailed")
          })))
          yield* elapse("4 seconds")
          assert.deepEqual([closed.exit(), log], [Exit.void, []])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepEqual(log, ["closed"])
        })
    )

    verify("that dies fails like one that fails", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { endpoints } = yield* clientsOf({ connect: () => Effect.die(new Error("a bug")) })
        assert.match(String(yield* finish(endpoints.call(ok))), /cannot connect to a of "orders": a bug/)
        // It throws before it is an effect.
        const { endpoints: others } = yield* clientsOf({
          connect: () => {
            throw new Error("another bug")
          }
        })
        assert.match(String(yield* finish(others.call(ok))), /cannot connect to a of "orders": another bug/)
      }))

    verify(
      "of an instance that leaves meanwhile ends, and its caller goes on to another",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { endpoints } = yield* clientsOf({
            closeTimeout: "1 second",
            connect: ({ id }) => id === "a" ? Effect.never : Effect.succeed(id)
          })
          const call = yield* start(endpoints.call(ok))
          yield* fake.set("b")
          yield* elapse("2 seconds")
          assert.deepEqual(call.exit(), Exit.succeed("b"))
        })
    )
  })

  describe("call", () => {
    verify("tries each instance once before it tries one again", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c")
        const { endpoints } = yield* clientsOf({ failureAccrual: false })
        const seen: Array<string> = []
        const error = yield* finish(endpoints.call((id) => {
          seen.push(id)
          return Effect.fail(`no from ${id}`)
        }, { attempts: 7 }))
        assert.ok(error instanceof Endpoints.CallFailed)
        assert.equal(error.reason, "attempts")
        assert.deepEqual(seen.slice(0, 3).toSorted(), ["a", "b", "c"])
        assert.deepEqual(attemptsOf(error), seen.map((id) => [id, 0, `no from ${id}`]))
        assert.equal(error.last, `no from ${seen[6]}`)
      }))

    verify("succeeds when one attempt does; what is not retryable is its answer", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c")
        const { endpoints } = yield* clientsOf()
        let runs = 0
        const flaky = (id: string) => Effect.suspend(() => ++runs < 3 ? Effect.fail("busy") : Effect.succeed(id))
        const call = yield* start(endpoints.call(flaky))
        yield* elapse("2 seconds")
        assert.equal(call.exit()?._tag, "Success")
        assert.equal(runs, 3)
        const answer = endpoints.call(() => Effect.fail("not found"), { retryable: (error) => error === "busy" })
        assert.equal(yield* Effect.flip(answer), "not found")
        // Many of them take nobody out: the instances did their work.
        yield* Effect.repeat(Effect.ignore(answer), { times: 50 })
        const state = yield* endpoints.state
        assert.deepEqual([state.ejections, state.retries, state.calls], [0, 2, 53])
        assert.deepEqual(state.instances.map(({ failures }) => failures).reduce((a, b) => a + b), 2)
      }))

    verify("ends an attempt after attemptTimeout, and itself after timeout", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c", "d")
        const { endpoints } = yield* clientsOf()
        const options = {
          attempts: 4,
          attemptTimeout: "400 millis",
          timeout: "1 second",
          backoff: Schedule.spaced(0)
        } as const
        let interrupted = 0
        const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
        const call = yield* start(endpoints.call(() => slow, options))
        yield* elapse(999)
        assert.deepEqual([call.exit(), interrupted], [undefined, 2])
        yield* elapse(1)
        const error = failureOf(call)
        assert.ok(error instanceof Endpoints.CallFailed)
        assert.deepEqual([error.reason, interrupted], ["timeout", 3])
        const limits = error.attempts.map(({ duration, error }) => [duration, error])
        assert.deepEqual(
          limits,
          [400, 400, 200].map((limit) => [
            Duration.millis(limit),
            new Endpoints.TimedOut({ what: "attempt", limit: Duration.millis(limit) })
          ])
        )
        // The last attempt, too, was ended by the time and not by its own limit.
        const last = yield* start(endpoints.call(() => slow, { attempts: 1, timeout: "1 second" }))
        yield* elapse("1 second")
        assert.equal((failureOf(last) as Endpoints.CallFailed<never>).reason, "timeout")
        // A timeout that may not be tried again.
        const once = yield* start(endpoints.call(() => slow, { ...options, retryable: () => false }))
        yield* elapse(400)
        assert.equal((failureOf(once) as Endpoints.CallFailed<never>).reason, "refused")
      }))

    verify("waits between attempts, but not when there is no time for another", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints } = yield* clientsOf()
        const at: Array<number> = []
        const use = () => Effect.flatMap(now, (now) => (at.push(now), Effect.fail("no")))
        const call = yield* start(
          endpoints.call(use, { attempts: 9, backoff: Schedule.exponential(100), timeout: 1000 })
        )
        yield* elapse(700)
        assert.deepEqual(at, [0, 100, 300, 700])
        assert.equal((failureOf(call) as Endpoints.CallFailed<string>).reason, "timeout")
        const finite = yield* start(endpoints.call(use, { attempts: 9, backoff: Schedule.recurs(1) }))
        assert.equal((failureOf(finite) as Endpoints.CallFailed<string>).attempts.length, 2)
      }))

    verify("fails at once without an instance, or waits for one up to waitFor", (fake) =>
      Effect.gen(function* () {
        yield* fake.set({ id: "busy", status: "draining" }, { id: "none", weight: 0 })
        const { endpoints } = yield* clientsOf()
        const error = yield* Effect.flip(endpoints.call(ok))
        assert.ok(error instanceof Endpoints.NoInstanceAvailable)
        assert.deepEqual([error.reason, error.waited], ["none", Duration.zero])
        const soon = yield* start(endpoints.call(ok, { waitFor: "5 seconds" }))
        const never = yield* start(endpoints.call(ok, { waitFor: "2 seconds" }))
        yield* elapse("2 seconds")
        assert.deepEqual(
          failureOf(never),
          new Endpoints.NoInstanceAvailable({ service: "orders", reason: "none", waited: Duration.seconds(2) })
        )
        assert.equal(soon.exit(), undefined)
        yield* fake.set("a")
        yield* settle
        assert.deepEqual(soon.exit(), Exit.succeed("a"))
      }))

    verify("waits for the first set, up to firstSetTimeout; unknown is not empty", (fake) =>
      Effect.gen(function* () {
        const { endpoints } = yield* clientsOf()
        const early = yield* start(endpoints.call(ok))
        yield* elapse(4_999)
        assert.equal(early.exit(), undefined)
        yield* elapse(1)
        assert.equal((failureOf(early) as Endpoints.NoInstanceAvailable).reason, "unknown")
        const waiting = yield* start(endpoints.call(ok))
        const empty = yield* start(endpoints.call(ok))
        yield* fake.set("a")
        yield* settle
        assert.deepEqual([waiting.exit(), empty.exit()], [Exit.succeed("a"), Exit.succeed("a")])
      }))

    verify("says so when discovery is refused, which is tried again", (fake, log) =>
      Effect.gen(function* () {
        const { endpoints } = yield* clientsOf({ firstSetTimeout: 0 })
        yield* fake.refuse(
          new EtcdError.EtcdError({ reason: new EtcdError.PermissionDenied({ detail: "no" }), method: "range" })
        )
        yield* settle
        const error = yield* Effect.flip(endpoints.call(ok))
        assert.ok(error instanceof Endpoints.NoInstanceAvailable)
        assert.deepEqual([error.reason, error.cause?._tag], ["unknown", "DiscoveryRefused"])
        assert.match(log.join(), /Warn the instances of "orders" are not followed: .*PermissionDenied/)
        yield* fake.set("a")
        yield* elapse("30 seconds")
        assert.equal(yield* endpoints.call(ok), "a")
        assert.deepEqual((yield* endpoints.state).refused, Option.none())
      }))

    verify(
      "whose use dies, dies with it, is not tried again and leaves nothing in flight",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { endpoints } = yield* clientsOf()
          let runs = 0
          const bug = new Error("a bug")
          const die = endpoints.call(() => (runs++, Effect.die(bug)))
          const thrown = endpoints.call((): Effect.Effect<never> => {
            runs++
            throw bug
          })
          const predicate = endpoints.call(() => (runs++, Effect.fail("no")), {
            retryable: () => {
              throw bug
            }
          })
          for (const call of [die, thrown, predicate]) {
            const exit = yield* Effect.exit(call)
            assert.ok(Exit.isFailure(exit))
            assert.equal(Cause.squash(exit.cause), bug)
          }
          assert.equal(runs, 3)
          assert.deepEqual((yield* endpoints.state).instances.map(({ inFlight }) => inFlight), [0, 0])
        })
    )

    verify("that is interrupted interrupts use and leaves nothing in flight", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { endpoints } = yield* clientsOf()
        let interrupted = 0
        const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
        const call = yield* start(endpoints.call(() => slow, { attemptTimeout: "1 minute" }))
        assert.equal((yield* endpoints.state).instances[0]?.inFlight, 1)
        yield* call.interrupt
        const [a] = (yield* endpoints.state).instances
        assert.deepEqual([interrupted, a?.inFlight, a?.failures, a?.health], [1, 0, 0, "healthy"])
      }))

    verify("passes the key on to the strategy; a hash of nothing is no instance", (fake) =>
      Effect.gen(function* () {
        yield* fake.set()
        const { endpoints } = yield* clientsOf({ strategy: Balancer.consistentHash() })
        const error = yield* Effect.flip(endpoints.call(ok, { key: "customer 7" }))
        assert.equal((error as Endpoints.NoInstanceAvailable).reason, "none")
        yield* fake.set("a", "b", "c", "d")
        yield* settle
        const keys = Array.from({ length: 20 }, (_, index) => `customer ${index}`)
        const chosen = Effect.forEach(keys, (key) => endpoints.call(ok, { key }))
        const first = yield* chosen
        assert.deepEqual(new Set(first).size, 4)
        assert.deepEqual(yield* chosen, first)
        // Another one of the ring takes over, and only while that is needed.
        const [home = ""] = first
        const moved = endpoints.call((id) => id === home ? Effect.fail("no") : ok(id), { key: "customer 0" })
        const call = yield* start(moved)
        yield* elapse("1 second")
        const exit = call.exit()
        assert.ok(exit !== undefined && Exit.isSuccess(exit) && exit.value !== home)
        assert.deepEqual(yield* chosen, first)
      }))

    verify("works when it is taken off its object", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { call } = (yield* clientsOf()).endpoints
        assert.equal(yield* call(ok), "a")
      }))
  })

  describe("retryBudget", () => {
    verify("allows at most ratio extra load, whatever fails", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c")
        const { endpoints } = yield* clientsOf({
          failureAccrual: false,
          retryBudget: { ratio: 0.2, minPerSecond: 0 },
          backoff: Schedule.spaced(0)
        })
        let runs = 0
        const calls = 1000
        const reasons = new Map<string, number>()
        for (let i = 0; i < calls; i++) {
          const error = yield* finish(endpoints.call(() => (runs++, Effect.fail("no")), { attempts: 3 }))
          if (error instanceof Endpoints.CallFailed) reasons.set(error.reason, (reasons.get(error.reason) ?? 0) + 1)
          yield* TestClock.adjust(2)
        }
        const state = yield* endpoints.state
        assert.deepEqual([runs, state.retries, state.overBudget], [calls * 1.2, calls * 0.2, reasons.get("budget")])
      }))

    verify(
      "keeps minPerSecond retries for a service with few calls, and forgets old calls",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { endpoints } = yield* clientsOf({ failureAccrual: false, retryBudget: { ratio: 1, minPerSecond: 1 } })
          assert.equal((yield* endpoints.state).budget, 10)
          yield* Effect.repeat(endpoints.call(ok), { times: 99 })
          assert.equal((yield* endpoints.state).budget, 110)
          yield* elapse("11 seconds")
          assert.equal((yield* endpoints.state).budget, 10)
        })
    )
  })

  describe("failureAccrual", () => {
    const failing = (bad: ReadonlySet<string>) => (id: string) => bad.has(id) ? Effect.fail("no") : Effect.succeed(id)
    /** Calls that are tried once; how often each instance was used. */
    const rounds = (endpoints: Endpoints.Endpoints<string>, bad: ReadonlySet<string>, count: number) =>
      Effect.gen(function* () {
        const before = (yield* endpoints.state).instances.map(({ requests }) => requests)
        yield* Effect.repeat(Effect.ignore(endpoints.call(failing(bad), { attempts: 1 })), { times: count - 1 })
        return (yield* endpoints.state).instances.map(({ requests }, index) => requests - (before[index] ?? 0))
      })

    verify(
      "ejects after consecutive failures for a time that doubles, and comes back through one probe",
      (fake, log) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { endpoints } = yield* clientsOf({ failureAccrual: { consecutive: 3, ejectFor: "1 second" } })
          const bad = new Set(["b"])
          assert.deepEqual(yield* rounds(endpoints, bad, 6), [3, 3])
          const [, b] = (yield* endpoints.state).instances
          assert.deepEqual([b?.health, b?.outFor, b?.ejections], ["ejected", 1000, 1])
          assert.deepEqual(log, ['Warn calls to b of "orders" fail: ejected for 1s'])
          assert.deepEqual(yield* rounds(endpoints, bad, 100), [100, 0])
          // The probe fails: for twice as long.
          yield* elapse(1000)
          assert.deepEqual(yield* rounds(endpoints, bad, 100), [99, 1])
          yield* elapse(1999)
          assert.deepEqual(yield* rounds(endpoints, bad, 100), [100, 0])
          yield* elapse(1)
          bad.clear()
          // While the probe is under way nobody else goes there.
          const gate = yield* Deferred.make<void>()
          const probes: Array<string> = []
          const slow = endpoints.call((
            id
          ) => (probes.push(id), id === "b" ? Effect.as(Deferred.await(gate), id) : ok(id)))
          yield* start(slow)
          yield* start(slow)
          assert.deepEqual((yield* endpoints.state).instances[1]?.health, "probing")
          assert.deepEqual(yield* rounds(endpoints, bad, 100), [100, 0])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepEqual((yield* endpoints.state).instances[1]?.health, "healthy")
          assert.deepEqual(yield* rounds(endpoints, bad, 100), [50, 50])
          // Sick again too soon: it goes on where it was. After a long healthy time it is a first time again.
          bad.add("b")
          yield* rounds(endpoints, bad, 6)
          assert.equal((yield* endpoints.state).instances[1]?.outFor, 4000)
          bad.clear()
          yield* elapse(4000)
          yield* rounds(endpoints, bad, 4)
          yield* elapse(4000)
          bad.add("b")
          yield* rounds(endpoints, bad, 6)
          assert.equal((yield* endpoints.state).instances[1]?.outFor, 1000)
        })
    )

    verify(
      "never takes out more than maxEjected of the set, also when that shrinks",
      (fake) =>
        Effect.gen(function* () {
          const ids = ["a", "b", "c", "d", "e", "f"]
          yield* fake.set(...ids)
          const { endpoints } = yield* clientsOf({ failureAccrual: { consecutive: 2, maxEjected: 0.5 } })
          yield* rounds(endpoints, new Set(ids), 100)
          const ejected = Effect.map(endpoints.state, ({ instances }) =>
            instances.flatMap(({ health, instance, outFor }) =>
              health === "ejected" && outFor > 0 ? [instance.id] : []
            ))
          const out = yield* ejected
          assert.equal(out.length, 3)
          // Two of the healthy ones leave: with four instances only two may be out.
          yield* fake.set(...out, ids.find((id) => !out.includes(id)) ?? "")
          yield* settle
          assert.equal((yield* ejected).length, 2)
        })
    )

    verify("ejects after failures in a row only: a success in between begins anew", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints } = yield* clientsOf({ failureAccrual: { consecutive: 3 } })
        for (let time = 0; time < 5; time++) {
          yield* rounds(endpoints, new Set(["b"]), 4)
          yield* rounds(endpoints, new Set(), 2)
        }
        assert.equal((yield* endpoints.state).ejections, 0)
        yield* rounds(endpoints, new Set(["b"]), 6)
        assert.equal((yield* endpoints.state).ejections, 1)
      }))

    verify("ejects by success rate when calls are many enough", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints } = yield* clientsOf({
          failureAccrual: { consecutive: 1000, successRate: { below: 0.8, window: "10 seconds", minCalls: 10 } }
        })
        let calls = 0
        const third = (id: string) => id === "b" && ++calls % 3 === 0 ? Effect.fail("no") : Effect.succeed(id)
        const health = Effect.map(endpoints.state, ({ instances: [, b] }) => b?.health)
        yield* Effect.repeat(Effect.ignore(endpoints.call(third, { attempts: 1 })), { times: 17 })
        assert.deepEqual([calls, yield* health], [9, "healthy"])
        // What is older than the window does not count.
        yield* elapse("11 seconds")
        yield* Effect.repeat(Effect.ignore(endpoints.call(third, { attempts: 1 })), { times: 17 })
        assert.deepEqual([calls, yield* health], [18, "healthy"])
        yield* Effect.repeat(Effect.ignore(endpoints.call(third, { attempts: 1 })), { times: 5 })
        assert.deepEqual([calls, yield* health], [21, "ejected"])
      }))

    verify(
      "counts nothing for calls that are interrupted; a probe that is gives its turn to the next",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { endpoints } = yield* clientsOf({ failureAccrual: { consecutive: 1, ejectFor: "1 second" } })
          yield* rounds(endpoints, new Set(["b"]), 2)
          yield* elapse(1000)
          const calls = yield* Effect.all([
            start(endpoints.call(() => Effect.never)),
            start(endpoints.call(() => Effect.never))
          ])
          const health = Effect.map(endpoints.state, ({ instances: [, b] }) => b?.health)
          assert.equal(yield* health, "probing")
          for (const call of calls) yield* call.interrupt
          assert.equal(yield* health, "ejected")
          yield* rounds(endpoints, new Set(), 2)
          assert.equal(yield* health, "healthy")
        })
    )

    verify("waits, with waitFor, for the next probe when all are out", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { endpoints } = yield* clientsOf({
          failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 1 }
        })
        yield* rounds(endpoints, new Set(["a"]), 1)
        const refused = yield* Effect.flip(endpoints.call(ok))
        assert.equal((refused as Endpoints.NoInstanceAvailable).reason, "out")
        const call = yield* start(endpoints.call(ok, { waitFor: "5 seconds" }))
        yield* elapse(999)
        assert.equal(call.exit(), undefined)
        yield* elapse(1)
        assert.deepEqual(call.exit(), Exit.succeed("a"))
      }))

    verify("lets those who wait go as soon as a probe under way succeeds", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { endpoints } = yield* clientsOf({
          failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 1 }
        })
        yield* rounds(endpoints, new Set(["a"]), 1)
        yield* elapse("1 second")
        yield* start(endpoints.call((id) => Effect.as(Effect.sleep("2 seconds"), id)))
        const waiting = yield* start(endpoints.call(ok, { waitFor: "1 minute" }))
        yield* elapse(1999)
        assert.equal(waiting.exit(), undefined)
        yield* elapse(1)
        assert.deepEqual(waiting.exit(), Exit.succeed("a"))
      }))
  })

  describe("hedge", () => {
    const warm = (endpoints: Endpoints.Endpoints<string>) =>
      Effect.gen(function* () {
        const calls = yield* start(
          Effect.repeat(endpoints.call((id) => Effect.as(Effect.sleep(10), id)), { times: 29 })
        )
        yield* elapse("1 second")
        assert.equal(calls.exit()?._tag, "Success")
      })

    verify(
      "sends a second attempt elsewhere after the percentile; the first answer wins, the other is interrupted",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { endpoints } = yield* clientsOf({ hedge: { after: 0.95 } })
          yield* warm(endpoints)
          const log: Array<string> = []
          const call = yield* start(endpoints.call((id) => {
            log.push(id)
            return Effect.onInterrupt(
              Effect.as(Effect.sleep(log.length === 1 ? "10 seconds" : "5 millis"), id),
              () => Effect.sync(() => log.push(`${id} interrupted`))
            )
          }))
          yield* elapse(9)
          assert.equal(log.length, 1)
          yield* elapse(10)
          const [slow, quick] = log
          assert.deepEqual(new Set([slow, quick]), new Set(["a", "b"]))
          assert.deepEqual([call.exit(), log[2]], [Exit.succeed(quick), `${slow} interrupted`])
          const { hedges, instances } = yield* endpoints.state
          assert.deepEqual([hedges, instances.map(({ inFlight }) => inFlight)], [1, [0, 0]])
        })
    )

    verify(
      "sends none before latencies are known, without another instance, or without budget or attempts",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const slow = (id: string) => Effect.as(Effect.sleep("1 second"), id)
          const hedges = (
            options: Options,
            isWarm = true
          ) =>
            Effect.gen(function* () {
              const { endpoints } = yield* clientsOf({ hedge: { after: 0.95 }, ...options })
              if (isWarm) yield* warm(endpoints)
              const call = yield* start(endpoints.call(slow))
              yield* elapse("2 seconds")
              assert.equal(call.exit()?._tag, "Success")
              return (yield* endpoints.state).hedges
            })
          assert.equal(yield* hedges({}), 1)
          assert.equal(yield* hedges({}, false), 0)
          assert.equal(yield* hedges({ attempts: 1 }), 0)
          assert.equal(yield* hedges({ retryBudget: { ratio: 0, minPerSecond: 0 } }), 0)
          yield* fake.set("a")
          assert.equal(yield* hedges({}), 0)
        })
    )

    verify("fails with both attempts when both fail", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints } = yield* clientsOf({ hedge: { after: 0.95 } })
        yield* warm(endpoints)
        const call = yield* start(
          endpoints.call((id) => Effect.andThen(Effect.sleep(50), Effect.fail(`no from ${id}`)), { attempts: 2 })
        )
        yield* elapse("1 second")
        const error = failureOf(call)
        assert.deepEqual(attemptsOf(error).map(([id, , error]) => [id, error]).toSorted(), [
          ["a", "no from a"],
          ["b", "no from b"]
        ])
      }))
  })

  describe("state and metrics", () => {
    verify(
      "tell of each instance; series of those that leave are removed, and there are only so many",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b", "c")
          const { endpoints } = yield* clientsOf({ instanceMetrics: 2, attributes: { app: "shop" } })
          const call = yield* start(
            Effect.repeat(endpoints.call((id) => Effect.as(Effect.sleep(20), id)), { times: 2 })
          )
          yield* elapse("1 second")
          assert.equal(call.exit()?._tag, "Success")
          const state = yield* endpoints.state
          assert.deepEqual(
            state.instances.map(({ client, ewma, failures, inFlight, instance, requests }) => [
              instance.id,
              client,
              requests,
              failures,
              inFlight,
              Option.map(ewma, Math.round)
            ]),
            ["a", "b", "c"].map((id) => [id, "connected", 1, 0, 0, Option.some(20)])
          )
          assert.deepEqual([state.service, state.strategy, state.revision, state.calls], [
            "orders",
            "roundRobin",
            Option.some(1n),
            3
          ])
          const series = Effect.map(Metric.snapshot, (all) =>
            all.filter(({ id }) =>
              id === "etcd_discovery_instance_requests"
            ).map(({ attributes, state }) => [
              attributes?.["instance"],
              attributes?.["app"],
              state
            ]))
          assert.equal((yield* series).length, 2)
          yield* fake.set("c")
          yield* settle
          const left = yield* series
          assert.deepEqual(left, left.filter(([id]) => id === "c"))
          yield* fake.set("c", "d", "e")
          yield* settle
          yield* Effect.all([endpoints.call(ok), endpoints.call(ok), endpoints.call(ok)])
          assert.equal((yield* series).length, 2)
          assert.deepEqual(yield* counted("etcd_discovery_calls"), 6)
        })
    )

    verify("tell what calls to an instance come to, and whether it is ejected", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { endpoints } = yield* clientsOf({
          failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 0.5 }
        })
        const metricsOf = (id: string) =>
          Effect.map(Metric.snapshot, (all) =>
            all.filter(({ attributes }) =>
              attributes?.["instance"] === id
            ).map((metric) => [
              metric.id.slice("etcd_discovery_instance_".length),
              metric.type === "Counter" ? metric.state.count : metric.type === "Gauge" ? metric.state.value : metric
            ]))
        const metrics = Effect.map(Effect.all([metricsOf("a"), metricsOf("b")]), (both) => both.map(Object.fromEntries))
        /** Calls each of both once, for 20 ms. */
        const both = (use: (id: string) => Effect.Effect<string, string>) => {
          const call = Effect.exit(endpoints.call((id) => Effect.andThen(Effect.sleep(20), use(id)), { attempts: 1 }))
          return start(Effect.all([call, call], { concurrency: 2 }))
        }

        yield* both((id) => id === "a" ? ok(id) : Effect.fail("no"))
        yield* elapse(19)
        const busy = { requests: 1, failures: 0, in_flight: 1, ewma_ms: 0, ejected: 0 }
        assert.deepEqual(yield* metrics, [busy, busy])
        yield* elapse(1)
        const good = { ...busy, in_flight: 0, ewma_ms: 20 }
        // How soon it failed is no latency.
        const bad = { ...busy, in_flight: 0, failures: 1, ejected: 1 }
        assert.deepEqual(yield* metrics, [good, bad])

        // Ejected until a probe went well.
        yield* elapse("1 second")
        yield* both(ok)
        yield* elapse(19)
        assert.deepEqual(yield* metrics, [
          { ...good, requests: 2, in_flight: 1 },
          { ...bad, requests: 2, in_flight: 1 }
        ])
        yield* elapse(1)
        assert.deepEqual(yield* metrics, [
          { ...good, requests: 2 },
          { ...bad, requests: 2, ewma_ms: 20, ejected: 0 }
        ])
      }))

    verify("are gone with the scope", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        yield* Effect.scoped(Effect.gen(function* () {
          const { endpoints } = yield* clientsOf()
          yield* endpoints.call(ok)
          assert.notEqual((yield* Metric.snapshot).length, 0)
        }))
        assert.deepEqual((yield* Metric.snapshot).map(({ id }) => id), [])
      }))
  })

  describe("options", () => {
    verify("that cannot be are refused, typed, before anything is connected", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const refused = (options: Options) =>
          Effect.map(
            Effect.flip(clientsOf(options)),
            (error) => [error._tag, "option" in error ? error.option : error.field]
          )
        assert.deepEqual(yield* refused({ service: "a/b" }), ["InvalidOption", "service"])
        assert.deepEqual(yield* refused({ attempts: 0 }), ["InvalidEndpoints", "attempts"])
        assert.deepEqual(yield* refused({ connectTimeout: 0 }), ["InvalidEndpoints", "connectTimeout"])
        assert.deepEqual(yield* refused({ closeTimeout: -1 }), ["InvalidEndpoints", "closeTimeout"])
        assert.deepEqual(yield* refused({ retryBudget: { ratio: -0.1 } }), ["InvalidEndpoints", "retryBudget.ratio"])
        assert.deepEqual(yield* refused({ hedge: { after: 1 } }), ["InvalidEndpoints", "hedge.after"])
        assert.deepEqual(yield* refused({ failureAccrual: { maxEjected: 2 } }), [
          "InvalidEndpoints",
          "failureAccrual.maxEjected"
        ])
        assert.deepEqual(yield* refused({ instanceMetrics: 1.5 }), ["InvalidEndpoints", "instanceMetrics"])

        const { endpoints, log } = yield* clientsOf()
        const call = (options: Endpoints.CallOptions<never>) => Effect.flip(endpoints.call(ok, options))
        assert.equal(
          (yield* call({ attempts: 0 })).message,
          'cannot call "orders": attempts is 0; it must be a whole number of 1 or more'
        )
        const fields: Array<unknown> = []
        for (const options of [{ attempts: 1.5 }, { attempts: Number.NaN }, { timeout: 0 }, { waitFor: -1 }]) {
          const error = yield* call(options)
          fields.push(error instanceof Endpoints.InvalidEndpoints ? error.field : error)
        }
        assert.deepEqual(fields, ["attempts", "attempts", "timeout", "waitFor"])
        assert.deepEqual(log, [])
      }))
  })
})

/** The failure of a call, after as much time as it takes. */
const finish = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<E | undefined, never, Scope.Scope> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkScoped(Effect.exit(call), { startImmediately: true })
    for (let step = 0; fiber.pollUnsafe() === undefined && step < 100; step++) yield* TestClock.adjust(100)
    return Option.getOrUndefined(Exit.findErrorOption(yield* Fiber.join(fiber)))
  })

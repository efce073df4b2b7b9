import { Cause, Deferred, Duration, Effect, Exit, Fiber, Metric, Option, Schedule, type Scope } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { DiscoveryRefused, InvalidOption, type Registry, type ServiceInstance } from "../../mod.ts"
import { EtcdError } from "../../src/etcd/mod.ts"
import { Balancer, ServiceClient } from "../../src/balancing/mod.ts"
import { describe } from "../harness/it.ts"
import { counted, elapse, failureOf, settle, start, verify as onVirtualTime } from "../harness/virtual.ts"
import { type Fake, fake, now } from "./clientSupport.ts"

/** What happened to the clients: `open a`, `close a`. */
type Clients = Array<string>

type Options = Partial<
  ServiceClient.Options<string, Readonly<Record<string, string>>, unknown, Scope.Scope>
>

/** A service client whose clients are the ids of their instances. */
const clientOf = (options: Options = {}) =>
  Effect.gen(function* () {
    const log: Clients = []
    const client = yield* ServiceClient.make<string, unknown, Scope.Scope>({
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
    return { client, log }
  })

const verify = <E>(
  title: string,
  body: (fake: Fake, log: ReadonlyArray<string>) => Effect.Effect<void, E, Scope.Scope | Registry.Registry>
): void => onVirtualTime(title, (log) => Effect.flatMap(fake, (fake) => Effect.provide(body(fake, log), fake.layer)))

const ok = (id: string) => Effect.succeed(id)

/** Each error of a failed call, by instance. */
const attemptsOf = (error: unknown): ReadonlyArray<readonly [string, number, unknown]> =>
  error instanceof ServiceClient.CallFailed ?
    error.attempts.map((
      { duration, error, instance }
    ) => [instance.id, Math.round(Duration.toMillis(duration)), error]) :
    []

describe("ServiceClient", () => {
  describe("clients", () => {
    verify(
      "ServiceClient opens a client on first use, shares it, and closes it when the instance leaves",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client, log } = yield* clientOf()
          assert.deepEqual(log, [])
          const called = yield* Effect.all(Array.from({ length: 6 }, () => client.call(ok)), { concurrency: 6 })
          assert.deepEqual(called.toSorted(), ["a", "a", "a", "b", "b", "b"])
          assert.deepEqual(log.toSorted(), ["open a", "open b"])
          yield* fake.set("b")
          yield* settle
          assert.deepEqual(log.slice(2), ["close a"])
          // Where it goes from here on, and after it has come back, with a client of its own.
          assert.deepEqual([yield* client.call(ok), yield* client.call(ok)], ["b", "b"])
          yield* fake.set("a", "b")
          yield* settle
          yield* client.call(ok)
          yield* client.call(ok)
          assert.deepEqual(log.slice(3), ["open a"])
        })
    )

    verify(
      'ServiceClient connects eagerly with open: "eagerly", and again after a failed connect',
      (fake) =>
        Effect.gen(function* () {
          const opened: Array<readonly [number, string]> = []
          yield* fake.set("a", { id: "down", status: "down" })
          yield* clientOf({
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
      "ServiceClient closes the client of an instance that left after its calls in flight",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client, log } = yield* clientOf()
          const call = yield* start(client.call((id) => Effect.as(Effect.sleep("10 seconds"), id)))
          yield* fake.set("b")
          yield* elapse(9_999)
          assert.deepEqual([log, call.exit()], [["open a"], undefined])
          yield* elapse(1)
          assert.deepEqual([log, call.exit()], [["open a", "close a"], Exit.succeed("a")])
        })
    )

    verify("ServiceClient closes a client under calls that exceed closeTimeout", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { client, log } = yield* clientOf({ closeTimeout: "3 seconds" })
        yield* start(client.call(() => Effect.never))
        yield* fake.set("b")
        yield* elapse(2_999)
        assert.deepEqual(log, ["open a"])
        yield* elapse(1)
        assert.deepEqual(log, ["open a", "close a"])
      }))

    verify("ServiceClient replaces a client only if connectKey changes", (fake) =>
      Effect.gen(function* () {
        const a = { id: "a", endpoints: ["http://10.0.0.1:80"], metadata: { shard: "1" } }
        yield* fake.set(a)
        const { client, log } = yield* clientOf()
        const step = (change: Partial<ServiceInstance>) =>
          Effect.gen(function* () {
            yield* fake.set({ ...a, ...change })
            yield* settle
            yield* client.call(ok)
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
        assert.equal((yield* client.state).instances[0]?.requests, 4)
      }))

    verify(
      "ServiceClient closes clients with its scope after the calls in flight, and refuses later calls",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const made = yield* Deferred.make<ServiceClient.ServiceClient<string>>()
          const log: Clients = []
          const owner = yield* start(Effect.scoped(Effect.gen(function* () {
            const own = yield* clientOf({
              connect: ({ id }) =>
                Effect.acquireRelease(Effect.succeed(id), () => Effect.sync(() => void log.push(`close ${id}`)))
            })
            yield* Deferred.succeed(made, own.client)
            yield* Effect.sleep("1 second")
          })))
          const client = yield* Deferred.await(made)
          const call = yield* start(client.call((id) => Effect.as(Effect.sleep("5 seconds"), id)))
          yield* elapse("1 second")
          const late = yield* start(client.call(ok, { waitFor: "1 minute" }))
          assert.equal((failureOf(late) as ServiceClient.NoInstanceAvailable).reason, "closed")
          assert.deepEqual([log, owner.exit()], [[], undefined])
          yield* elapse("4 seconds")
          assert.deepEqual([log, call.exit(), owner.exit()], [["close a"], Exit.succeed("a"), Exit.void])
        })
    )

    verify(
      "ServiceClient waits for connects of calls in flight when its scope closes",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const log: Clients = []
          const made = yield* Deferred.make<ServiceClient.ServiceClient<string>>()
          const owner = yield* start(Effect.scoped(Effect.gen(function* () {
            const { client } = yield* clientOf({
              connect: ({ id }) =>
                Effect.acquireRelease(
                  Effect.as(Effect.sleep("3 seconds"), id),
                  () => Effect.sync(() => void log.push("close"))
                )
            })
            yield* Deferred.succeed(made, client)
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
    verify(
      "ServiceClient keeps only the instance of a failed connect out for the backoff",
      (fake) =>
        Effect.gen(function* () {
          const opened: Array<readonly [number, string]> = []
          yield* fake.set("a", "b", "c")
          const { client } = yield* clientOf({
            connectBackoff: Schedule.exponential("1 second"),
            connect: ({ id }) =>
              Effect.flatMap(now, (at) => {
                opened.push([at, id])
                return id === "b" ? Effect.fail("refused") : Effect.succeed(id)
              })
          })
          const calls = Effect.all(
            Array.from({ length: 12 }, () => client.call(ok, { backoff: Schedule.spaced(0) }))
          )
          const called = new Set(yield* calls)
          assert.deepEqual(called, new Set(["a", "c"]))
          assert.deepEqual(opened.map(([at]) => at), [0, 0, 0])
          const b = (yield* client.state).instances[1]
          assert.deepEqual([b?.health, b?.outFor, b?.client, b?.failures], ["out", 1000, "failed", 1])
          yield* elapse(1000)
          yield* calls
          yield* elapse(1000)
          yield* calls
          assert.deepEqual(opened.slice(3), [[1000, "b"]])
          yield* elapse(1000)
          yield* calls
          assert.deepEqual(opened.slice(4), [[3000, "b"]])
        })
    )

    verify(
      "ServiceClient bounds a connect that never ends, and shares it among callers",
      (fake) =>
        Effect.gen(function* () {
          let interrupted = 0
          yield* fake.set("a")
          const { client } = yield* clientOf({
            connectTimeout: "2 seconds",
            // No call connects again.
            connectBackoff: Schedule.spaced("5 seconds"),
            connect: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
          })
          const one = yield* start(client.call(ok))
          const other = yield* start(client.call(ok))
          const gone = yield* start(client.call(ok))
          yield* gone.interrupt
          assert.equal(interrupted, 0)
          yield* elapse(1999)
          assert.deepEqual([one.exit(), other.exit(), interrupted], [undefined, undefined, 0])
          yield* elapse("1 second")
          for (const call of [one, other]) {
            const error = failureOf(call)
            assert.ok(error instanceof ServiceClient.CallFailed)
            assert.equal(error.reason, "instances")
            assert.equal(
              error.message,
              'cannot call "orders": no other instance is left (a after 2000 ms: cannot connect to a of "orders": ' +
                "the connect did not end within 2 s)"
            )
          }
          assert.equal(interrupted, 1)
        })
    )

    verify(
      "ServiceClient abandons an uninterruptible connect, and closes what it opens later",
      (fake) =>
        Effect.gen(function* () {
          const log: Clients = []
          const gate = yield* Deferred.make<void>()
          yield* fake.set("a")
          const closed = yield* start(Effect.scoped(Effect.gen(function* () {
            const { client } = yield* clientOf({
              connectTimeout: "2 seconds",
              closeTimeout: "1 second",
              connect: () =>
                Effect.acquireRelease(
                  Effect.as(Deferred.await(gate), "late"),
                  () => Effect.sync(() => log.push("closed"))
                )
            })
            const error = yield* Effect.flip(client.call(ok))
            assert.equal(error._tag, "CallFailed")
          })))
          // In two steps: the close begins when the connect times out.
          yield* elapse("2 seconds")
          yield* elapse("2 seconds")
          assert.deepEqual([closed.exit(), log], [Exit.void, []])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepEqual(log, ["closed"])
        })
    )

    verify("ServiceClient treats a connect that dies or throws like one that fails", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { client } = yield* clientOf({ connect: () => Effect.die(new Error("a bug")) })
        assert.match(String(yield* finish(client.call(ok))), /cannot connect to a of "orders": a bug/)
        // It throws before it is an effect.
        const { client: others } = yield* clientOf({
          connect: () => {
            throw new Error("another bug")
          }
        })
        assert.match(String(yield* finish(others.call(ok))), /cannot connect to a of "orders": another bug/)
      }))

    verify(
      "ServiceClient ends the connect of an instance that leaves, and its call goes to another",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client } = yield* clientOf({
            closeTimeout: "1 second",
            connect: ({ id }) => id === "a" ? Effect.never : Effect.succeed(id)
          })
          const call = yield* start(client.call(ok))
          yield* fake.set("b")
          yield* elapse("2 seconds")
          assert.deepEqual(call.exit(), Exit.succeed("b"))
        })
    )
  })

  describe("call", () => {
    verify("ServiceClient.call tries each instance once before it tries one again", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c")
        const { client } = yield* clientOf({ failureAccrual: false })
        const seen: Array<string> = []
        const error = yield* finish(client.call((id) => {
          seen.push(id)
          return Effect.fail(`no from ${id}`)
        }, { attempts: 7 }))
        assert.ok(error instanceof ServiceClient.CallFailed)
        assert.equal(error.reason, "attempts")
        assert.deepEqual(seen.slice(0, 3).toSorted(), ["a", "b", "c"])
        assert.deepEqual(attemptsOf(error), seen.map((id) => [id, 0, `no from ${id}`]))
        assert.equal(error.last, `no from ${seen[6]}`)
      }))

    verify(
      "ServiceClient.call succeeds with the first success, and fails with an error that is not retryable",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b", "c")
          const { client } = yield* clientOf()
          let runs = 0
          const flaky = (id: string) => Effect.suspend(() => ++runs < 3 ? Effect.fail("busy") : Effect.succeed(id))
          const call = yield* start(client.call(flaky))
          yield* elapse("2 seconds")
          assert.equal(call.exit()?._tag, "Success")
          assert.equal(runs, 3)
          const answer = client.call(() => Effect.fail("not found"), { retryable: (error) => error === "busy" })
          assert.equal(yield* Effect.flip(answer), "not found")
          // Many of them take nobody out: the instances did their work.
          yield* Effect.repeat(Effect.ignore(answer), { times: 50 })
          const state = yield* client.state
          assert.deepEqual([state.ejections, state.retries, state.calls], [0, 2, 53])
          assert.deepEqual(state.instances.map(({ failures }) => failures).reduce((a, b) => a + b), 2)
        })
    )

    verify(
      "ServiceClient.call ends an attempt at attemptTimeout, and itself at timeout",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b", "c", "d")
          const { client } = yield* clientOf()
          const options = {
            attempts: 4,
            attemptTimeout: "400 millis",
            timeout: "1 second",
            backoff: Schedule.spaced(0)
          } as const
          let interrupted = 0
          const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
          const call = yield* start(client.call(() => slow, options))
          yield* elapse(999)
          assert.deepEqual([call.exit(), interrupted], [undefined, 2])
          yield* elapse(1)
          const error = failureOf(call)
          assert.ok(error instanceof ServiceClient.CallFailed)
          assert.deepEqual([error.reason, interrupted], ["timeout", 3])
          const limits = error.attempts.map(({ duration, error }) => [duration, error])
          assert.deepEqual(
            limits,
            [400, 400, 200].map((limit) => [
              Duration.millis(limit),
              new ServiceClient.TimedOut({ what: "attempt", limit: Duration.millis(limit) })
            ])
          )
          // The last attempt, too, was ended by the time and not by its own limit.
          const last = yield* start(client.call(() => slow, { attempts: 1, timeout: "1 second" }))
          yield* elapse("1 second")
          assert.equal((failureOf(last) as ServiceClient.CallFailed<never>).reason, "timeout")
          // A timeout that may not be tried again.
          const once = yield* start(client.call(() => slow, { ...options, retryable: () => false }))
          yield* elapse(400)
          assert.equal((failureOf(once) as ServiceClient.CallFailed<never>).reason, "refused")
        })
    )

    verify(
      "ServiceClient.call waits between attempts, and fails if no time is left for another",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf()
          const at: Array<number> = []
          const use = () => Effect.flatMap(now, (now) => (at.push(now), Effect.fail("no")))
          const call = yield* start(
            client.call(use, { attempts: 9, backoff: Schedule.exponential(100), timeout: 1000 })
          )
          yield* elapse(700)
          assert.deepEqual(at, [0, 100, 300, 700])
          assert.equal((failureOf(call) as ServiceClient.CallFailed<string>).reason, "timeout")
          const finite = yield* start(client.call(use, { attempts: 9, backoff: Schedule.recurs(1) }))
          assert.equal((failureOf(finite) as ServiceClient.CallFailed<string>).attempts.length, 2)
        })
    )

    verify(
      "ServiceClient.call fails at once without an instance, or waits for one up to waitFor",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set({ id: "busy", status: "draining" }, { id: "none", weight: 0 })
          const { client } = yield* clientOf()
          const error = yield* Effect.flip(client.call(ok))
          assert.ok(error instanceof ServiceClient.NoInstanceAvailable)
          assert.deepEqual([error.reason, error.waited], ["none", Duration.zero])
          const soon = yield* start(client.call(ok, { waitFor: "5 seconds" }))
          const never = yield* start(client.call(ok, { waitFor: "2 seconds" }))
          yield* elapse("2 seconds")
          assert.deepEqual(
            failureOf(never),
            new ServiceClient.NoInstanceAvailable({
              service: "orders",
              reason: "none",
              waited: Duration.seconds(2),
              census: {
                available: [],
                rejected: [],
                starting: [],
                draining: ["busy"],
                down: [],
                weightless: ["none"],
                passedOver: []
              }
            })
          )
          assert.equal(soon.exit(), undefined)
          yield* fake.set("a")
          yield* settle
          assert.deepEqual(soon.exit(), Exit.succeed("a"))
        })
    )

    verify("NoInstanceAvailable lists the instances that take no traffic, and why", (fake) =>
      Effect.gen(function* () {
        yield* fake.set(
          { id: "a", status: "starting" },
          ...["b", "c", "d", "e"].map((id) => ({ id, status: "draining" as const })),
          { id: "f", status: "down" },
          { id: "g", weight: 0 }
        )
        const { client } = yield* clientOf()
        const error = yield* Effect.flip(client.call(ok))
        assert.ok(error instanceof ServiceClient.NoInstanceAvailable)
        const { draining, down, starting, weightless } = error.census
        assert.deepEqual([starting, draining, down, weightless], [["a"], ["b", "c", "d", "e"], ["f"], ["g"]])
        assert.equal(
          error.message,
          'cannot call "orders": no instance takes traffic (1 starting: a; 4 draining: b, c, d, …; 1 down: f; ' +
            "1 with weight 0: g); waited 0 ms, see waitFor"
        )
      }))

    verify(
      "ServiceClient.endpointOf selects the first endpoint by scheme, or fails the connect",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set({ id: "a", endpoints: ["http://a:80", "GRPC://a:90", "grpcs://a:91"] }, "b")
          const { client } = yield* clientOf({
            failureAccrual: false,
            backoff: Schedule.spaced(0),
            connect: (instance) => ServiceClient.endpointOf(instance, "grpcs", "grpc")
          })
          const called = yield* Effect.replicateEffect(client.call(ok), 4)
          assert.deepEqual(new Set(called), new Set(["GRPC://a:90"]))
          const b = (yield* client.state).instances.find(({ instance }) => instance.id === "b")
          assert.deepEqual([b?.client, b?.health], ["failed", "out"])
        })
    )

    verify(
      "ServiceClient.call waits for the first set up to discoveryTimeout: unknown is not empty",
      (fake) =>
        Effect.gen(function* () {
          const { client } = yield* clientOf()
          const early = yield* start(client.call(ok))
          yield* elapse(4_999)
          assert.equal(early.exit(), undefined)
          yield* elapse(1)
          assert.equal((failureOf(early) as ServiceClient.NoInstanceAvailable).reason, "unknown")
          const waiting = yield* start(client.call(ok))
          const empty = yield* start(client.call(ok))
          yield* fake.set("a")
          yield* settle
          assert.deepEqual([waiting.exit(), empty.exit()], [Exit.succeed("a"), Exit.succeed("a")])
        })
    )

    verify(
      "ServiceClient.call fails with the cause while discovery is refused, which is retried",
      (fake, log) =>
        Effect.gen(function* () {
          const { client } = yield* clientOf({ discoveryTimeout: 0 })
          yield* fake.refuse(
            new EtcdError.EtcdError({ reason: new EtcdError.PermissionDenied({ detail: "no" }), method: "range" })
          )
          yield* settle
          const error = yield* Effect.flip(client.call(ok))
          assert.ok(error instanceof ServiceClient.NoInstanceAvailable)
          assert.deepEqual([error.reason, error.cause instanceof DiscoveryRefused], ["unknown", true])
          assert.match(log.join(), /Warn discovery of "orders" failed; retrying: .*PermissionDenied/)
          yield* fake.set("a")
          yield* elapse("30 seconds")
          assert.equal(yield* client.call(ok), "a")
          assert.deepEqual((yield* client.state).refused, Option.none())
        })
    )

    verify(
      "ServiceClient.call dies with a defect of use or a predicate, without a retry or a call in flight",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf()
          let runs = 0
          const bug = new Error("a bug")
          const die = client.call(() => (runs++, Effect.die(bug)))
          const thrown = client.call((): Effect.Effect<never> => {
            runs++
            throw bug
          })
          const predicate = client.call(() => (runs++, Effect.fail("no")), {
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
          assert.deepEqual((yield* client.state).instances.map(({ inFlight }) => inFlight), [0, 0])
        })
    )

    verify(
      "ServiceClient.call interrupts use when it is interrupted, and leaves nothing in flight",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client } = yield* clientOf()
          let interrupted = 0
          const slow = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
          const call = yield* start(client.call(() => slow, { attemptTimeout: "1 minute" }))
          assert.equal((yield* client.state).instances[0]?.inFlight, 1)
          yield* call.interrupt
          const [a] = (yield* client.state).instances
          assert.deepEqual([interrupted, a?.inFlight, a?.failures, a?.health], [1, 0, 0, "healthy"])
        })
    )

    verify("ServiceClient.call passes its key to the strategy", (fake) =>
      Effect.gen(function* () {
        yield* fake.set()
        const { client } = yield* clientOf({ strategy: Balancer.consistentHash() })
        const error = yield* Effect.flip(client.call(ok, { key: "customer 7" }))
        assert.equal((error as ServiceClient.NoInstanceAvailable).reason, "none")
        yield* fake.set("a", "b", "c", "d")
        yield* settle
        const keys = Array.from({ length: 20 }, (_, index) => `customer ${index}`)
        const chosen = Effect.forEach(keys, (key) => client.call(ok, { key }))
        const first = yield* chosen
        assert.deepEqual(new Set(first).size, 4)
        assert.deepEqual(yield* chosen, first)
        // Another one of the ring takes over, and only while that is needed.
        const [home = ""] = first
        const moved = client.call((id) => id === home ? Effect.fail("no") : ok(id), { key: "customer 0" })
        const call = yield* start(moved)
        yield* elapse("1 second")
        const exit = call.exit()
        assert.ok(exit !== undefined && Exit.isSuccess(exit) && exit.value !== home)
        assert.deepEqual(yield* chosen, first)
      }))

    verify("ServiceClient.call works when it is detached from its object", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const { call } = (yield* clientOf()).client
        assert.equal(yield* call(ok), "a")
      }))
  })

  describe("strategy", () => {
    verify(
      "ServiceClient with default options gives weights 1 and 9 exactly 100 and 900 of 1,000 calls",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set({ id: "a", weight: 1 }, { id: "b", weight: 9 })
          const { client } = yield* clientOf()
          const called = yield* Effect.replicateEffect(client.call(ok), 1000)
          const count = (id: string) => called.filter((one) => one === id).length
          assert.deepEqual([count("a"), count("b")], [100, 900])
        })
    )
  })

  describe("retryBudget", () => {
    verify("retryBudget allows at most ratio extra attempts if all calls fail", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b", "c")
        const { client } = yield* clientOf({
          failureAccrual: false,
          retryBudget: { ratio: 0.2, minPerSecond: 0 },
          backoff: Schedule.spaced(0)
        })
        let runs = 0
        const calls = 1000
        const reasons = new Map<string, number>()
        for (let i = 0; i < calls; i++) {
          const error = yield* finish(client.call(() => (runs++, Effect.fail("no")), { attempts: 3 }))
          if (error instanceof ServiceClient.CallFailed) reasons.set(error.reason, (reasons.get(error.reason) ?? 0) + 1)
          yield* TestClock.adjust(2)
        }
        const state = yield* client.state
        assert.deepEqual([runs, state.retries, state.overBudget], [calls * 1.2, calls * 0.2, reasons.get("budget")])
      }))

    verify(
      "retryBudget permits minPerSecond retries for few calls, and drops old calls",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({ failureAccrual: false, retryBudget: { ratio: 1, minPerSecond: 1 } })
          assert.equal((yield* client.state).budget, 10)
          yield* Effect.repeat(client.call(ok), { times: 99 })
          assert.equal((yield* client.state).budget, 110)
          yield* elapse("11 seconds")
          assert.equal((yield* client.state).budget, 10)
        })
    )
  })

  describe("failureAccrual", () => {
    const failing = (bad: ReadonlySet<string>) => (id: string) => bad.has(id) ? Effect.fail("no") : Effect.succeed(id)
    /** Calls that are tried once; how often each instance was used. */
    const rounds = (client: ServiceClient.ServiceClient<string>, bad: ReadonlySet<string>, count: number) =>
      Effect.gen(function* () {
        const before = (yield* client.state).instances.map(({ requests }) => requests)
        yield* Effect.repeat(Effect.ignore(client.call(failing(bad), { attempts: 1 })), { times: count - 1 })
        return (yield* client.state).instances.map(({ requests }, index) => requests - (before[index] ?? 0))
      })

    verify(
      "failureAccrual ejects after consecutive failures for a time that doubles, and restores with one probe",
      (fake, log) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({ failureAccrual: { consecutive: 3, ejectFor: "1 second" } })
          const bad = new Set(["b"])
          assert.deepEqual(yield* rounds(client, bad, 6), [3, 3])
          const [, b] = (yield* client.state).instances
          assert.deepEqual([b?.health, b?.outFor, b?.ejections], ["ejected", 1000, 1])
          assert.deepEqual(log, ['Warn calls to b of "orders" fail; ejected for 1 s'])
          assert.deepEqual(yield* rounds(client, bad, 100), [100, 0])
          // The probe fails: for twice as long.
          yield* elapse(1000)
          assert.deepEqual(yield* rounds(client, bad, 100), [99, 1])
          yield* elapse(1999)
          assert.deepEqual(yield* rounds(client, bad, 100), [100, 0])
          yield* elapse(1)
          bad.clear()
          // While the probe is under way nobody else goes there.
          const gate = yield* Deferred.make<void>()
          const probes: Array<string> = []
          const slow = client.call((
            id
          ) => (probes.push(id), id === "b" ? Effect.as(Deferred.await(gate), id) : ok(id)))
          yield* start(slow)
          yield* start(slow)
          assert.deepEqual((yield* client.state).instances[1]?.health, "probing")
          assert.deepEqual(yield* rounds(client, bad, 100), [100, 0])
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.deepEqual((yield* client.state).instances[1]?.health, "healthy")
          assert.deepEqual(yield* rounds(client, bad, 100), [50, 50])
          // Sick again too soon: it goes on where it was. After a long healthy time it is a first time again.
          bad.add("b")
          yield* rounds(client, bad, 6)
          assert.equal((yield* client.state).instances[1]?.outFor, 4000)
          bad.clear()
          yield* elapse(4000)
          yield* rounds(client, bad, 4)
          yield* elapse(4000)
          bad.add("b")
          yield* rounds(client, bad, 6)
          assert.equal((yield* client.state).instances[1]?.outFor, 1000)
        })
    )

    verify(
      "failureAccrual never ejects more than maxEjected of the set, even if that shrinks",
      (fake) =>
        Effect.gen(function* () {
          const ids = ["a", "b", "c", "d", "e", "f"]
          yield* fake.set(...ids)
          const { client } = yield* clientOf({ failureAccrual: { consecutive: 2, maxEjected: 0.5 } })
          yield* rounds(client, new Set(ids), 100)
          const ejected = Effect.map(client.state, ({ instances }) =>
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

    verify(
      "failureAccrual counts consecutive failures only: a success resets the count",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({ failureAccrual: { consecutive: 3 } })
          for (let time = 0; time < 5; time++) {
            yield* rounds(client, new Set(["b"]), 4)
            yield* rounds(client, new Set(), 2)
          }
          assert.equal((yield* client.state).ejections, 0)
          yield* rounds(client, new Set(["b"]), 6)
          assert.equal((yield* client.state).ejections, 1)
        })
    )

    verify("failureAccrual ejects by success rate with minCalls in the window", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { client } = yield* clientOf({
          failureAccrual: { consecutive: 1000, successRate: { below: 0.8, window: "10 seconds", minCalls: 10 } }
        })
        let calls = 0
        const third = (id: string) => id === "b" && ++calls % 3 === 0 ? Effect.fail("no") : Effect.succeed(id)
        const health = Effect.map(client.state, ({ instances: [, b] }) => b?.health)
        yield* Effect.repeat(Effect.ignore(client.call(third, { attempts: 1 })), { times: 17 })
        assert.deepEqual([calls, yield* health], [9, "healthy"])
        // What is older than the window does not count.
        yield* elapse("11 seconds")
        yield* Effect.repeat(Effect.ignore(client.call(third, { attempts: 1 })), { times: 17 })
        assert.deepEqual([calls, yield* health], [18, "healthy"])
        yield* Effect.repeat(Effect.ignore(client.call(third, { attempts: 1 })), { times: 5 })
        assert.deepEqual([calls, yield* health], [21, "ejected"])
      }))

    verify(
      "failureAccrual ignores interrupted calls, and an interrupted probe is followed by another",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({ failureAccrual: { consecutive: 1, ejectFor: "1 second" } })
          yield* rounds(client, new Set(["b"]), 2)
          yield* elapse(1000)
          const calls = yield* Effect.all([
            start(client.call(() => Effect.never)),
            start(client.call(() => Effect.never))
          ])
          const health = Effect.map(client.state, ({ instances: [, b] }) => b?.health)
          assert.equal(yield* health, "probing")
          for (const call of calls) yield* call.interrupt
          assert.equal(yield* health, "ejected")
          yield* rounds(client, new Set(), 2)
          assert.equal(yield* health, "healthy")
        })
    )

    verify(
      "ServiceClient.call with waitFor waits for the next probe if all instances are out",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client } = yield* clientOf({
            failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 1 }
          })
          yield* rounds(client, new Set(["a"]), 1)
          const refused = yield* Effect.flip(client.call(ok))
          assert.equal((refused as ServiceClient.NoInstanceAvailable).reason, "out")
          const call = yield* start(client.call(ok, { waitFor: "5 seconds" }))
          yield* elapse(999)
          assert.equal(call.exit(), undefined)
          yield* elapse(1)
          assert.deepEqual(call.exit(), Exit.succeed("a"))
        })
    )

    verify(
      "ServiceClient.call with waitFor continues as soon as a probe in flight succeeds",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client } = yield* clientOf({
            failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 1 }
          })
          yield* rounds(client, new Set(["a"]), 1)
          yield* elapse("1 second")
          yield* start(client.call((id) => Effect.as(Effect.sleep("2 seconds"), id)))
          const waiting = yield* start(client.call(ok, { waitFor: "1 minute" }))
          yield* elapse(1999)
          assert.equal(waiting.exit(), undefined)
          yield* elapse(1)
          assert.deepEqual(waiting.exit(), Exit.succeed("a"))
        })
    )
  })

  describe("hedge", () => {
    const warm = (client: ServiceClient.ServiceClient<string>) =>
      Effect.gen(function* () {
        const calls = yield* start(
          Effect.repeat(client.call((id) => Effect.as(Effect.sleep(10), id)), { times: 29 })
        )
        yield* elapse("1 second")
        assert.equal(calls.exit()?._tag, "Success")
      })

    verify(
      "hedge sends a second attempt after the percentile; the first success wins and the other is interrupted",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({ hedge: { after: 0.95 } })
          yield* warm(client)
          const log: Array<string> = []
          const call = yield* start(client.call((id) => {
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
          const { hedges, instances } = yield* client.state
          assert.deepEqual([hedges, instances.map(({ inFlight }) => inFlight)], [1, [0, 0]])
        })
    )

    verify(
      "hedge sends nothing without measurements, another instance, budget or attempts",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const slow = (id: string) => Effect.as(Effect.sleep("1 second"), id)
          const hedges = (
            options: Options,
            isWarm = true
          ) =>
            Effect.gen(function* () {
              const { client } = yield* clientOf({ hedge: { after: 0.95 }, ...options })
              if (isWarm) yield* warm(client)
              const call = yield* start(client.call(slow))
              yield* elapse("2 seconds")
              assert.equal(call.exit()?._tag, "Success")
              return (yield* client.state).hedges
            })
          assert.equal(yield* hedges({}), 1)
          assert.equal(yield* hedges({}, false), 0)
          assert.equal(yield* hedges({ attempts: 1 }), 0)
          assert.equal(yield* hedges({ retryBudget: { ratio: 0, minPerSecond: 0 } }), 0)
          yield* fake.set("a")
          assert.equal(yield* hedges({}), 0)
        })
    )

    verify("hedge fails with both attempts if both fail", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const { client } = yield* clientOf({ hedge: { after: 0.95 } })
        yield* warm(client)
        const call = yield* start(
          client.call((id) => Effect.andThen(Effect.sleep(50), Effect.fail(`no from ${id}`)), { attempts: 2 })
        )
        yield* elapse("1 second")
        const error = failureOf(call)
        assert.deepEqual(attemptsOf(error).map(([id, , error]) => [id, error]).toSorted(), [
          ["a", "no from a"],
          ["b", "no from b"]
        ])
      }))
  })

  describe("state and metrics of a ServiceClient", () => {
    verify(
      "ServiceClient.state and metrics have each instance; series are limited and removed when it leaves",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b", "c")
          const { client } = yield* clientOf({ instanceMetrics: 2, attributes: { app: "shop" } })
          const call = yield* start(
            Effect.repeat(client.call((id) => Effect.as(Effect.sleep(20), id)), { times: 2 })
          )
          yield* elapse("1 second")
          assert.equal(call.exit()?._tag, "Success")
          const state = yield* client.state
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
              id === "etcd_discovery_instance_requests_total"
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
          yield* Effect.all([client.call(ok), client.call(ok), client.call(ok)])
          assert.equal((yield* series).length, 2)
          assert.deepEqual(yield* counted("etcd_discovery_calls_total"), 6)
        })
    )

    verify(
      "metrics count calls and failures of an instance, and whether it is ejected",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a", "b")
          const { client } = yield* clientOf({
            failureAccrual: { consecutive: 1, ejectFor: "1 second", maxEjected: 0.5 }
          })
          const metricsOf = (id: string) =>
            Effect.map(Metric.snapshot, (all) =>
              all.filter(({ attributes }) =>
                attributes?.["instance"] === id
              ).map((metric) => [
                metric.id.slice("etcd_discovery_instance_".length).replace("_total", ""),
                metric.type === "Counter" ? metric.state.count : metric.type === "Gauge" ? metric.state.value : metric
              ]))
          const metrics = Effect.map(
            Effect.all([metricsOf("a"), metricsOf("b")]),
            (both) => both.map(Object.fromEntries)
          )
          /** Calls each of both once, for 20 ms. */
          const both = (use: (id: string) => Effect.Effect<string, string>) => {
            const call = Effect.exit(client.call((id) => Effect.andThen(Effect.sleep(20), use(id)), { attempts: 1 }))
            return start(Effect.all([call, call], { concurrency: 2 }))
          }

          yield* both((id) => id === "a" ? ok(id) : Effect.fail("no"))
          yield* elapse(19)
          const busy = { requests: 1, failures: 0, in_flight: 1, ewma_seconds: 0, ejected: 0 }
          assert.deepEqual(yield* metrics, [busy, busy])
          yield* elapse(1)
          const good = { ...busy, in_flight: 0, ewma_seconds: 0.02 }
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
            { ...bad, requests: 2, ewma_seconds: 0.02, ejected: 0 }
          ])
        })
    )

    verify(
      "metrics contain the durations of attempts in seconds, without interrupted ones, and exist from the start",
      (fake) =>
        Effect.gen(function* () {
          yield* fake.set("a")
          const { client } = yield* clientOf()
          const durations = Effect.map(Metric.snapshot, (all) => {
            const found = all.find(({ id }) => id === "etcd_discovery_call_attempt_duration_seconds")
            assert.ok(found?.type === "Histogram")
            const { buckets, count, sum } = found.state
            return { count, sum, atMost: (seconds: number) => buckets.find(([bound]) => bound === seconds)?.[1] }
          })
          assert.deepEqual([(yield* durations).count, (yield* durations).sum], [0, 0])
          const lasting = (millis: number, result: Effect.Effect<string, string>) =>
            start(Effect.exit(client.call(() => Effect.andThen(Effect.sleep(millis), result), { attempts: 1 })))
          yield* lasting(25, Effect.succeed("ok"))
          yield* lasting(60, Effect.fail("no"))
          yield* lasting(20_000, Effect.succeed("slow"))
          const gone = yield* lasting(1000, Effect.succeed("never"))
          yield* elapse(100)
          yield* gone.interrupt
          yield* elapse("20 seconds")
          const { atMost, count, sum } = yield* durations
          assert.deepEqual([count, Math.round(sum * 1000)], [3, 20_085])
          assert.deepEqual([0.01, 0.025, 0.05, 0.1, 10].map(atMost), [0, 1, 1, 2, 2])
        })
    )

    verify("metrics of a ServiceClient are removed with its scope", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        yield* Effect.scoped(Effect.gen(function* () {
          const { client } = yield* clientOf()
          yield* client.call(ok)
          assert.notEqual((yield* Metric.snapshot).length, 0)
        }))
        assert.deepEqual((yield* Metric.snapshot).map(({ id }) => id), [])
      }))
  })

  describe("options", () => {
    verify("ServiceClient fails with InvalidOption before it connects", (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const refused = (options: Options) =>
          Effect.map(
            Effect.flip(clientOf(options)),
            ({ _tag, option }) => [_tag, option]
          )
        assert.deepEqual(yield* refused({ service: "a/b" }), ["InvalidOption", "service"])
        assert.deepEqual(yield* refused({ attempts: 0 }), ["InvalidOption", "attempts"])
        assert.deepEqual(yield* refused({ connectTimeout: 0 }), ["InvalidOption", "connectTimeout"])
        assert.deepEqual(yield* refused({ closeTimeout: -1 }), ["InvalidOption", "closeTimeout"])
        assert.deepEqual(yield* refused({ retryBudget: { ratio: -0.1 } }), ["InvalidOption", "retryBudget.ratio"])
        assert.deepEqual(yield* refused({ hedge: { after: 1 } }), ["InvalidOption", "hedge.after"])
        assert.deepEqual(yield* refused({ failureAccrual: { maxEjected: 2 } }), [
          "InvalidOption",
          "failureAccrual.maxEjected"
        ])
        assert.deepEqual(yield* refused({ instanceMetrics: 1.5 }), ["InvalidOption", "instanceMetrics"])

        const { client, log } = yield* clientOf()
        const call = (options: ServiceClient.CallOptions<never>) => Effect.flip(client.call(ok, options))
        assert.equal(
          (yield* call({ attempts: 0 })).message,
          "cannot call ServiceClient.call: attempts is 0; it must be a whole number of at least 1"
        )
        const fields: Array<unknown> = []
        for (const options of [{ attempts: 1.5 }, { attempts: Number.NaN }, { timeout: 0 }, { waitFor: -1 }]) {
          const error = yield* call(options)
          fields.push(error instanceof InvalidOption ? error.option : error)
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

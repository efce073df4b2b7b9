import { Cause, Effect, Exit, Logger, Result, Schedule, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { Registry, type ServiceInstance } from "../../mod.ts"
import { Balancer, ServiceClient } from "../../src/balancing/mod.ts"
import { describe } from "../harness/it.ts"
import { elapse, failureOf, settle, start, verify as onVirtualTime } from "../harness/virtual.ts"
import { type Fake, fake } from "./clientSupport.ts"

const verify = <E>(
  title: string,
  body: (fake: Fake, log: ReadonlyArray<string>) => Effect.Effect<void, E, Scope.Scope | Registry.Registry>
): void => onVirtualTime(title, (log) => Effect.flatMap(fake, (fake) => Effect.provide(body(fake, log), fake.layer)))

const bug = new Error("a bug")

const raise = (): never => {
  throw bug
}

const clientOf = (options: Partial<ServiceClient.Options<string>> = {}) =>
  Effect.tap(
    ServiceClient.make<string, unknown, Scope.Scope>({
      service: "orders",
      connect: ({ id }: ServiceInstance) => Effect.succeed(id),
      ...options
    }),
    () => settle
  )

const ok = (id: string) => Effect.succeed(id)

/** A round robin, some steps of which do something else. */
const broken = (
  steps: <M>(picker: Balancer.Picker<M>) => Partial<Balancer.Picker<M>>
): Balancer.Strategy =>
  Balancer.strategy(
    "broken",
    <M>() =>
      Result.map(Balancer.roundRobin.make<M>(), (picker) => ({
        put: (instance: ServiceInstance<M>, available: boolean, now: number) => picker.put(instance, available, now),
        remove: (id: string, now: number) => picker.remove(id, now),
        pick: (request: Balancer.PickRequest) => picker.pick(request),
        begin: (id: string, now: number) => picker.begin(id, now),
        inspect: (now: number) => picker.inspect(now),
        ...steps(picker)
      }))
  )

/** Calls `step` instead the first time only. */
const once = <A extends ReadonlyArray<unknown>, B>(
  step: (...args: NoInfer<A>) => NoInfer<B>,
  others: (...args: A) => B
) => {
  let isFirst = true
  return (...args: A): B => {
    if (!isFirst) return others(...args)
    isFirst = false
    return step(...args)
  }
}

const called = (client: ServiceClient.ServiceClient<string>, count: number) =>
  Effect.map(Effect.replicateEffect(client.call(ok), count), (ids) => [...new Set(ids)].toSorted())

describe("user code in a ServiceClient", () => {
  verify(
    "filter skips an instance while its predicate throws, and logs that once",
    (fake, log) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const passes = once<[ServiceInstance], boolean>(raise, () => true)
        const client = yield* clientOf({ strategy: Balancer.roundRobin.pipe(Balancer.filter(passes)) })
        assert.deepEqual(yield* called(client, 4), ["b"])
        assert.match(log.join("\n"), /Error the strategy filter\(roundRobin\) threw on "a", which gets no calls/)
        // The predicate works again a second later, without a new set.
        yield* elapse("1 second")
        assert.deepEqual(yield* called(client, 4), ["a", "b"])
        yield* fake.set("a", "b", "c")
        yield* settle
        assert.deepEqual(yield* called(client, 6), ["a", "b", "c"])
      })
  )

  verify(
    "filter with a predicate that always throws fails calls, and the error lists the skipped instances",
    (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const client = yield* clientOf({ strategy: Balancer.roundRobin.pipe(Balancer.filter(raise)) })
        const error = yield* Effect.flip(client.call(ok))
        assert.ok(error instanceof ServiceClient.NoInstanceAvailable)
        assert.deepEqual([error.reason, error.census.passedOver], ["none", ["a", "b"]])
        assert.match(error.message, /2 that the strategy threw on: a, b/)
      })
  )

  verify(
    "ServiceClient.call dies with an exception of pick, begin or end, and the next call succeeds",
    (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const strategies: ReadonlyArray<Balancer.Strategy> = [
          broken((picker) => ({ pick: once(raise, (request: Balancer.PickRequest) => picker.pick(request)) })),
          broken((picker) => ({ begin: once(raise, (id: string, now: number) => picker.begin(id, now)) })),
          broken((picker) => ({ begin: once(() => raise, (id: string, now: number) => picker.begin(id, now)) }))
        ]
        for (const strategy of strategies) {
          const client = yield* clientOf({ strategy })
          const exit = yield* Effect.exit(client.call(ok))
          assert.ok(Exit.isFailure(exit))
          assert.equal(Cause.squash(exit.cause), bug)
          assert.equal(yield* client.call(ok), "a")
          assert.deepEqual((yield* client.state).instances.map(({ inFlight }) => inFlight), [0])
        }
      })
  )

  verify(
    "ServiceClient skips an instance for which put throws, and drops one for which remove throws",
    (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a", "b")
        const client = yield* clientOf({
          strategy: broken((picker) => ({
            put: (instance, available, now) => instance.id === "b" ? raise() : picker.put(instance, available, now),
            remove: (id, now) => (picker.remove(id, now), raise())
          }))
        })
        assert.deepEqual(yield* called(client, 4), ["a"])
        yield* fake.set("c", "d")
        yield* settle
        assert.deepEqual(yield* called(client, 4), ["c", "d"])
      })
  )

  verify(
    "ServiceClient never calls an instance that has left, even if the strategy picks it",
    (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const client = yield* clientOf({ strategy: broken(() => ({ remove: () => {} })) })
        yield* fake.set("b")
        yield* settle
        const exits = yield* Effect.replicateEffect(Effect.exit(client.call(ok)), 4)
        for (const exit of exits) assert.ok(Exit.isFailure(exit) || exit.value === "b")
        assert.ok(exits.some(Exit.isSuccess))
      })
  )

  verify(
    "ServiceClient replaces the client of an instance whose connectKey throws",
    (fake, log) =>
      Effect.gen(function* () {
        yield* fake.set({ id: "a", version: "1" })
        const client = yield* clientOf({ connectKey: once(() => "key", (): string => raise()) })
        assert.equal(yield* client.call(ok), "a")
        yield* fake.set({ id: "a", version: "2" }, "b")
        yield* settle
        assert.deepEqual(yield* called(client, 4), ["a", "b"])
        assert.match(log.join("\n"), /connectKey threw on a of "orders"/)
      })
  )

  verify(
    "ServiceClient survives a connectBackoff that dies, and connects again after 30 seconds",
    (fake) =>
      Effect.gen(function* () {
        yield* fake.set("a")
        const client = yield* clientOf({
          connect: once(
            () => Effect.fail("refused"),
            ({ id }: ServiceInstance): Effect.Effect<string, unknown> => Effect.succeed(id)
          ),
          connectBackoff: Schedule.spaced("1 second").pipe(Schedule.modifyDelay(() => Effect.die(bug)))
        })
        const call = yield* start(client.call(ok))
        yield* elapse("1 second")
        assert.match(String(failureOf(call)), /cannot connect to a of/)
        yield* elapse("30 seconds")
        assert.equal(yield* client.call(ok), "a")
      })
  )

  onVirtualTime("ServiceClient survives a logger that throws", () =>
    Effect.gen(function* () {
      const registry = yield* fake
      yield* Effect.gen(function* () {
        yield* registry.set("a", "b")
        const client = yield* clientOf({
          failureAccrual: { consecutive: 1 },
          backoff: Schedule.spaced(0),
          strategy: Balancer.roundRobin.pipe(Balancer.filter(({ id }) => id === "c" ? raise() : true)),
          connect: ({ id }) => id === "b" ? Effect.fail("refused") : Effect.succeed(id)
        })
        assert.deepEqual(yield* called(client, 2), ["a"])
        yield* registry.set("a", "c")
        yield* settle
        yield* Effect.exit(client.call(() => Effect.fail("no"), { attempts: 1 }))
        yield* registry.set("d")
        yield* settle
        assert.equal(yield* client.call(ok), "d")
      }).pipe(Effect.provide(registry.layer), Effect.provide(Logger.layer([Logger.make(raise)])))
    }))

  onVirtualTime(
    "ServiceClient keeps the last set and follows again if discovery dies",
    (log) =>
      Effect.gen(function* () {
        const registry = yield* fake
        yield* registry.set("a")
        let isBroken = false
        const breakable = Effect.map(Registry.Registry, (inner): Registry.Registry => ({
          ...inner,
          discover: (service, options) =>
            Stream.tap(inner.discover(service, options), () => isBroken ? Effect.die(bug) : Effect.void)
        }))
        yield* Effect.gen(function* () {
          const client = yield* Effect.provideServiceEffect(clientOf(), Registry.Registry, breakable)
          assert.equal(yield* client.call(ok), "a")
          isBroken = true
          yield* registry.set("b")
          yield* settle
          assert.equal(yield* client.call(ok), "a")
          assert.match(log.join("\n"), /Error discovery of "orders" failed; retrying/)
          assert.match(String((yield* client.state).refused), /a bug/)
          isBroken = false
          yield* elapse("30 seconds")
          assert.equal(yield* client.call(ok), "b")
        }).pipe(Effect.provide(registry.layer))
      })
  )
})

import * as grpc from "@grpc/grpc-js"
import { Deferred, Effect, Exit, Fiber, Layer, References, Scope } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry, Service } from "../../mod.ts"
import { EtcdMemory } from "../../src/etcd/mod.ts"
import { GrpcResolver } from "../../src/grpc/mod.ts"
import { kratos } from "../../src/interop/mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe, live } from "../harness/it.ts"
import { eventually } from "../harness/real.ts"
import { clientOf, type OrdersClient, serve } from "./orders.ts"

const Payments = Service.make("payments", { codec: kratos({ namespace: "/microservices" }) })

const call = (client: OrdersClient, times: number) =>
  Effect.forEach(Array.from({ length: times }, (_, index) => String(index)), (request) => client.get(request))

const countOf = (answers: ReadonlyArray<string>): Readonly<Record<string, number>> =>
  Object.fromEntries([...new Set(answers)].sort().map((id) => [id, answers.filter((one) => one === id).length]))

/** Calls until exactly these instances respond. */
const awaitInstances = (client: OrdersClient, ...ids: ReadonlyArray<string>) =>
  eventually(Effect.flatMap(call(client, 8), (answers) => {
    const seen = Object.keys(countOf(answers))
    return seen.join() === ids.join() ? Effect.void : Effect.fail(new Error(`${seen} responded`))
  }))

const resolver = (options: GrpcResolver.Options = {}) =>
  GrpcResolver.layer(grpc, options).pipe(Layer.provideMerge(Registry.layerMemory()))

describe("GrpcResolver against servers of grpc-js", () => {
  live(
    "GrpcResolver follows a service: a new instance gets calls, and a draining one gets no more",
    () =>
      Effect.gen(function* () {
        const [a, b] = [yield* serve("a"), yield* serve("b")]
        const scope = yield* Scope.make()
        const drained = yield* registerService("orders", { id: "a", endpoints: [a.endpoint] }).pipe(
          Scope.provide(scope)
        )
        const client = yield* clientOf("discovery:///orders")
        assert.deepEqual(countOf(yield* call(client, 4)), { a: 4 })
        yield* registerService("orders", { id: "b", endpoints: [b.endpoint] })
        yield* awaitInstances(client, "a", "b")
        yield* drained.drain
        yield* awaitInstances(client, "b")
        const calls = a.calls()
        yield* Scope.close(scope, Exit.void)
        assert.deepEqual(countOf(yield* call(client, 10)), { b: 10 })
        assert.equal(a.calls(), calls)
      }).pipe(Effect.provide(resolver()))
  )

  live("GrpcResolver lets a call in flight end after its instance has left", () =>
    Effect.gen(function* () {
      const [arrived, release] = [yield* Deferred.make<void>(), yield* Deferred.make<string>()]
      const a = yield* serve("a", (request) => {
        if (request !== "slow") return "a"
        Deferred.doneUnsafe(arrived, Effect.void)
        return Effect.runPromise(Deferred.await(release))
      })
      const b = yield* serve("b")
      const scope = yield* Scope.make()
      yield* registerService("orders", { id: "a", endpoints: [a.endpoint] }).pipe(Scope.provide(scope))
      const client = yield* clientOf("discovery:///orders")
      const slow = yield* Effect.forkChild(client.get("slow"), { startImmediately: true })
      yield* Deferred.await(arrived)
      yield* registerService("orders", { id: "b", endpoints: [b.endpoint] })
      yield* Scope.close(scope, Exit.void)
      yield* awaitInstances(client, "b")
      yield* Deferred.succeed(release, "late")
      assert.equal(yield* Fiber.join(slow), "late")
    }).pipe(Effect.provide(resolver())))

  live("GrpcResolver gives instances calls in proportion to their weights", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* serve("a"), yield* serve("b")]
      yield* registerService("orders", { id: "a", endpoints: [a.endpoint], weight: 3 })
      yield* registerService("orders", { id: "b", endpoints: [b.endpoint] })
      const client = yield* clientOf("discovery:///orders")
      yield* awaitInstances(client, "a", "b")
      assert.deepEqual(countOf(yield* call(client, 40)), { a: 30, b: 10 })
    }).pipe(Effect.provide(resolver())))

  live("GrpcResolver uses the instances of its zone while there are enough", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* serve("a"), yield* serve("b")]
      const scope = yield* Scope.make()
      yield* registerService("orders", { id: "a", endpoints: [a.endpoint], zone: "eu" }).pipe(Scope.provide(scope))
      yield* registerService("orders", { id: "b", endpoints: [b.endpoint], zone: "us" })
      const client = yield* clientOf("discovery:///orders")
      yield* awaitInstances(client, "a")
      yield* Scope.close(scope, Exit.void)
      yield* awaitInstances(client, "b")
    }).pipe(Effect.provide(resolver({ zone: "eu" }))))

  live(
    "GrpcResolver fails calls with the reason if no instance takes traffic, and uses the next one at once",
    () =>
      Effect.gen(function* () {
        const a = yield* serve("a")
        const client = yield* clientOf("discovery:///orders")
        const none = yield* Effect.flip(client.get("1"))
        assert.equal(none.code, grpc.status.UNAVAILABLE)
        assert.match(
          none.details,
          /cannot resolve "orders": no instance takes traffic; at revision \d+: none is registered/
        )
        const registration = yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
        yield* awaitInstances(client, "a")
        yield* registration.drain
        const draining = yield* eventually(Effect.flip(client.get("2")))
        assert.match(draining.details, /1 draining: a/)
        yield* registerService("orders", { id: "web", endpoints: ["http://127.0.0.1:1"] })
        yield* eventually(Effect.flatMap(
          Effect.flip(client.get("3")),
          ({ details }) =>
            /no endpoint with grpc, grpcs, tcp: web \(http:/.test(details) ? Effect.void : Effect.fail(details)
        ))
      }).pipe(Effect.provide(resolver()))
  )

  live("GrpcResolver keeps the addresses of a channel while etcd is away (D7)", () =>
    Effect.gen(function* () {
      const faults = yield* FaultyEtcd.Faults
      const a = yield* serve("a")
      yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
      const client = yield* clientOf("discovery:///orders")
      yield* awaitInstances(client, "a")
      yield* faults.outage
      assert.deepEqual(countOf(yield* call(client, 10)), { a: 10 })
      yield* faults.clear
    }).pipe(Effect.provide(
      GrpcResolver.layer(grpc).pipe(
        Layer.provideMerge(Registry.layer()),
        Layer.provideMerge(FaultyEtcd.layer()),
        Layer.provide(EtcdMemory.layer())
      )
    )))

  const unreadable = (script: FaultyEtcd.Script, options: GrpcResolver.Options = {}) =>
    GrpcResolver.layer(grpc, options).pipe(
      Layer.provideMerge(
        Registry.layer().pipe(
          Layer.provideMerge(FaultyEtcd.layer({ script })),
          Layer.provideMerge(EtcdMemory.layer())
        )
      )
    )

  live(
    "GrpcResolver makes calls wait for the first set instead of treating it as empty",
    () =>
      Effect.gen(function* () {
        const faults = yield* FaultyEtcd.Faults
        const a = yield* serve("a")
        yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
        const client = yield* clientOf("discovery:///orders")
        const waiting = yield* Effect.forkChild(client.get("1"), { startImmediately: true })
        yield* eventually(Effect.flatMap(
          faults.calls("range"),
          (calls) => calls.length > 1 ? Effect.void : Effect.fail("etcd was not asked twice")
        ))
        assert.equal(waiting.pollUnsafe(), undefined)
        yield* faults.clear
        assert.equal(yield* Fiber.join(waiting), "a")
      }).pipe(Effect.provide(unreadable([{ method: "range", fault: FaultyEtcd.unavailable }])))
  )

  live(
    "GrpcResolver fails calls after discoveryTimeout if etcd does not answer, and recovers",
    () =>
      Effect.gen(function* () {
        const faults = yield* FaultyEtcd.Faults
        const a = yield* serve("a")
        yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
        const client = yield* clientOf("discovery:///orders")
        const error = yield* Effect.flip(client.get("1"))
        assert.equal(error.code, grpc.status.UNAVAILABLE)
        assert.match(error.details, /cannot resolve "orders": its instances are not known yet/)
        yield* faults.clear
        yield* awaitInstances(client, "a")
      }).pipe(Effect.provide(
        unreadable([{ method: "range", fault: FaultyEtcd.unavailable }], { discoveryTimeout: "50 millis" })
      ))
  )

  live(
    "GrpcResolver reports that etcd refuses to be read, and recovers when it no longer does",
    () =>
      Effect.gen(function* () {
        const faults = yield* FaultyEtcd.Faults
        const a = yield* serve("a")
        yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
        const client = yield* clientOf("discovery:///orders")
        const error = yield* Effect.flip(client.get("1"))
        assert.equal(error.code, grpc.status.UNAVAILABLE)
        assert.match(
          error.details,
          /cannot resolve "orders": cannot discover "\/services\/orders\/": .*permission denied/
        )
        yield* faults.clear
        yield* awaitInstances(client, "a")
      }).pipe(
        Effect.provide(unreadable([{ method: "range", fault: FaultyEtcd.permissionDenied }])),
        Effect.provideService(References.MinimumLogLevel, "Error")
      )
  )

  live(
    "GrpcResolver resolves a service in a foreign format, and names that a URL encodes",
    () =>
      Effect.gen(function* () {
        const [a, b] = [yield* serve("a"), yield* serve("b")]
        yield* registerService(Payments, { id: "a", endpoints: [a.endpoint] })
        yield* registerService("two words", { id: "b", endpoints: [b.endpoint] })
        assert.equal(yield* Effect.flatMap(clientOf("discovery:///payments"), (client) => client.get("1")), "a")
        assert.equal(yield* Effect.flatMap(clientOf("discovery:///two%20words"), (client) => client.get("1")), "b")
      }).pipe(Effect.provide(resolver({ services: { payments: Payments } })))
  )

  live(
    "GrpcResolver leaves the load balancing to grpc.service_config if a channel has it",
    () =>
      Effect.gen(function* () {
        const [a, b] = [yield* serve("a"), yield* serve("b")]
        yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
        yield* registerService("orders", { id: "b", endpoints: [b.endpoint] })
        const client = yield* clientOf("discovery:///orders", {
          "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ pick_first: {} }] })
        })
        assert.equal(Object.keys(countOf(yield* call(client, 20))).length, 1)
      }).pipe(Effect.provide(resolver()))
  )

  live("GrpcResolver refuses a target that names no service when the client is made", () =>
    Effect.gen(function* () {
      for (const target of ["discovery:///a/b", "discovery://host/orders", "discovery:///%", "discovery:///.."]) {
        const error = yield* Effect.flip(clientOf(target))
        assert.equal(error.name, "InvalidOption", target)
        assert.match(error.message, /^cannot call new Client: (?:target|service) is /)
      }
    }).pipe(Effect.provide(resolver())))

  live("GrpcResolver leaves channels their addresses when its registration ends", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* serve("a"), yield* serve("b")]
      const scope = yield* Scope.make()
      yield* GrpcResolver.register(grpc, { scheme: "ended" }).pipe(Scope.provide(scope))
      yield* registerService("orders", { id: "a", endpoints: [a.endpoint] })
      const client = yield* clientOf("ended:///orders")
      yield* awaitInstances(client, "a")
      yield* Scope.close(scope, Exit.void)
      yield* registerService("orders", { id: "b", endpoints: [b.endpoint] })
      assert.deepEqual(countOf(yield* call(client, 10)), { a: 10 })
      const late = yield* Effect.flatMap(clientOf("ended:///orders"), (client) => Effect.flip(client.get("1")))
      assert.match(late.details, /cannot resolve "orders": the registration of the resolver has ended/)
    }).pipe(Effect.provide(resolver())))

  live("GrpcResolver.register refuses invalid options before anything is sent", () =>
    Effect.gen(function* () {
      const invalid: ReadonlyArray<readonly [GrpcResolver.Options, string]> = [
        [{ scheme: "a b" }, "scheme"],
        [{ endpointSchemes: [] }, "endpointSchemes"],
        [{ zone: "" }, "zone"],
        [{ minLocal: 0 }, "minLocal"],
        [{ discoveryTimeout: -1 }, "discoveryTimeout"],
        [{ services: { orders: "a/b" } }, "service"],
        [{ discover: { progressEvery: 0 } }, "progressEvery"]
      ]
      for (const [options, option] of invalid) {
        assert.equal((yield* Effect.flip(GrpcResolver.register(grpc, options))).option, option)
      }
      const error = yield* Effect.flip(GrpcResolver.register({} as never))
      assert.match(error.message, /^cannot call GrpcResolver.register: grpc is "object"; it must be the module @grpc/)
    }).pipe(Effect.provide(Registry.layerMemory())))
})

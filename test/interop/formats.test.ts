// Registration and discovery in the formats of others, on the embedded engine and on servers.
import { Effect, Exit, Layer, Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { rangeAll } from "../../src/etcd/rangeAll.ts"
import * as InstanceSet from "../../src/registry/InstanceSet.ts"
import { EtcdError, PermissionDenied } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { dubbo, goKit, goZero, grpcNaming, kitex, kratos, skydns } from "../../src/interop/mod.ts"
import * as Service from "../../src/registry/model/Service.ts"
import type { RegisterOptions } from "../../src/registry/registration/RegisterOptions.ts"
import { discover, discoverChanges, getInstances, listServices, registerService, Registry } from "../../mod.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { observer, recorded, registryAt } from "../registry/registration/support.ts"

const decoder = new TextDecoder()

/** All keys of a range with their values, and whether they have a lease. */
const keysAt = Effect.fnUntraced(function* (start: string) {
  const { kvs } = yield* rangeAll(yield* Etcd, prefix(start))
  return kvs.map(({ key, lease, value }) => [decoder.decode(key), decoder.decode(value), lease > 0n] as const)
})

/** Each format with a service, what is registered, and the key and value that then are in etcd. */
const formats: ReadonlyArray<{
  readonly title: string
  readonly service: Service.Service
  readonly prefix: string
  readonly endpoint: string
  readonly id?: string
  readonly key: string
  readonly value: string
}> = [
  {
    title: "goKit",
    service: Service.make("/gokit/orders", { codec: goKit }),
    prefix: "/gokit/orders/",
    endpoint: "http://10.0.0.1:8080",
    key: "/gokit/orders/10.0.0.1:8080",
    value: "http://10.0.0.1:8080"
  },
  {
    title: "grpcNaming",
    // Without metadata it is as if it had strings only.
    service: Service.make("naming/orders", { codec: grpcNaming as unknown as Service.Service["codec"] }),
    prefix: "naming/orders/",
    endpoint: "10.0.0.1:8080",
    key: "naming/orders/10.0.0.1:8080",
    value: `{"Op":0,"Addr":"10.0.0.1:8080","Metadata":null}`
  },
  {
    title: "goZero",
    service: Service.make("orders.rpc", { codec: goZero }),
    prefix: "orders.rpc/",
    endpoint: "10.0.0.1:8080",
    id: "7587862094012345678",
    key: "orders.rpc/7587862094012345678",
    value: "10.0.0.1:8080"
  },
  {
    title: "kratos",
    service: Service.make("orders", { codec: kratos }),
    prefix: "/microservices/orders/",
    endpoint: "grpc://10.0.0.1:9000",
    id: "host-1",
    key: "/microservices/orders/host-1",
    value: `{"id":"host-1","name":"orders","version":"","metadata":{},"endpoints":["grpc://10.0.0.1:9000"]}`
  },
  {
    title: "kitex",
    service: Service.make("orders", { codec: kitex }),
    prefix: "kitex/registry-etcd/orders/",
    endpoint: "10.0.0.1:8080",
    key: "kitex/registry-etcd/orders/10.0.0.1:8080",
    value: `{"network":"tcp","address":"10.0.0.1:8080","weight":10,"tags":null}`
  },
  {
    title: "dubbo",
    service: Service.make("orders-app", { codec: dubbo }),
    prefix: "/services/orders-app/",
    endpoint: "10.0.0.1:20000",
    key: "/services/orders-app/10.0.0.1:20000",
    value:
      `{"ID":"10.0.0.1:20000","ServiceName":"orders-app","Host":"10.0.0.1","Port":20000,"Weight":0,"Enable":true,` +
      `"Healthy":true,"Metadata":{},"ServiceMetadata":null,"Address":"10.0.0.1:20000","GroupName":"","Tag":""}\n`
  },
  {
    title: "skydns",
    service: Service.make("orders.example.org", { codec: skydns }),
    prefix: "/skydns/org/example/orders/",
    endpoint: "10.0.0.1:8080",
    key: "/skydns/org/example/orders/10-0-0-1-8080",
    value: `{"host":"10.0.0.1","port":8080,"weight":100,"ttl":30}`
  }
]

const suite = (title: string, layer: () => Layer.Layer<Registry.Registry | Etcd, unknown>): void =>
  void describe(title, () => {
    const test = (name: string, body: Effect.Effect<void, unknown, Registry.Registry | Etcd | Scope.Scope>) =>
      // What is registered leaves before the etcd does.
      live(name, () => Effect.provide(Effect.scoped(body), layer()))

    /** A lease of another process. */
    const grant = Effect.gen(function* () {
      const etcd = yield* Etcd
      const { id } = yield* Effect.acquireRelease(
        etcd.leaseGrant({ ttl: 600 }),
        (granted) => Effect.ignore(etcd.leaseRevoke(granted.id))
      )
      return id
    })

    for (const { endpoint, id, key, prefix, service, title, value } of formats) {
      test(
        `${title} puts an instance where the original looks for it, under a lease, and removes it`,
        Effect.gen(function* () {
          const sets = yield* recorded(discover(service))
          yield* sets.until(({ size }) => size === 0)
          const scope = yield* Scope.make()
          const register = registerService(service, { endpoints: [endpoint], ...(id === undefined ? {} : { id }) })
          const registration = yield* Scope.provide(register, scope)
          assert.equal(registration.key, key)
          assert.deepEqual(yield* keysAt(prefix), [[key, value, true]])
          const set = yield* sets.until(({ size }) => size === 1)
          assert.deepEqual([set.instances, set.rejected], [[registration.instance], []])
          assert.deepEqual((yield* getInstances(service)).instances, [registration.instance])

          // A second run of the same process takes over at once.
          const again = yield* Scope.make()
          yield* Scope.provide(register, again)
          yield* Scope.close(scope, Exit.void)
          assert.deepEqual(yield* keysAt(prefix), [[key, value, true]])
          yield* Scope.close(again, Exit.void)
          assert.deepEqual(yield* keysAt(prefix), [])
          yield* sets.until(({ size }) => size === 0)
        })
      )
    }

    test(
      "goZero reads keys with the same address as one instance until the last of them is deleted",
      Effect.gen(function* () {
        const twins = Service.make("twins.rpc", { codec: goZero })
        const etcd = yield* Etcd
        const lease = yield* grant
        const put = (id: number, address: string) => etcd.put({ key: `twins.rpc/${id}`, value: address, lease })
        const remove = (id: number) => etcd.deleteRange({ key: `twins.rpc/${id}` })
        yield* put(1, "10.0.0.1:80")
        yield* put(2, "10.0.0.1:80")
        const changes = yield* recorded(
          Stream.map(discoverChanges(twins), ({ _tag, instance }) => `${_tag} ${instance.id}`)
        )
        yield* changes.until((change) => change === "Added 10.0.0.1:80")
        // Each step ends with a change of another address. So the changes before it are complete.
        yield* put(3, "10.0.0.1:80")
        yield* put(9, "10.0.0.9:80")
        yield* changes.until((change) => change === "Added 10.0.0.9:80")
        yield* remove(1)
        yield* remove(3)
        yield* remove(9)
        yield* changes.until((change) => change === "Removed 10.0.0.9:80")
        assert.deepEqual(changes.all, ["Added 10.0.0.1:80", "Added 10.0.0.9:80", "Removed 10.0.0.9:80"])
        yield* put(2, "10.0.0.2:80")
        yield* changes.until((change) => change === "Added 10.0.0.2:80")
        assert.deepEqual(changes.all.slice(3), ["Removed 10.0.0.1:80", "Added 10.0.0.2:80"])
        yield* put(2, "no address")
        yield* changes.until((change) => change === "Removed 10.0.0.2:80")
        const { rejected, size } = yield* getInstances(twins)
        assert.deepEqual([size, rejected.map(({ key }) => key)], [0, ["twins.rpc/2"]])
      })
    )

    test(
      "getInstances of a format rejects each broken value and each key without a lease separately",
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const lease = yield* grant
        const service = Service.make("mixed", { codec: kratos })
        const value = (id: string) => `{"id":"${id}","name":"mixed","metadata":null,"endpoints":["http://${id}:1"]}`
        const put = (id: string, value: string | Uint8Array, lease: bigint) =>
          etcd.put({ key: `/microservices/mixed/${id}`, value, lease })
        yield* put("a", value("a"), lease)
        yield* put("b", `\ufeff${value("b")}`, lease)
        yield* put("c", new Uint8Array([0xff]), lease)
        yield* put("d", value("d").replace("{", `{"id":"d",`), lease)
        yield* put("e", value("e") + " ".repeat(1_200_000), lease)
        yield* put("f", value("f"), 0n)
        yield* put("g", value("a"), lease)
        yield* put("h/i", value("h/i"), lease)
        yield* put("", "", 0n)
        const { instances, rejected } = yield* getInstances(service)
        assert.deepEqual(instances.map(({ id }) => id), ["a", "h/i"])
        const leaseless =
          `the key has no lease, so nothing would remove it; use leaseless: "accept" for static instances`
        assert.deepEqual(rejected.map(({ error, key }) => [key.slice(-1), error.detail]), [
          ["/", leaseless],
          ["b", "the value is not JSON"],
          ["c", "the value is not UTF-8"],
          ["d", `"id" occurs twice`],
          ["e", `the value has ${1_200_000 + value("e").length} bytes, more than maxValueBytes (131072)`],
          ["f", leaseless],
          ["g", `"id" must be that of the key`]
        ])
        yield* etcd.deleteRange(prefix("/microservices/mixed/"))
      })
    )

    test(
      "grpcNaming accepts keys without a lease",
      Effect.gen(function* () {
        const etcd = yield* Etcd
        yield* etcd.put({ key: "static/a", value: `{"Addr":"10.0.0.1:80"}` })
        const { endpoints, rejected } = yield* getInstances(Service.make("static", { codec: grpcNaming }))
        assert.deepEqual([endpoints, rejected], [["tcp://10.0.0.1:80"], []])
        yield* etcd.deleteRange({ key: "static/a" })
      })
    )

    test(
      "Registration.update writes in the format and refuses members that the format cannot store",
      Effect.gen(function* () {
        const service = Service.make("updated", { codec: kratos })
        const registration = yield* registerService(service, { id: "a", endpoints: ["http://h:1"] })
        yield* registration.update({ weight: 7, version: "v2", metadata: { k: "v" } })
        assert.deepEqual(yield* keysAt("/microservices/updated/"), [[
          "/microservices/updated/a",
          `{"id":"a","name":"updated","version":"v2","metadata":{"k":"v","weight":"7"},"endpoints":["http://h:1"]}`,
          true
        ]])
        const refused = yield* Effect.flip(registration.update({ status: "draining" }))
        assert.deepEqual([refused._tag, "option" in refused && refused.option], ["InvalidOption", "status"])
        yield* registration.drain
        const { instances } = yield* getInstances(service)
        assert.deepEqual(instances.map(({ status, weight }) => [status, weight]), [["up", 7]])
      })
    )

    test(
      "kratos lets a restarted process take over at once, also with an endpoint in the old form",
      Effect.gen(function* () {
        const service = Service.make("restarted", { codec: kratos })
        const options = { id: "a", endpoints: ["http://h:1?isSecure=true"], startupTimeout: "5 seconds" } as const
        yield* registerService(service, options)
        yield* registerService(service, { ...options, ttl: "60 seconds" })
        const { endpoints } = yield* getInstances(service)
        assert.deepEqual(endpoints, ["https://h:1"])
        assert.deepEqual(yield* keysAt("/microservices/restarted/"), [[
          "/microservices/restarted/a",
          `{"id":"a","name":"restarted","version":"","metadata":{},"endpoints":["http://h:1?isSecure=true"]}`,
          true
        ]])
      })
    )

    test(
      "InstanceSet.merge counts a process that registers with go-zero and its successor once",
      Effect.gen(function* () {
        const old = Service.make("merged.rpc", { codec: goZero })
        const sets = yield* recorded(InstanceSet.merge({ old: discover(old), now: discover("merged") }))
        yield* registerService(old, { endpoints: ["10.0.0.1:80"] })
        const both = yield* Scope.make()
        yield* Scope.provide(registerService(old, { endpoints: ["10.0.0.2:80"] }), both)
        yield* registerService("merged", { id: "b", endpoints: ["http://10.0.0.2:80"] })
        yield* registerService("merged", { id: "c", endpoints: ["http://10.0.0.3:80"] })
        const ids = (set: InstanceSet.InstanceSet<unknown>) => set.instances.map(({ id }) => id).join()
        yield* sets.until((set) => ids(set) === "now/c,old/10.0.0.1:80,old/10.0.0.2:80")
        yield* Scope.close(both, Exit.void)
        yield* sets.until((set) => ids(set) === "now/b,now/c,old/10.0.0.1:80")
        assert.ok(!sets.all.some((set) => ids(set).includes("now/b,now/c,old/10.0.0.1:80,old/10.0.0.2:80")))
      })
    )

    test(
      "listServices lists only services below the namespace, not those of other formats",
      Effect.gen(function* () {
        yield* registerService(Service.make("elsewhere", { codec: kitex }), { endpoints: ["h:1"] })
        assert.deepEqual(yield* Effect.map(listServices(), (all) => all.filter(({ name }) => name === "elsewhere")), [])
      })
    )
  })

suite("the formats of ./interop on EtcdMemory", () => Layer.provideMerge(Registry.layer(), EtcdMemory.layer()))

describe("the formats of ./interop on servers", () => {
  eachSharedEtcd((server) => {
    suite("a server", () =>
      Layer.mergeAll(
        registryAt(server().endpoint),
        Layer.effect(Etcd, Effect.suspend(() => observer(server())))
      ))
  })
})

describe("registerService in a format of ./interop", () => {
  const refused = new EtcdError({ reason: new PermissionDenied({ detail: "asked" }), method: "txn" })
  /** What is refused, by a registry whose etcd would refuse everything: so nothing was sent. */
  const fieldOf = (service: Service.Service, options: Partial<RegisterOptions>) =>
    registerService(service, { endpoints: ["10.0.0.1:80"], ...options }).pipe(
      Effect.scoped,
      Effect.flip,
      Effect.map((error) => error._tag === "InvalidOption" ? error.option : error._tag),
      Effect.provide(Registry.layerFailing(refused))
    )

  live(
    "registerService refuses members that the format cannot store before it sends anything",
    () =>
      Effect.gen(function* () {
        const users = Service.make("user.rpc", { codec: goZero })
        const orders = Service.make("orders", { codec: kratos })
        const cases: ReadonlyArray<readonly [string, Service.Service, Partial<RegisterOptions>]> = [
          ["RegistrationRefused", users, {}],
          ["metadata", users, { metadata: { a: "1" } }],
          ["weight", users, { weight: 2 }],
          ["zone", users, { zone: "eu-1" }],
          ["version", users, { version: "1" }],
          ["health", users, { health: Effect.void }],
          ["drain", users, { drain: "1 second" }],
          ["endpoints", users, { endpoints: ["http://10.0.0.1:80"] }],
          ["endpoints", users, { endpoints: ["10.0.0.1:80", "10.0.0.1:81"] }],
          ["id", users, { id: "host-1" }],
          ["id", users, { id: "9223372036854775808" }],
          ["RegistrationRefused", users, { id: "9223372036854775807" }],
          ["service", Service.make("user.rpc/", { codec: goZero }), {}],
          ["service", Service.make("", { codec: goKit }), {}],
          ["service", Service.make("a/b", { codec: kitex }), {}],
          ["id", Service.make("echo", { codec: kitex }), { id: "a/b" }],
          ["weight", Service.make("echo", { codec: kitex }), { weight: 0 }],
          ["RegistrationRefused", orders, { version: "1", weight: 0, metadata: { a: "1" } }],
          ["zone", orders, { zone: "eu-1" }],
          ["drain", orders, { drain: "1 second" }],
          ["health", orders, { health: Effect.void }],
          ["value", orders, { metadata: { a: "x".repeat(1024 * 1024) } }]
        ]
        for (const [field, service, options] of cases) {
          assert.equal(yield* fieldOf(service, options), field, `${service.name} ${Object.keys(options)}`)
        }
        const error = yield* registerService(users, { endpoints: ["10.0.0.1:80"], drain: "1 second" }).pipe(
          Effect.scoped,
          Effect.flip,
          Effect.provide(Registry.layerFailing(refused))
        )
        assert.equal(
          error.message,
          `cannot call registerService: drain is 1 s; it publishes "draining", and go-zero cannot keep this: it would be read as "up"`
        )
      })
  )

  live("Registry.layerFixed applies the rules of the format", () =>
    Effect.gen(function* () {
      const users = Service.make("user.rpc", { codec: goZero })
      const { instances, rejected } = yield* getInstances(users)
      assert.deepEqual(instances.map(({ id }) => id), ["10.0.0.1:80"])
      assert.deepEqual(rejected.map(({ error }) => error.member), ["endpoints"])
      const wrong = yield* Effect.flip(getInstances(Service.make("user.rpc/", { codec: goZero })))
      assert.equal(wrong._tag, "InvalidOption")
      const { instance, key } = yield* registerService(users, { id: "42", endpoints: ["10.0.0.2:80"] })
      assert.deepEqual([instance.id, key], ["10.0.0.2:80", "user.rpc/42"])
    }).pipe(Effect.provide(Registry.layerFixed([
      { name: "user.rpc", endpoints: ["tcp://10.0.0.1:80"] },
      { name: "user.rpc", endpoints: ["http://10.0.0.2:80"] }
    ]))))
})

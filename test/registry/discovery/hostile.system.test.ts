import { Effect, Schema, Stream } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import v8 from "node:v8"
import vm from "node:vm"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { kitex, kratos } from "../../../src/interop/mod.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { discover, getInstances, listServices, registerService } from "../../../mod.ts"
import { eachSharedEtcd, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { pause } from "../../harness/real.ts"
import { freshNamespace, ids, observer, processAt, quiet, recorded } from "../registration/support.ts"

const megabyte = 1024 * 1024
const sound = `"endpoints":["http://10.6.6.6:80"]`

/** Hostile keys, without the namespace. */
const keys: ReadonlyArray<string> = [
  "/orders/../payments/a",
  "/orders/..",
  "/orders/.",
  "/orders/",
  "/orders//a",
  "/orders/a/b",
  "/orders",
  "/ordersa",
  "/orders/a\nb",
  "/orders/a\u0000",
  "/orders/\u0085",
  "//orders/a",
  "/../orders/a",
  `/orders/${"x".repeat(254)}`
]

/** Ids that look like the id of an honest instance. */
const lookalikes: ReadonlyArray<string> = ["%61", "a%2f", "a ", "\u0430", "A", "a\u200b", "__proto__", "constructor"]

/** Values that are not instances. */
const values: ReadonlyArray<string> = [
  "",
  "null",
  "[]",
  `{${sound},"id":"a"}`,
  `{${sound},"name":"payments"}`,
  `{${sound},"weight":-1}`,
  `{${sound},"weight":1e306}`,
  `{${sound},"weight":1e999}`,
  `{${sound},"weight":${"9".repeat(400)}}`,
  `{"__proto__":{${sound}}}`,
  `{"constructor":{"prototype":{${sound}}}}`,
  "[".repeat(200_000),
  `{${sound},"metadata":${`{"a":`.repeat(30_000)}1${"}".repeat(30_000)}}`,
  `{${sound},"status":"${"u".repeat(megabyte)}"}`,
  `{${sound},"metadata":{"a":"${"m".repeat(1.4 * megabyte)}"}}`
]

/** Unusual values that are instances. */
const oddities: ReadonlyArray<string> = [
  `{${sound},"metadata":{"a":{"b":1}}}`,
  `{${sound},"endpoints":["http://10.6.6.7:80"]}`,
  `{${sound},"metadata":{"__proto__":"p","constructor":"c"}}`,
  `{${sound},"unknown":${"1".repeat(400)},"deep":${"[".repeat(5000)}${"]".repeat(5000)}}`,
  `\ufeff{${sound}}`
]

const put = (etcd: Etcd, lease: bigint) => (key: string, value: string) => etcd.put({ key, value, lease })

const collect = (): void => {
  const { Bun } = globalThis as { readonly Bun?: { readonly gc: (now: boolean) => void } }
  if (Bun !== undefined) return Bun.gc(true)
  v8.setFlagsFromString("--expose-gc")
  const gc: () => void = vm.runInNewContext("gc")
  gc()
}

/**
 * Megabytes in use after garbage collection.
 *
 * The minimum of ten measurements. Responses are released in a later turn, and JavaScriptCore takes values in old stack
 * frames for references and sweeps in steps. Retained memory is in all ten.
 */
const memory = Effect.gen(function* () {
  let least = Infinity
  for (let round = 0; round < 10; round++) {
    yield* pause(100)
    collect()
    const { external, heapUsed } = process.memoryUsage()
    least = Math.min(least, (heapUsed + external) / megabyte)
  }
  return least
})

describe("Registry beside a hostile registrant", () => {
  eachSharedEtcd((etcd, version) => {
    live(`discover reads metadata with a member __proto__ unchanged on etcd ${version}`, () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        const direct = yield* observer(etcd())
        const run = yield* processAt(etcd().endpoint, { namespace })
        const { id: lease } = yield* direct.leaseGrant({ ttl: 600 })
        /** The metadata members of the only instance, and their prototype. */
        const read = Effect.fnUntraced(
          function* <M extends object>(service: Service.Service<M>, key: string, value: string) {
            yield* put(direct, lease)(`${namespace}${key}`, value)
            const { instances, rejected } = yield* run(getInstances(service))
            assert.deepEqual(rejected, [])
            return instances.map(({ metadata }) => [Object.entries(metadata), Object.getPrototypeOf(metadata)])
          }
        )
        const text = `{"__proto__":"p","constructor":"c"}`
        const asTheyAre = [[[["__proto__", "p"], ["constructor", "c"]], Object.prototype]]
        const object = `{"shard":"1","__proto__":{"isAdmin":true}}`

        const plain = Service.make("plain")
        assert.deepEqual(yield* read(plain, "/plain/a", `{${sound},"metadata":${text}}`), asTheyAre)
        const open = Service.make("open", { metadata: Schema.Record(Schema.String, Schema.Unknown) })
        assert.deepEqual(yield* read(open, "/open/a", `{${sound},"metadata":${object}}`), [
          [[["shard", "1"], ["__proto__", { isAdmin: true }]], Object.prototype]
        ])
        const closed = Service.make("closed", { metadata: Schema.Struct({ shard: Schema.String }) })
        assert.deepEqual(yield* read(closed, "/closed/a", `{${sound},"metadata":${object}}`), [
          [[["shard", "1"]], Object.prototype]
        ])
        const ofKratos = Service.make("orders", { codec: kratos({ namespace: `${namespace}/kratos` }) })
        const forKratos = `{"id":"a","name":"orders",${sound},"metadata":${text}}`
        assert.deepEqual(yield* read(ofKratos, "/kratos/orders/a", forKratos), asTheyAre)
        const ofKitex = Service.make("orders", { codec: kitex({ prefix: `${namespace}/kitex` }) })
        const forKitex = `{"network":"tcp","address":"10.6.6.6:80","tags":${text}}`
        assert.deepEqual(yield* read(ofKitex, "/kitex/orders/10.6.6.6:80", forKitex), asTheyAre)

        assert.deepEqual([Object.keys(Object.prototype), "isAdmin" in {}], [[], false])
        yield* direct.leaseRevoke(lease)
      }))

    live(`hostile keys and values affect no other instance on etcd ${version} (D9)`, () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        const direct = yield* observer(etcd())
        const run = yield* processAt(etcd().endpoint, { namespace })
        const honest = { id: "a", endpoints: ["http://10.0.0.1:80"], metadata: { shard: "1" } }
        const { instance } = yield* run(registerService("orders", honest))
        const before = yield* run(recorded(discover("orders"))).pipe(Effect.provide(quiet))
        yield* before.until(({ size }) => size === 1)

        const { id: lease } = yield* direct.leaseGrant({ ttl: 600 })
        const write = put(direct, lease)
        const during = yield* run(recorded(discover("orders"))).pipe(Effect.provide(quiet))
        yield* Effect.forEach(keys, (key) => write(`${namespace}${key}`, `{${sound}}`))
        yield* Effect.forEach(lookalikes, (id) => write(`${namespace}/orders/${id}`, `{${sound}}`))
        yield* Effect.forEach(oddities, (value, index) => write(`${namespace}/orders/odd-${index}`, value))
        yield* Effect.forEach(values, (value, index) => write(`${namespace}/orders/wrong-${index}`, value))
        yield* direct.put({ key: `${namespace}/orders/leaseless`, value: `{${sound}}` })
        yield* write(`${namespace}/orders/last`, `{${sound}}`)

        const expected = ["a", "last", ...lookalikes, ...oddities.map((_, index) => `odd-${index}`)].toSorted()
        const below = keys.filter((key) => key.startsWith("/orders/")).map((key) => key.slice("/orders/".length))
        const rejected = ["leaseless", ...below, ...values.map((_, index) => `wrong-${index}`)].toSorted()
        const listed = yield* run(getInstances("orders"))
        const followed = yield* during.until((set) => set.has("last"))
        for (const set of [listed, followed]) {
          assert.deepEqual(ids(set).toSorted(), expected)
          assert.deepEqual(set.rejected.map(({ key }) => key.slice(`${namespace}/orders/`.length)).toSorted(), rejected)
          assert.deepEqual(set.get("a").pipe((found) => found._tag === "Some" && found.value), instance)
          for (const { error, key } of set.rejected) {
            assert.ok(error.message.length < 2000, `${key}: an error of ${error.message.length} characters`)
          }
        }
        assert.ok(before.all.every((set) => set.has("a") && set.freshness._tag === "Live"))
        assert.deepEqual(ids(yield* run(getInstances("payments"))), [])
        assert.deepEqual(yield* run(listServices()), [{ name: "orders", instances: expected.length + values.length }])

        // No prototype was changed.
        assert.deepEqual(Object.keys(Object.prototype), [])
        assert.equal(({} as Record<string, unknown>)["endpoints"], undefined)
        yield* direct.leaseRevoke(lease)
        const after = yield* during.until(({ size }) => size === 1)
        assert.deepEqual(ids(after), ["a"])
      }))
  })

  live(
    "discover stays in bounded memory with 10,000 instances and 80 MB of repeated too large values",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const direct = yield* observer(server)
        const run = yield* processAt(server.endpoint, { requestTimeout: "10 seconds" })
        yield* run(registerService("orders", { id: "a", endpoints: ["http://10.0.0.1:80"] }))
        const { id: lease } = yield* direct.leaseGrant({ ttl: 600 })
        const write = put(direct, lease)
        yield* Effect.forEach(Array.from({ length: 80 }), (_, batch) =>
          direct.txn({
            then: Array.from({ length: 125 }, (_, index) => ({
              _tag: "Put" as const,
              request: { key: `/services/orders/n${batch}-${index}`, value: `{${sound}}`, lease }
            }))
          }))
        const large = `{${sound},"metadata":{"a":"${"m".repeat(1.4 * megabyte)}"}}`
        const writeLarge = Effect.forEach(
          Array.from({ length: 57 }),
          (_, index) => write(`/services/orders/large-${index}`, large)
        )
        yield* writeLarge

        const before = yield* memory
        // Record only numbers: a retained set would count as memory of the library.
        const numbers = Stream.map(discover("orders"), ({ rejected, size }) => ({ size, rejected: rejected.length }))
        const sets = yield* run(recorded(numbers)).pipe(Effect.provide(quiet))
        assert.deepEqual(yield* sets.until(() => true), { size: 10_001, rejected: 57 })
        const first = yield* memory
        const rounds = 3
        for (let round = 1; round <= rounds; round++) {
          yield* writeLarge
          yield* write(`/services/orders/last-${round}`, `{${sound}}`)
          yield* sets.until(({ size }) => size === 10_001 + round)
          assert.deepEqual(sets.latest(), { size: 10_001 + round, rejected: 57 })
        }
        const last = yield* memory
        console.log(
          `${before.toFixed(0)} MB, with the set ${first.toFixed(0)}, after ${rounds * 80} MB ${last.toFixed(0)}`
        )
        // Less than the size of the rejected values, so they are not retained.
        assert.ok(first - before < 60, `${first - before} MB more for the first set`)
        assert.ok(last - first < 20, `${last - first} MB more after ${rounds * 57} values of 1.4 MB`)
      })
  )
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { discover, getInstances, listServices, registerService } from "../../src/Registry.ts"
import { eachSharedEtcd, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { freshNamespace, ids, observer, processAt, quiet, recorded } from "../registration/support.ts"

const megabyte = 1024 * 1024
const sound = `"endpoints":["http://10.6.6.6:80"]`

/** Keys beside those of an honest instance; what follows the namespace. */
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

/** Ids that look like that of an honest instance and are not. */
const lookalikes: ReadonlyArray<string> = ["%61", "a%2f", "a ", "\u0430", "A", "a\u200b", "__proto__", "constructor"]

/** Values that are no instance. */
const values: ReadonlyArray<string> = [
  "",
  "null",
  "[]",
  `{${sound},"id":"a"}`,
  `{${sound},"name":"payments"}`,
  `{${sound},"weight":-1}`,
  `{${sound},"weight":1e999}`,
  `{${sound},"weight":${"9".repeat(400)}}`,
  `{${sound},"metadata":{"a":{"b":1}}}`,
  `{"__proto__":{${sound}}}`,
  `{"constructor":{"prototype":{${sound}}}}`,
  "[".repeat(200_000),
  `{${sound},"metadata":${`{"a":`.repeat(20_000)}1${"}".repeat(20_000)}}`,
  `{${sound},"status":"${"u".repeat(megabyte)}"}`,
  `{${sound},"metadata":{"a":"${"m".repeat(1.4 * megabyte)}"}}`
]

/** Values that are instances, though nobody would write them so. */
const oddities: ReadonlyArray<string> = [
  `{${sound},"endpoints":["http://10.6.6.7:80"]}`,
  `{${sound},"metadata":{"__proto__":"p","constructor":"c"}}`,
  `{${sound},"unknown":${"1".repeat(400)},"deep":${"[".repeat(5000)}${"]".repeat(5000)}}`,
  `\ufeff{${sound}}`
]

const put = (etcd: Etcd, lease: bigint) => (key: string, value: string) => etcd.put({ key, value, lease })

const memory = Effect.sync(() => {
  if ("Bun" in globalThis) (globalThis as { Bun?: { gc: (force: boolean) => void } }).Bun?.gc(true)
  return process.memoryUsage().rss
})

describe("Registry beside a hostile registrant", () => {
  eachSharedEtcd((etcd, version) => {
    live(`hostile keys and values harm no other instance on etcd ${version}`, () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        const direct = yield* observer(etcd())
        const run = yield* processAt(etcd().endpoint, { namespace })
        const honest = { name: "orders", id: "a", endpoints: ["http://10.0.0.1:80"], metadata: { shard: "1" } } as const
        const { instance } = yield* run(registerService(honest))
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
        const rejected = ["leaseless", ...values.map((_, index) => `wrong-${index}`)].toSorted()
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

        // Nothing has found its way into a prototype.
        assert.deepEqual(Object.keys(Object.prototype), [])
        assert.equal(({} as Record<string, unknown>)["endpoints"], undefined)
        yield* direct.leaseRevoke(lease)
        const after = yield* during.until(({ size }) => size === 1)
        assert.deepEqual(ids(after), ["a"])
      }))
  })

  live("10,000 instances and 80 MB of values that are too large leave memory bounded", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const direct = yield* observer(server)
      const run = yield* processAt(server.endpoint, { requestTimeout: "10 seconds" })
      yield* run(registerService({ name: "orders", id: "a", endpoints: ["http://10.0.0.1:80"] }))
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

      const start = yield* memory
      const sets = yield* run(recorded(discover("orders"))).pipe(Effect.provide(quiet))
      const first = yield* sets.until(() => true)
      assert.deepEqual([first.size, first.rejected.length], [10_001, 57])
      yield* writeLarge
      yield* write("/services/orders/last", `{${sound}}`)
      yield* sets.until((set) => set.has("last"))
      const grown = ((yield* memory) - start) / megabyte
      assert.ok(grown < 900, `${grown} MB more`)
    }), { timeout: 90_000 })
})

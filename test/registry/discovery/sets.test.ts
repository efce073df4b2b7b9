import { Effect, Equal, Option, Schema, Stream } from "effect"
import assert from "node:assert/strict"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { RequestOp } from "../../../src/etcd/messages/kv.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { discover, discoverChanges, getInstances, listServices, registerService } from "../../../mod.ts"
import { eachSharedEtcd, etcdctl } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { limitMillis, pause } from "../../harness/real.ts"
import { randomOf, seed } from "../../harness/seed.ts"
import { freshNamespace, ids, isLiveWith, observer, quiet, recorded, registryAt } from "../registration/support.ts"

describe("discover", () => {
  eachSharedEtcd((server) => {
    /** A namespace with a registry, and a client that writes under one lease, like another process. */
    const setUp = Effect.gen(function* () {
      const namespace = freshNamespace()
      const etcd = yield* observer(server())
      const { id: lease } = yield* Effect.acquireRelease(
        etcd.leaseGrant({ ttl: 600 }),
        ({ id }) => Effect.ignore(etcd.leaseRevoke(id))
      )
      const key = (id: string) => `${namespace}/orders/${id}`
      const putOp = (id: string, members: object = {}): RequestOp => ({
        _tag: "Put",
        request: { key: key(id), value: JSON.stringify({ endpoints: [`http://${id}:1`], ...members }), lease }
      })
      const deleteOp = (id: string): RequestOp => ({ _tag: "DeleteRange", request: { key: key(id) } })
      const put = (id: string, members?: object) => etcd.txn({ then: [putOp(id, members)] })
      return {
        namespace,
        etcd,
        lease,
        key,
        put,
        putOp,
        deleteOp,
        registry: registryAt(server().endpoint, { namespace })
      }
    })
    const instance = (id: string, members: object = {}) => ({
      id,
      name: "orders",
      metadata: {},
      endpoints: [`http://${id}:1`],
      weight: 1,
      status: "up",
      ...members
    })

    live(
      "discover emits a transaction over 50 instances, and the end of their lease, as one set each (D2)",
      () =>
        Effect.gen(function* () {
          const { deleteOp, etcd, lease, namespace, putOp, registry } = yield* setUp
          const all = Array.from({ length: 50 }, (_, index) => `i${String(index).padStart(2, "0")}`)
          yield* Effect.gen(function* () {
            const sets = yield* recorded(discover("orders"))
            yield* sets.until(isLiveWith())
            const { header: added } = yield* etcd.txn({ then: all.map((id) => putOp(id)) })
            yield* sets.until(isLiveWith(...all))
            const { header: updated } = yield* etcd.txn({ then: all.map((id) => putOp(id, { weight: 2 })) })
            yield* sets.until((set) => set.instances[0]?.weight === 2)
            const { header: removed } = yield* etcd.txn({ then: all.slice(0, 49).map(deleteOp) })
            yield* sets.until(isLiveWith("i49"))
            const { header: again } = yield* etcd.txn({ then: all.slice(0, 49).map((id) => putOp(id)) })
            yield* sets.until(isLiveWith(...all))
            const { header: ended } = yield* etcd.leaseRevoke(lease)
            yield* sets.until(isLiveWith())
            assert.deepEqual(
              sets.all.slice(1).map(({ revision, size }) => [size, revision]),
              [
                [50, added.revision],
                [50, updated.revision],
                [1, removed.revision],
                [50, again.revision],
                [0, ended.revision]
              ]
            )
            assert.deepEqual((yield* etcd.range({ ...prefix(namespace), countOnly: true })).count, 0n)
            assert.ok(sets.all.slice(1, 3).every((set) => new Set(Array.from(set, ({ weight }) => weight)).size === 1))
          }).pipe(Effect.scoped, Effect.provide(registry))
        })
    )

    live("discover emits immutable sets, ordered by id", () =>
      Effect.gen(function* () {
        const { etcd, key, put, registry } = yield* setUp
        yield* Effect.gen(function* () {
          const written = {
            "10.0.0.5:8080": {},
            B: { status: "draining" },
            a: { weight: 0 },
            b: { weight: 0.5, zone: "z", version: "2" },
            c: { status: "starting" },
            d: { status: "down" },
            é: { endpoints: ["http://e:1", "grpc://e:2"] }
          }
          for (const [id, members] of Object.entries(written).toReversed()) yield* put(id, members)
          const sets = yield* recorded(discover("orders"))
          const set = yield* sets.until(({ size }) => size === 7)
          const wanted = Object.entries(written).map(([id, members]) => instance(id, members))
          assert.deepEqual(set.instances, wanted)
          assert.deepEqual([...set], wanted)
          assert.equal(set.instances, set.instances)
          assert.equal(set.size, 7)
          assert.deepEqual(set.available.map(({ id }) => id), ["10.0.0.5:8080", "b", "é"])
          assert.deepEqual(set.endpoints, ["http://10.0.0.5:8080:1", "http://b:1", "http://e:1", "grpc://e:2"])
          assert.deepEqual([set.freshness._tag, set.rejected, set.held], ["Live", [], []])
          assert.deepEqual(set.get("b"), Option.some(instance("b", { weight: 0.5, zone: "z", version: "2" })))
          assert.deepEqual([set.get("x"), set.has("x"), set.has("a")], [Option.none(), false, true])
          assert.ok(Equal.equals(set.get("a"), Option.some(instance("a", { weight: 0 }))))
          assert.ok(Object.isFrozen(set.instances) && Object.isFrozen(set.instances[0]))

          yield* etcd.deleteRange({ key: key("b") })
          const later = yield* sets.until(({ size }) => size === 6)
          assert.ok(later.revision > set.revision)
          assert.deepEqual([set.size, set.has("b"), later.has("b")], [7, true, false])
          // Unchanged instances are the same objects.
          assert.equal(Option.getOrThrow(later.get("a")), Option.getOrThrow(set.get("a")))
          assert.deepEqual((yield* getInstances("orders")).instances, later.instances)
        }).pipe(Effect.scoped, Effect.provide(registry))
      }))

    live(
      "discover rejects foreign values under the prefix, and keeps every valid instance (D9)",
      () =>
        Effect.gen(function* () {
          const { etcd, key, lease, namespace, put, registry } = yield* setUp
          const good = ["good1", "good2", "good3"]
          const values: ReadonlyArray<readonly [id: string, value: string | Uint8Array]> = [
            ["broken", `{"endpoints":["http://a:1"]`],
            ["empty", ""],
            ["invalid-utf8", new Uint8Array([0x7b, 0xff, 0xfe, 0x7d])],
            ["list", "[]"],
            ["no-endpoints", "{}"],
            ["noise", new Uint8Array(1024 * 1024).map((_, index) => (index * 7919) % 256)],
            ["null", "null"],
            ["null-metadata", `{"endpoints":["http://a:1"],"metadata":null}`],
            ["other-id", `{"endpoints":["http://a:1"],"id":"somebody"}`],
            ["other-name", `{"endpoints":["http://a:1"],"name":"payments"}`],
            ["wrong-shape", `{"endpoints":"http://a:1","weight":"heavy"}`],
            ["wrong-status", `{"endpoints":["http://a:1"],"status":"sleeping"}`]
          ]
          yield* Effect.gen(function* () {
            // Half of the values exist before the list, the others arrive by the watch.
            yield* put("good1")
            for (const [id, value] of values.slice(0, 6)) yield* etcd.put({ key: key(id), value, lease })
            const sets = yield* recorded(discover("orders"))
            yield* sets.until(({ size }) => size > 0)
            for (const [id, value] of values.slice(6)) yield* etcd.put({ key: key(id), value, lease })
            // Keys without a valid id.
            const wrongIds = ["a/b", "/", "deep/er/still", "x\n", "..", ".", ""]
            for (const id of wrongIds) {
              yield* etcd.put({ key: key(id), value: `{"endpoints":["http://a:1"]}`, lease })
            }
            const bytes = new TextEncoder().encode(`${namespace}/orders/`)
            yield* etcd.put({ key: Uint8Array.of(...bytes, 0xff, 0xfe), value: "{}", lease })
            // A key without a lease.
            yield* etcdctl(server(), "put", key("unleased"), `{"endpoints":["http://a:1"]}`)
            yield* put("good2", { unknown: "member", metadata: { a: "b" } })
            yield* put("good3")

            const set = yield* sets.until((set) => set.has("good3"))
            const isRejected = (id: string) => id !== "null-metadata"
            const live = [...good, ...values.map(([id]) => id).filter((id) => !isRejected(id))].toSorted()
            assert.deepEqual(ids(set), live)
            assert.deepEqual(
              set.rejected.map(({ key, error }) => [key, error._tag]),
              [...values.map(([id]) => id).filter(isRejected), "unleased", ...wrongIds, "\udcff\udcfe"].toSorted()
                .map((id) => [key(id), "InvalidInstance"])
            )
            const details = set.rejected.map((
              { error, key }
            ) => [key.slice(namespace.length + "/orders/".length), error.detail])
            assert.deepEqual(
              Object.fromEntries(details.filter(([, detail]) => detail !== "the key contains no valid instance id")),
              {
                "broken": "the value is not JSON",
                "empty": "the value is not JSON",
                "invalid-utf8": "the value is not UTF-8",
                "list": "Expected object",
                "no-endpoints": `Missing key at ["endpoints"]`,
                "noise": "the value has 1048576 bytes, more than maxValueBytes (131072)",
                "null": "Expected object",
                "other-id": `"id" must be that of the key`,
                "other-name": `"name" must be that of the key`,
                "unleased":
                  `the key has no lease, so nothing would remove it; use leaseless: "accept" for static instances`,
                "wrong-shape": `Expected array at ["endpoints"]`,
                "wrong-status": `Expected "up" | "starting" | "draining" | "down" at ["status"]`
              }
            )
            const once = yield* getInstances("orders")
            assert.deepEqual([ids(once), once.rejected.length], [ids(set), set.rejected.length])

            // A repaired value is an instance, and a deleted key is no longer listed.
            yield* put("broken")
            yield* etcd.deleteRange({ key: key("noise") })
            const mended = yield* sets.until((set) =>
              set.has("broken") && !set.rejected.some((rejected) => rejected.key === key("noise"))
            )
            assert.deepEqual(mended.rejected.length, set.rejected.length - 2)
            // A broken value is no longer an instance.
            yield* etcd.put({ key: key("good1"), value: "?", lease })
            const broken = yield* sets.until((set) => !set.has("good1"))
            assert.ok(broken.rejected.some((rejected) => rejected.key === key("good1")))
            yield* etcdctl(server(), "del", "--prefix", namespace)
            const gone = yield* sets.until(({ size }) => size === 0)
            yield* sets.until(({ rejected }) => rejected.length === 0)
            assert.equal(gone.freshness._tag, "Live")
          }).pipe(Effect.scoped, Effect.provide(registry))
        }).pipe(Effect.provide(quiet))
    )

    live("discover decodes typed metadata and rejects what the schema rejects", () =>
      Effect.gen(function* () {
        const { key, put, registry } = yield* setUp
        const Orders = Service.make("orders", {
          metadata: Schema.Struct({
            shard: Schema.Int,
            since: Schema.Date,
            quota: Schema.BigInt,
            tags: Schema.Array(Schema.String),
            note: Schema.optionalKey(Schema.String)
          })
        })
        const metadata = { shard: 3, since: new Date(1_700_000_000_000), quota: 2n ** 70n, tags: ["a", "b"] }
        yield* Effect.gen(function* () {
          const typed = yield* recorded(discover(Orders))
          const plain = yield* recorded(discover("orders"))
          const registration = yield* registerService(Orders, { id: "a", endpoints: ["a:1"], metadata })
          const set = yield* typed.until(isLiveWith("a"))
          assert.deepEqual(set.instances.map(({ metadata }) => metadata), [metadata])
          assert.deepEqual((yield* getInstances(Orders)).instances, set.instances)
          // Without the schema, a member that is not a string is its JSON text.
          const seen = yield* plain.until(isLiveWith("a"))
          assert.deepEqual(seen.instances.map(({ metadata }) => metadata), [
            { shard: "3", since: "2023-11-14T22:13:20.000Z", quota: String(2n ** 70n), tags: `["a","b"]` }
          ])

          yield* registration.update({ metadata: { ...metadata, shard: 4, note: "moved" } })
          const moved = yield* typed.until((set) => set.instances[0]?.metadata.shard === 4)
          assert.deepEqual(moved.instances[0]?.metadata, { ...metadata, shard: 4, note: "moved" })

          yield* put("b", { metadata: { shard: "four" } })
          yield* put("c", { metadata: { region: "eu" } })
          const mixed = yield* typed.until(({ rejected }) => rejected.length === 2)
          assert.deepEqual([ids(mixed), mixed.rejected.map(({ key }) => key)], [["a"], [key("b"), key("c")]])
          assert.ok(mixed.rejected.every(({ error }) => error.detail.startsWith("metadata: ")))
          const strings = yield* plain.until(({ size }) => size === 3)
          assert.deepEqual(strings.instances.slice(1).map(({ metadata }) => metadata), [
            { shard: "four" },
            { region: "eu" }
          ])
        }).pipe(Effect.scoped, Effect.provide(registry))
      }).pipe(Effect.provide(quiet)))

    live("discover decodes null metadata if the schema allows it", () =>
      Effect.gen(function* () {
        const { registry } = yield* setUp
        const Orders = Service.make("orders", { metadata: Schema.NullOr(Schema.Struct({ shard: Schema.Int })) })
        yield* Effect.gen(function* () {
          const registration = yield* registerService(Orders, { id: "a", endpoints: ["a:1"], metadata: null })
          assert.equal(registration.instance.metadata, null)
          const set = yield* getInstances(Orders)
          assert.deepEqual([...set], [{ ...instance("a"), endpoints: ["tcp://a:1"], metadata: null }])
          yield* registration.update({ metadata: { shard: 1 } })
          assert.deepEqual((yield* getInstances(Orders)).instances[0]?.metadata, { shard: 1 })
          yield* registration.update({ metadata: null })
          assert.deepEqual((yield* getInstances(Orders)).instances[0]?.metadata, null)
        }).pipe(Effect.scoped, Effect.provide(registry))
      }))

    live(
      `discover and discoverChanges are complete under random changes for fast and slow consumers (seed ${seed}) (D3, D5)`,
      () =>
        Effect.gen(function* () {
          const { deleteOp, etcd, putOp, registry } = yield* setUp
          const random = randomOf(seed)
          const some = (count: number) => Math.floor(random() * count)
          const all = Array.from({ length: 20 }, (_, index) => `i${index}`)
          const model = new Map<string, number>()

          yield* Effect.gen(function* () {
            /** Applies changes like a consumer, and checks each against the state before it. */
            const consumer = (delay: () => number) =>
              Effect.gen(function* () {
                const known = new Map<string, unknown>()
                const counts = { Added: 0, Updated: 0, Removed: 0 }
                yield* discoverChanges("orders").pipe(
                  Stream.runForEach((change) =>
                    Effect.andThen(
                      Effect.sync(() => {
                        const { _tag, instance } = change
                        counts[_tag] += 1
                        if (_tag === "Added") assert.ok(!known.has(instance.id))
                        else assert.equal(known.get(instance.id), _tag === "Updated" ? change.previous : instance)
                        if (_tag === "Removed") known.delete(instance.id)
                        else known.set(instance.id, instance)
                      }),
                      Effect.suspend(() => {
                        const milliseconds = delay()
                        return milliseconds === 0 ? Effect.void : pause(milliseconds)
                      })
                    )
                  ),
                  Effect.tapCause((cause) => Effect.sync(() => known.set("failed", cause))),
                  Effect.forkScoped
                )
                return { known, counts }
              })
            const quick = yield* consumer(() => 0)
            const slow = yield* consumer(() => random() < 0.05 ? 15 : 0)
            const sets = yield* recorded(discover("orders"))
            yield* sets.until(isLiveWith())
            let revision = 0n
            for (let step = 0; step < 150; step++) {
              const operations: Array<RequestOp> = []
              for (const id of new Set(Array.from({ length: 1 + some(6) }, () => all[some(20)]!))) {
                if (model.has(id) && random() < 0.4) {
                  model.delete(id)
                  operations.push(deleteOp(id))
                } else {
                  model.set(id, step)
                  operations.push(putOp(id, { weight: step }))
                }
              }
              const { header } = yield* etcd.txn({ then: operations })
              revision = header.revision
            }
            const last = yield* sets.until((set) => set.revision === revision)
            const wanted = all.filter((id) => model.has(id)).toSorted().map((id) =>
              instance(id, { weight: model.get(id) })
            )
            assert.deepEqual(last.instances, wanted)
            const latest = yield* getInstances("orders")
            assert.deepEqual([latest.instances, latest.revision], [wanted, revision])
            // Two more consumers, of whole sets.
            const late = yield* consumer(() => 0)
            for (const { counts, known } of [quick, slow, late]) {
              const arrived = () =>
                [...known.values()].sort((a, b) => (a as { id: string }).id < (b as { id: string }).id ? -1 : 1)
              yield* waitUntil(() => known.size === wanted.length && sameInstances(arrived(), wanted), counts)
              assert.deepEqual(arrived(), wanted)
            }
            assert.deepEqual(late.counts, { Added: wanted.length, Updated: 0, Removed: 0 })
            const revisions = sets.all.map(({ revision }) => revision)
            assert.equal(new Set(revisions).size, revisions.length)
            assert.deepEqual(revisions, revisions.toSorted((a, b) => a < b ? -1 : 1))
          }).pipe(Effect.scoped, Effect.provide(registry))
        })
    )

    live(
      "listServices counts the instances of each service, and getInstances reads one at one revision",
      () =>
        Effect.gen(function* () {
          const { etcd, lease, namespace, registry } = yield* setUp
          yield* Effect.gen(function* () {
            assert.deepEqual(yield* listServices(), [])
            const empty = yield* getInstances("orders")
            assert.deepEqual([empty.size, [...empty], empty.freshness._tag], [0, [], "Live"])
            for (const name of ["payments", "orders", "orders-eu"]) {
              for (let i = 0; i < name.length; i++) yield* registerService(name, { id: `i${i}`, endpoints: ["a:1"] })
            }
            // Invalid values count; keys without a lease or without a service do not.
            yield* etcd.put({ key: `${namespace}/broken/a`, value: "?", lease })
            yield* etcd.put({ key: `${namespace}/unleased/a`, value: "?" })
            for (const key of ["deep/er/still", "loose", "/a", "orders/"]) {
              yield* etcd.put({ key: `${namespace}/${key}`, value: "?", lease })
            }
            yield* etcd.put({ key: `${namespace}2/other/a`, value: "?", lease })
            assert.deepEqual(yield* listServices(), [
              { name: "broken", instances: 1 },
              { name: "orders", instances: 6 },
              { name: "orders-eu", instances: 9 },
              { name: "payments", instances: 8 }
            ])
            assert.deepEqual(yield* listServices({ prefix: "orders" }), [
              { name: "orders", instances: 6 },
              { name: "orders-eu", instances: 9 }
            ])
            const before = yield* etcd.range({ key: "any" })
            const set = yield* getInstances("orders")
            const after = yield* etcd.range({ key: "any" })
            assert.deepEqual(ids(set), ["i0", "i1", "i2", "i3", "i4", "i5"])
            // Between two reads, because leases of other tests may expire meanwhile.
            assert.ok(
              before.header.revision <= set.revision && set.revision <= after.header.revision,
              `${set.revision}`
            )
          }).pipe(Effect.scoped, Effect.provide(registry))
          yield* etcd.deleteRange(prefix(namespace))
        })
    )
  })
})

const sameInstances = (a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>) => JSON.stringify(a) === JSON.stringify(b)

const waitUntil = (predicate: () => boolean, about: unknown) =>
  Effect.gen(function* () {
    const deadline = performance.now() + limitMillis
    while (!predicate()) {
      assert.ok(performance.now() < deadline, JSON.stringify(about))
      yield* pause(10)
    }
  })

import { Arbitrary, Effect, HashMap, Option, type Schema, Stream } from "effect"
import assert from "node:assert/strict"
import { merge } from "../../../src/registry/discovery/merge.ts"
import { goZero, grpcNaming } from "../../../src/interop/mod.ts"
import { InvalidInstance } from "../../../src/registry/model/Codec.ts"
import type { ServiceInstance } from "../../../src/registry/model/Instance.ts"
import * as InstanceSet from "../../../src/registry/model/InstanceSet.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { EtcdError, Unavailable } from "../../../src/etcd/EtcdError.ts"
import { discover, Registry } from "../../../mod.ts"
import { describe, effect, live } from "../../harness/it.ts"
import { int, property } from "../model/property.ts"
import { collect, elapse, orders, register, verify, world } from "../../harness/virtual.ts"
import { Freshness } from "../../../src/etcd/Freshness.ts"

const instance = (id: string, endpoint: string, weight = 1): ServiceInstance => ({
  id,
  name: "s",
  metadata: {},
  endpoints: [endpoint],
  weight,
  status: "up"
})

const setOf = (instances: ReadonlyArray<ServiceInstance>, revision = 1n) =>
  InstanceSet.fromInstances(instances, revision)

/** The ids of a merged set and their endpoints. */
const shown = (set: InstanceSet.InstanceSet<unknown> | undefined): ReadonlyArray<string> =>
  set?.instances.map(({ endpoints, id, weight }) => `${id} ${endpoints} ${weight}`) ?? []

/** The last set of a merge of finite streams. */
const lastOf = <E>(merged: Stream.Stream<InstanceSet.InstanceSet<unknown>, E>) =>
  Effect.map(Stream.runLast(merged), Option.getOrUndefined)

/** An endpoint on one of a few hosts, in different notations, so that sources share some. */
const endpointAt = (host: number) =>
  ["http://10.0.0.1", "tcp://10.0.0.1:80", "grpc://10.0.0.2:81/x", "tcp://10.0.0.2:81"][host] ?? ""
const addressAt = (host: number) => host < 2 ? 1 : 2

describe("InstanceSet.merge", () => {
  live(
    "InstanceSet.merge emits once each source has emitted, with labelled ids and multiplied weights",
    () =>
      Effect.gen(function* () {
        const merged = merge({
          one: Stream.make(setOf([instance("a", "http://h:1")], 7n)),
          two: { sets: Stream.make(setOf([instance("a", "http://h:2", 100)], 5n)), weight: 1 / 100 }
        })
        const sets = yield* Stream.runCollect(merged)
        assert.deepEqual(sets.map((set) => [set.revision, ...shown(set)]), [[
          7n,
          "one/a http://h:1 1",
          "two/a http://h:2 1"
        ]])
        const never = merge({ one: Stream.make(setOf([])), two: Stream.never })
        assert.deepEqual(yield* Stream.runCollect(Stream.interruptWhen(never, Effect.sleep(20))), [])
      })
  )

  live(
    "InstanceSet.merge takes the first source of one address, and the next one when it leaves",
    () =>
      Effect.gen(function* () {
        const old = [[instance("x", "tcp://10.0.0.1:80")], []]
        const now = [
          instance("a", "http://10.0.0.1/path"),
          instance("b", "https://10.0.0.1"),
          instance("c", "http://H:80")
        ]
        for (
          const [left, expected] of [
            [old.slice(0, 1), ["now/b https://10.0.0.1 1", "now/c http://H:80 1", "old/x tcp://10.0.0.1:80 1"]],
            [old, ["now/a http://10.0.0.1/path 1", "now/b https://10.0.0.1 1", "now/c http://H:80 1"]]
          ] as const
        ) {
          const set = yield* lastOf(merge({
            old: Stream.fromIterable(left.map((instances) => setOf(instances))),
            now: Stream.make(setOf(now))
          }))
          assert.deepEqual(shown(set), expected)
        }
        const turned = yield* lastOf(merge({
          now: Stream.make(setOf(now)),
          old: Stream.make(setOf(old[0] ?? []))
        }))
        assert.deepEqual(shown(turned).length, 3)
      })
  )

  property(
    "InstanceSet.merge equals a merge from scratch after random changes, and unchanged instances stay the same objects",
    Arbitrary.array(Arbitrary.all([int(0, 2), int(0, 3), int(0, 4)]), { minLength: 1, maxLength: 25 }),
    async (operations) => {
      const labels = ["p", "q", "r"]
      const sources = labels.map(() => new Map<string, ServiceInstance>())
      const sets: Array<readonly [number, InstanceSet.InstanceSet]> = labels.map((_, index) => [index, setOf([])])
      for (const [source, id, host] of operations) {
        const instances = sources[source] ?? new Map()
        if (host === 4) instances.delete(`i${id}`)
        else instances.set(`i${id}`, instance(`i${id}`, endpointAt(host)))
        sets.push([source, setOf([...instances.values()])])
      }
      // One stream per source. The sets arrive in the order in which they were made.
      let turn = 0
      const streamOf = (source: number) =>
        Stream.fromIterable(sets.map((entry, at) => ({ entry, at })).filter(({ entry }) => entry[0] === source)).pipe(
          Stream.mapEffect(({ at, entry }) =>
            Effect.as(
              Effect.whileLoop({
                while: () => turn !== at,
                body: () => Effect.yieldNow,
                step: () => {}
              }),
              entry[1]
            )
          ),
          Stream.tap(() => Effect.sync(() => turn++))
        )
      const seen: Array<InstanceSet.InstanceSet<unknown>> = []
      await Effect.runPromise(
        merge({ p: streamOf(0), q: streamOf(1), r: streamOf(2) }).pipe(
          Stream.runForEach((set) => Effect.sync(() => seen.push(set)))
        )
      )
      const expected: Array<string> = []
      const taken = new Set<number>()
      sources.forEach((instances, source) => {
        const hosts = [...instances.values()].map(({ endpoints }) =>
          addressAt([0, 1, 2, 3].findIndex((host) => endpointAt(host) === endpoints[0]))
        )
        for (const [index, { endpoints, id }] of [...instances.values()].entries()) {
          if (!taken.has(hosts[index] ?? 0)) expected.push(`${labels[source]}/${id} ${endpoints} 1`)
        }
        hosts.forEach((host) => taken.add(host))
      })
      assert.deepEqual(shown(seen.at(-1)), expected.sort())
      for (const [index, set] of seen.entries()) {
        const before = seen[index - 1]
        const changes = InstanceSet.diff(before, set)
        const byHand = new Map(before?.instances.map((one) => [one.id, one]))
        for (const change of changes) {
          if (change._tag === "Removed") byHand.delete(change.instance.id)
          else byHand.set(change.instance.id, change.instance)
        }
        assert.deepEqual([...byHand.values()].sort((a, b) => a.id < b.id ? -1 : 1), set.instances)
        assert.ok(set.instances.every((one) => byHand.get(one.id) === one), "the same object")
      }
    },
    150
  )

  live(
    "InstanceSet.merge contains rejected and held instances of all sources, and is Stale if one is",
    () =>
      Effect.gen(function* () {
        const cause = new EtcdError({ reason: new Unavailable({ detail: "down" }), method: "watch" })
        const held = instance("h", "http://h:9")
        const error = new InvalidInstance({ detail: "broken" })
        const part = (since: number | undefined) =>
          InstanceSet.make({
            byId: HashMap.make([held.id, held]),
            revision: 3n,
            freshness: since === undefined ? Freshness.Live() : Freshness.Stale({ since, cause }),
            rejected: HashMap.make(["x", { key: "/services/s/x", error }]),
            held: new Map([[held.id, held]]),
            history: new InstanceSet.History(),
            sequence: 0
          })
        const parts = { p: Stream.make(part(20)), q: Stream.make(part(10)), r: Stream.make(part(undefined)) }
        const set = yield* lastOf(merge(parts))
        // The same address: only the first one is included, and held.
        assert.deepEqual(shown(set), ["p/h http://h:9 1"])
        assert.deepEqual(set?.held.map(({ id }) => id), ["p/h"])
        assert.deepEqual(set?.rejected.map(({ key }) => key), ["/services/s/x", "/services/s/x", "/services/s/x"])
        assert.deepEqual(set?.freshness, Freshness.Stale({ since: 10, cause }))
      })
  )

  live(
    "InstanceSet.merge fails as soon as one source fails, and with InvalidOption for an invalid label or weight",
    () =>
      Effect.gen(function* () {
        const cause = new EtcdError({ reason: new Unavailable({ detail: "down" }), method: "watch" })
        const set = setOf([])
        const failure = <A, E>(stream: Stream.Stream<A, E>) => Effect.flip(Stream.runDrain(stream))
        const refused = yield* failure(
          merge({ a: Stream.concat(Stream.make(set), Stream.never), b: Stream.fail(cause) })
        )
        assert.equal(refused, cause)
        const fieldOf = <E extends { readonly _tag: string }>(error: E) => "option" in error ? error.option : error._tag
        assert.equal(fieldOf(yield* failure(merge({ "a/b": Stream.fail(cause) }))), "label")
        assert.equal(fieldOf(yield* failure(merge({ "": Stream.fail(cause) }))), "label")
        for (const weight of [0, -1, Number.NaN, 1e308, Number.POSITIVE_INFINITY]) {
          const merged = merge({ a: { sets: Stream.fail(cause), weight } })
          assert.equal(fieldOf(yield* failure(merged)), "a.weight")
        }
      })
  )

  verify(
    "InstanceSet.merge of two etcds is Stale while one is unreachable, and current afterwards",
    () =>
      Effect.gen(function* () {
        const [east, west] = [yield* world, yield* world]
        const [inEast, inWest] = [yield* east.process(), yield* west.process()]
        const seen = yield* collect(
          merge({ east: inEast.registry.discover(orders), west: inWest.registry.discover(orders) }).pipe(
            Stream.map((set) => `${set.freshness._tag} ${set.instances.map(({ id }) => id)}`)
          )
        )
        yield* elapse("1 second")
        const writer = yield* west.process()
        yield* register(writer, { id: "a", endpoints: ["http://10.0.0.1:80"] })
        yield* elapse("1 second")
        yield* inWest.faults.outage
        yield* elapse("20 seconds")
        yield* register(writer, { id: "b", endpoints: ["http://10.0.0.2:80"] })
        yield* elapse("1 second")
        yield* inWest.faults.clear
        yield* elapse("20 seconds")
        assert.deepEqual(seen.seen, [
          "Live ",
          "Live west/a",
          "Stale west/a",
          "Live west/a,west/b"
        ])
      })
  )

  effect("InstanceSet.merge has the metadata type of all sources of discover", () =>
    Effect.gen(function* () {
      const users = Service.make("user.rpc", { codec: goZero })
      const named = Service.make("users", { codec: grpcNaming })
      const merged = merge({ zero: discover(users), named: discover(named) })
      const metadata: ReadonlyArray<Schema.Json | Readonly<Record<string, string>>> = yield* merged.pipe(
        Stream.take(1),
        Stream.map(({ instances }) => instances.map((one) => one.metadata)),
        Stream.runCollect,
        Effect.map((sets) => sets.flat())
      )
      assert.deepEqual(metadata, [{ k: [1] }, {}])
    }).pipe(Effect.provide(Registry.layerFixed([
      { name: "user.rpc", endpoints: ["tcp://10.0.0.1:80"] },
      { name: "users", endpoints: ["tcp://10.0.0.2:80"], metadata: { k: [1] } }
    ]))))
})

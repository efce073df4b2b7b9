import { Clock, Effect, Option, Random } from "effect"
import assert from "node:assert/strict"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { Catalog } from "../../../src/registry/discovery/Catalog.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import { collect, counted, elapse, failureOf, settle, show, verify, world } from "../../harness/virtual.ts"

/** A catalog in one line, such as `Live orders[Live a,b] (foreign /services/x)`. */
const line = (catalog: Catalog): string => {
  const services = Array.from(catalog, ([name, set]) => `${name}[${show(set)}]`).join(" ")
  const foreign = catalog.rejected.map(({ key }) => key)
  return `${catalog.freshness._tag} ${services}${foreign.length === 0 ? "" : ` (foreign ${foreign})`}`
}

const leased = (etcd: Etcd) => Effect.map(Effect.orDie(etcd.leaseGrant({ ttl: 1_000_000 })), ({ id }) => id)

const op = (key: string, lease: bigint, value: object | string = { endpoints: ["http://x:1"] }) => ({
  _tag: "Put" as const,
  request: { key: `/services/${key}`, value: typeof value === "string" ? value : JSON.stringify(value), lease }
})

describe("discoverAll", () => {
  verify(
    "discoverAll emits every service of the namespace at one revision, from one watch",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const lease = yield* leased(operator)
        yield* operator.txn({ then: [op("orders/a", lease), op("payments/p", lease)] })
        const catalogs = yield* collect(one.registry.discoverAll())
        const second = yield* collect(one.registry.discoverAll())
        // One transaction over three services is one catalog.
        yield* operator.txn({
          then: [
            op("orders/b", lease),
            op("users/u", lease),
            { _tag: "DeleteRange", request: { key: "/services/payments/p" } }
          ]
        })
        yield* settle
        assert.deepEqual(catalogs.seen.map((catalog) => [catalog.revision, line(catalog)]), [
          [2n, "Live orders[Live a] payments[Live p]"],
          [3n, "Live orders[Live a,b] users[Live u]"]
        ])
        assert.deepEqual(second.seen.map(line), catalogs.seen.map(line))
        const last = catalogs.seen.at(-1) ?? assert.fail()
        assert.deepEqual([last.size, last.names, last.has("payments"), last.has("users")], [
          2,
          ["orders", "users"],
          false,
          true
        ])
        assert.deepEqual((yield* one.faults.openWatches).map(({ key }) => key), ["/services/"])
        assert.doesNotThrow(() => JSON.stringify(last))
      })
  )

  verify("discoverAll keeps the very set of a service that did not change (D4)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const lease = yield* leased(operator)
      yield* operator.txn({ then: [op("orders/a", lease), op("payments/p", lease)] })
      const catalogs = yield* collect(one.registry.discoverAll())
      yield* operator.txn({ then: [op("orders/b", lease)] })
      yield* settle
      const [before, after] = catalogs.seen
      assert.ok(before !== undefined && after !== undefined)
      assert.equal(Option.getOrThrow(after.get("payments")), Option.getOrThrow(before.get("payments")))
      assert.notEqual(Option.getOrThrow(after.get("orders")), Option.getOrThrow(before.get("orders")))
      const [kept, known] = [after, before].map((catalog) => Option.getOrThrow(catalog.get("orders")).get("a"))
      assert.equal(Option.getOrThrow(kept ?? Option.none()), Option.getOrThrow(known ?? Option.none()))
    }))

  verify(
    "discoverAll lists every key as an instance or rejected: of its service, or of the catalog",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const lease = yield* leased(operator)
        const keys = ["orders/a", "orders/b/c", "orders/", "single", "./x", "users/"]
        yield* operator.txn({ then: keys.map((key) => op(key, lease)) })
        yield* operator.txn({ then: [op("orders/bad", lease, "?"), op("orders/static", 0n)] })
        const catalogs = yield* collect(one.registry.discoverAll())
        assert.deepEqual(catalogs.seen.map(line), [
          "Live orders[Live a (rejected /services/orders/,/services/orders/b/c,/services/orders/bad,/services/orders/static)] " +
          "users[Live  (rejected /services/users/)] (foreign /services/./x,/services/single)"
        ])
        const accepting = yield* collect(one.registry.discoverAll({ leaseless: "accept" }))
        const orders = Option.getOrThrow(accepting.seen[0]?.get("orders") ?? Option.none())
        assert.deepEqual([orders.has("static"), orders.has("a")], [true, true])
        yield* operator.deleteRange({ key: "/services/single" })
        yield* operator.deleteRange(prefix("/services/users/"))
        yield* settle
        const last = catalogs.seen.at(-1) ?? assert.fail()
        assert.deepEqual([last.names, last.rejected.map(({ key }) => key)], [["orders"], ["/services/./x"]])
      })
  )

  verify("discoverAll is Stale as a whole during an outage, and so is each set (D7)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const lease = yield* leased(operator)
      yield* operator.txn({ then: [op("orders/a", lease), op("payments/p", lease)] })
      const catalogs = yield* collect(one.registry.discoverAll())
      yield* one.faults.outage
      yield* operator.txn({ then: [op("orders/b", lease)] })
      yield* elapse("1 minute")
      yield* one.faults.clear
      yield* elapse("10 seconds")
      assert.deepEqual(catalogs.seen.map(line), [
        "Live orders[Live a] payments[Live p]",
        "Stale orders[Stale a] payments[Stale p]",
        "Live orders[Live a,b] payments[Live p]"
      ])
    }))

  verify("discoverAll fails with DiscoveryRefused if etcd refuses the first read", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
      const error = failureOf(yield* collect(one.registry.discoverAll()))
      assert.ok(error?._tag === "DiscoveryRefused")
      assert.equal(error.prefix, "/services/")
    }))

  verify("discoverAll protects each service on its own (D10)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const kept = yield* leased(operator)
      const lost = yield* leased(operator)
      yield* operator.txn({
        then: [
          ...["orders/a", "orders/b"].map((key) => op(key, lost)),
          ...["users/c", "users/d"].map((key) => op(key, kept))
        ]
      })
      const catalogs = yield* collect(one.registry.discoverAll({ protect: { maxLoss: 0.5, hold: "30 seconds" } }))
      yield* operator.leaseRevoke(lost)
      yield* settle
      assert.equal(catalogs.seen.map(line).at(-1), "Live orders[Live a,b (held a,b)] users[Live c,d]")
      yield* elapse("31 seconds")
      assert.equal(catalogs.seen.map(line).at(-1), "Live users[Live c,d]")
    }))

  verify(
    "discoverAll equals what discover emits for each service, over random changes and faults (D2, D3)",
    () =>
      Effect.gen(function* () {
        for (let seed = 1; seed <= 6; seed++) {
          yield* Effect.scoped(Effect.gen(function* () {
            const { operator, process } = yield* world
            const one = yield* process()
            const lease = yield* leased(operator)
            yield* one.faults.set({ seed, rate: 0.3 })
            const names = ["orders", "payments", "users"]
            const catalogs = yield* collect(one.registry.discoverAll())
            const sets = yield* Effect.forEach(names, (name) => collect(one.registry.discover(Service.make(name))))
            for (let step = 0; step < 40; step++) {
              const key = `${yield* Random.choice(names)}/${yield* Random.nextIntBetween(0, 3)}`
              if (yield* Random.nextBoolean) {
                yield* operator.txn({ then: [op(key, lease, { endpoints: ["http://x:1"], weight: step })] })
              } else yield* operator.deleteRange({ key: `/services/${key}` })
              yield* elapse(yield* Random.nextIntBetween(0, 1500))
              if (step % 10 === 9) yield* one.faults.breakWatches()
            }
            yield* one.faults.clear
            yield* elapse("30 seconds")
            const catalog = catalogs.seen.at(-1) ?? assert.fail()
            names.forEach((name, index) => {
              const expected = sets[index]?.seen.at(-1)?.instances ?? []
              const found = Option.match(catalog.get(name), { onNone: () => [], onSome: ({ instances }) => instances })
              assert.deepEqual(found, expected, `${name}, seed ${seed}`)
            })
            const revisions = catalogs.seen.map(({ revision }) => revision)
            assert.deepEqual(revisions, revisions.toSorted((a, b) => Number(a - b)))
            assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
          }))
        }
      }).pipe(Random.withSeed("catalog"))
  )
})

describe("protection and the wall clock", () => {
  verify(
    "protect releases instances after hold even if the wall clock is set back by an hour (D10)",
    () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        let offset = 0
        // Everything else, including `adjust`, uses the test's clock.
        const jumping: Clock.Clock = Object.assign(Object.create(clock), {
          currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + offset,
          currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + offset)
        })
        const { operator, process } = yield* world
        const onJumpingClock = Effect.provideService(Clock.Clock, jumping)
        const one = yield* onJumpingClock(process())
        const lease = yield* leased(operator)
        yield* operator.txn({ then: [op("orders/a", lease)] })
        const protect = { maxLoss: 0, hold: "30 seconds" } as const
        const sets = yield* onJumpingClock(collect(one.registry.discover(Service.make("orders"), { protect })))
        yield* operator.leaseRevoke(lease)
        yield* settle
        offset = -3_600_000
        yield* elapse(29_999)
        assert.equal(sets.seen.map(show).at(-1), "Live a (held a)")
        yield* elapse(1)
        assert.equal(sets.seen.map(show).at(-1), "Live ")
      })
  )
})

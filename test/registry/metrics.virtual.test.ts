import { Effect, Metric, Scope, Stream } from "effect"
import { PrometheusMetrics } from "effect/observability"
import assert from "node:assert/strict"
import * as Service from "../../src/registry/model/Service.ts"
import { describe } from "../harness/it.ts"
import { a, collect, elapse, keyOfA, orders, putInstance, register, settle, verify, world } from "../harness/virtual.ts"

/** The series whose name begins so, without the common prefix. */
const series = (name: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(
    PrometheusMetrics.format(),
    (text) =>
      text.split("\n").filter((line) => line.startsWith(`etcd_discovery_${name}`))
        .map((line) => line.slice("etcd_discovery_".length).replaceAll(`service="orders",`, "")).sort()
  )

const instances = (counts: string) =>
  counts.split(" ").map((count) => {
    const [status = "", number = ""] = count.split("=")
    return `instances{status="${status}"} ${number}`
  })

describe("metrics of registrations", () => {
  verify(
    "a registration has every counter at 0, and gauges of its status and lease, until it is released",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.outage
        const kept = yield* register(one, { ...a, ttl: "12 seconds", startup: "background" })
        assert.deepEqual(yield* series("claims"), [`claims_total{service="orders"} 0`])
        assert.deepEqual(yield* series("registrations_lost"), [`registrations_lost_total{service="orders"} 0`])
        assert.deepEqual(yield* series("heartbeats"), ["heartbeats_total 0"])
        assert.deepEqual(yield* series("lease"), [`lease_remaining_seconds{service="orders"} 0`])

        const statuses = Effect.map(series("registrations{"), (all) => all.filter((line) => !line.endsWith(" 0")))
        assert.deepEqual(yield* statuses, [`registrations{status="registering"} 1`])
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(yield* statuses, [`registrations{status="registered"} 1`])
        assert.deepEqual(yield* series("claims"), [`claims_total{service="orders"} 1`])

        yield* operator.deleteRange({ key: keyOfA })
        yield* settle
        assert.deepEqual(yield* series("registrations_lost"), [`registrations_lost_total{service="orders"} 1`])
        yield* elapse("1 second")
        yield* one.registry.register(orders, { ...a, id: "b" })
        assert.deepEqual(yield* statuses, [`registrations{status="registered"} 2`])
        yield* kept.registration.drain
        assert.deepEqual(yield* statuses, [
          `registrations{status="draining"} 1`,
          `registrations{status="registered"} 1`
        ])
        yield* kept.release
        assert.deepEqual(yield* statuses, [`registrations{status="registered"} 1`])
        yield* one.exit
        assert.deepEqual([yield* series("registrations{"), yield* series("lease")], [[], []])
        // A counter never goes back while the process runs.
        assert.deepEqual(yield* series("claims"), [`claims_total{service="orders"} 3`])
      })
  )

  verify(
    "lease_remaining_seconds is the time until the first lease expires, and returns with each heartbeat",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* one.registry.register(orders, { ...a, ttl: "12 seconds" })
        yield* one.registry.register(orders, { ...a, id: "b", ttl: "60 seconds" })
        const left = Effect.map(series("lease"), ([line = ""]) => Number(line.split(" ")[1]))
        assert.equal(yield* left, 12)
        yield* elapse("3 seconds")
        assert.equal(yield* left, 9)
        yield* elapse("1 second")
        assert.equal(yield* left, 12)
      })
  )
})

describe("metrics of discovery", () => {
  verify(
    "discover has every counter at 0, and gauges of its instances and their age, until it ends",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.outage
        const scope = yield* Scope.fork(yield* Effect.scope)
        yield* collect(one.registry.discover(orders)).pipe(Scope.provide(scope))
        for (const name of ["lists", "rejected_values", "reconciliation_repairs"]) {
          assert.deepEqual(yield* series(name), [`${name}_total{service="orders"} 0`])
        }
        const age = Effect.map(series("set_age"), ([line = ""]) => Number(line.split(" ")[1]))
        yield* elapse("7 seconds")
        assert.equal(yield* age, 7)
        assert.deepEqual(yield* series("instances"), instances("down=0 draining=0 starting=0 up=0"))

        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.equal(yield* age, 0)
        yield* putInstance(operator, "a")
        yield* putInstance(operator, "b", { status: "draining" })
        yield* putInstance(operator, "c", { endpoints: 1 })
        yield* settle
        assert.deepEqual(yield* series("instances"), instances("down=0 draining=1 starting=0 up=1"))
        assert.deepEqual(yield* series("rejected"), [
          `rejected_keys{service="orders"} 1`,
          `rejected_values_total{service="orders"} 1`
        ])

        yield* one.faults.outage
        yield* elapse("1 minute")
        assert.ok((yield* age) > 30 && (yield* age) <= 60, `${yield* age}`)
        assert.deepEqual(yield* series("instances"), instances("down=0 draining=1 starting=0 up=1"))
        yield* one.exit
        assert.deepEqual([yield* series("instances"), yield* series("set_age")], [[], []])
      })
  )

  verify("two watches on one service count its instances once", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* putInstance(operator, "a")
      yield* collect(one.registry.discover(orders))
      const scope = yield* Scope.fork(yield* Effect.scope)
      yield* collect(one.registry.discover(orders, { reconcileEvery: "1 hour" })).pipe(Scope.provide(scope))
      yield* collect(one.registry.discoverAll()).pipe(Scope.provide(scope))
      assert.deepEqual(yield* series("instances"), instances("down=0 draining=0 starting=0 up=1"))
      const other = yield* process({ namespace: "/other" })
      yield* collect(other.registry.discover(orders))
      assert.deepEqual(yield* series("instances"), instances("down=0 draining=0 starting=0 up=1"))
    }))

  verify("discoverAll has gauges of each service while it has keys", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* putInstance(operator, "a")
      yield* collect(one.registry.discoverAll())
      const { id: lease } = yield* Effect.orDie(operator.leaseGrant({ ttl: 1000 }))
      yield* operator.put({ key: "/services/users/u", value: `{"endpoints":["http://u:1"]}`, lease })
      yield* settle
      const up = Effect.map(series("instances"), (all) => all.filter((line) => line.includes(`"up"`)))
      assert.deepEqual(yield* up, [`instances{service="users",status="up"} 1`, `instances{status="up"} 1`])
      yield* operator.leaseRevoke(lease)
      yield* settle
      assert.deepEqual(yield* up, [`instances{status="up"} 1`])
      yield* one.exit
      assert.deepEqual(yield* up, [])
    }))

  verify("metrics stay bounded when a process follows many services", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      for (let index = 0; index < 210; index++) {
        yield* Effect.scoped(one.registry.discover(Service.make(`s-${index}`)).pipe(Stream.take(1), Stream.runDrain))
      }
      const lists = yield* series("lists")
      assert.ok(lists.length <= 201, `${lists.length} series`)
      assert.equal(lists.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0), 210)
      yield* elapse("1 minute")
      assert.deepEqual((yield* Metric.snapshot).filter(({ type }) => type === "Gauge"), [])
    }))
})

import { Clock, Effect, Option, Random, Result, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { DiscoveryRefused } from "../../../src/registry/discovery/Discovery.ts"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import { InvalidArgument, PermissionDenied } from "../../../src/etcd/EtcdError.ts"
import type { Change, InstanceSet } from "../../../src/registry/model/InstanceSet.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { discoverChanges, Registry } from "../../../mod.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  collect,
  counted,
  elapse,
  failureOf,
  keysIn,
  orders,
  type Process,
  putInstance,
  settle,
  show,
  timesOf,
  verify,
  withDraw,
  world
} from "../../harness/virtual.ts"

const removeInstance = (etcd: Etcd, id: string) => etcd.deleteRange({ key: `/services/orders/${id}` })

const changesOf = ({ registry }: Pick<Process, "registry">, service: Service.Service = orders) =>
  Stream.provideService(discoverChanges(service), Registry.Registry, registry)

/** The sets as they are shown, each with the time of its arrival in whole milliseconds. */
const timed = <E>(sets: Stream.Stream<InstanceSet, E>): Stream.Stream<readonly [number, string], E> =>
  Stream.mapEffect(sets, (set) => Effect.map(Clock.currentTimeMillis, (at) => [Math.round(at), show(set)] as const))

/** Asserts that a set equals etcd's state at its revision. */
const assertTrue = Effect.fnUntraced(function* (etcd: Etcd, set: InstanceSet) {
  const { kvs } = yield* Effect.orDie(etcd.range({ ...prefix("/services/orders/"), revision: set.revision }))
  const decoded = kvs.map((kv) => {
    const key = new TextDecoder().decode(kv.key)
    return orders.codec.decode("orders", key.slice("/services/orders/".length), kv.value)
  })
  assert.deepEqual(set.instances, decoded.filter(Result.isSuccess).map(({ success }) => success))
})

describe("discover", () => {
  verify(
    "discover emits nothing before the first list, then that set, even if it is empty (D1)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        for (const fault of [FaultyEtcd.unavailable, FaultyEtcd.hung, FaultyEtcd.answerLost]) {
          const one = yield* process()
          yield* one.faults.set([{ method: "range", fault }])
          const sets = yield* collect(one.registry.discover(orders))
          yield* elapse("1 hour")
          assert.deepEqual([sets.seen, sets.exit()], [[], undefined])
          yield* one.faults.clear
          yield* elapse("10 seconds")
          assert.deepEqual([sets.seen.map(show), sets.exit()], [["Live "], undefined])
          yield* sets.interrupt
        }
      })
  )

  verify(
    "discover fails without an element if etcd refuses: unknown is not empty (D1)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
        const sets = yield* collect(one.registry.discover(orders))
        yield* settle
        assert.deepEqual(sets.seen, [])
        const failure = failureOf(sets)
        assert.ok(failure instanceof DiscoveryRefused)
        assert.deepEqual([failure.prefix, failure.cause.reason._tag], ["/services/orders/", "PermissionDenied"])
        // The next consumer opens a new watch.
        yield* one.faults.clear
        const again = yield* collect(one.registry.discover(orders))
        assert.deepEqual(again.seen.map(show), ["Live "])
      })
  )

  verify(
    "discover emits a transaction over many instances as one set, and revisions never go back (D2)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const lease = yield* putInstance(operator, "a")
        yield* putInstance(operator, "b", {}, lease)
        const sets = yield* collect(one.registry.discover(orders))
        const value = JSON.stringify({ endpoints: ["http://c:80"] })
        yield* operator.txn({
          then: [
            { _tag: "DeleteRange", request: { key: "/services/orders/a" } },
            { _tag: "Put", request: { key: "/services/orders/b", value, lease } },
            { _tag: "Put", request: { key: "/services/orders/c", value, lease } }
          ]
        })
        yield* settle
        yield* operator.put({ key: "/services/ordersx/z", value, lease })
        yield* operator.put({ key: "/services/order", value, lease })
        yield* operator.leaseRevoke(lease)
        yield* settle
        assert.deepEqual(sets.seen.map((set) => [set.revision, show(set)]), [
          [3n, "Live a,b"],
          [4n, "Live b,c"],
          [7n, "Live "]
        ])
      })
  )

  verify(
    "discover emits etcd's state at rising revisions under random faults, and the last set is complete (D2, D3)",
    () =>
      Effect.gen(function* () {
        for (let seed = 1; seed <= 12; seed++) {
          yield* Effect.scoped(Effect.gen(function* () {
            const { operator, process } = yield* world
            const one = yield* process()
            yield* one.faults.set({
              seed,
              rate: 0.5,
              faults: [...FaultyEtcd.transient, FaultyEtcd.silentAfter(2), FaultyEtcd.endsAfter(2)]
            })
            const sets = yield* collect(one.registry.discover(orders))
            const changes = yield* collect(changesOf(one))
            const ids = ["a", "b", "c", "d", "e", "f"]
            for (let step = 0; step < 60; step++) {
              const id = yield* Random.choice(ids)
              if (yield* Random.nextBoolean) yield* putInstance(operator, id, { weight: step })
              else yield* removeInstance(operator, id)
              yield* elapse(yield* Random.nextIntBetween(0, 2000))
              if (step % 10 === 9) yield* one.faults.breakWatches()
            }
            yield* one.faults.clear
            yield* elapse("30 seconds")
            yield* Effect.forEach(sets.seen, (set) => assertTrue(operator, set))
            const revisions = sets.seen.map(({ revision }) => revision)
            assert.deepEqual(revisions, revisions.toSorted((a, b) => Number(a - b)), `seed ${seed}`)
            const last = sets.seen.at(-1)
            const expected = Object.keys(yield* keysIn(operator)).map((key) => key.slice("/services/orders/".length))
            assert.equal(last === undefined ? "" : show(last), `Live ${expected}`, `seed ${seed}`)
            assert.deepEqual([...apply(changes.seen).keys()].sort(), expected, `seed ${seed}`)
            assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
          }))
        }
      }).pipe(Random.withSeed("churn"))
  )

  verify(
    "discover resumes from history after a disconnect, without a list (D3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const changes = yield* collect(changesOf(one))
        yield* one.faults.outage
        yield* putInstance(operator, "b")
        yield* removeInstance(operator, "a")
        yield* elapse("1 minute")
        yield* one.faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(changes.seen.map(describeChange), ["Added a", "Added b", "Removed a"])
        assert.equal(yield* counted("etcd_discovery_lists_total"), 1)
      })
  )

  verify(
    "discover relists after a disconnect if history was compacted, and emits the difference (D3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        yield* putInstance(operator, "kept")
        const changes = yield* collect(changesOf(one))
        const sets = yield* collect(one.registry.discover(orders))
        yield* one.faults.outage
        yield* putInstance(operator, "b")
        yield* removeInstance(operator, "a")
        yield* putInstance(operator, "kept", { weight: 2 })
        yield* elapse("1 minute")
        // At the worst moment: just when the watch comes back.
        yield* one.faults.set([{ method: "watch", times: 1, fault: FaultyEtcd.compaction }])
        yield* elapse("10 seconds")
        assert.deepEqual(changes.seen.map(describeChange), [
          "Added a",
          "Added kept",
          "Removed a",
          "Added b",
          "Updated kept"
        ])
        assert.deepEqual(sets.seen.map(show), ["Live a,kept", "Stale a,kept", "Live b,kept"])
        assert.equal(yield* counted("etcd_discovery_lists_total"), 2)
      })
  )

  verify("discover relists if history is compacted between list and watch (D3)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* putInstance(operator, "a")
      yield* one.faults.set([{
        method: "watch",
        times: 1,
        fault: FaultyEtcd.meanwhile((etcd) =>
          Effect.gen(function* () {
            yield* putInstance(etcd, "b")
            yield* putInstance(etcd, "c")
            const { header } = yield* etcd.status
            yield* etcd.compact({ revision: header.revision })
          })
        )
      }])
      const sets = yield* collect(one.registry.discover(orders))
      yield* elapse("10 seconds")
      assert.equal(sets.seen.map(show).at(-1), "Live a,b,c")
    }))

  verify(
    "discover restarts a list that is compacted between two pages, at one revision (D3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const lease = yield* putInstance(operator, "0000")
        for (let index = 1; index < 2500; index++) {
          yield* putInstance(operator, String(index).padStart(4, "0"), {}, lease)
        }
        yield* one.faults.set([{
          method: "range",
          nth: 2,
          fault: FaultyEtcd.meanwhile((etcd) =>
            Effect.gen(function* () {
              // One key of each page goes.
              yield* removeInstance(etcd, "0000")
              yield* removeInstance(etcd, "2400")
              const { header } = yield* etcd.status
              yield* etcd.compact({ revision: header.revision })
            })
          )
        }])
        const sets = yield* collect(one.registry.discover(orders))
        yield* settle
        assert.equal(sets.seen.length, 1)
        const [set] = sets.seen
        assert.deepEqual([set?.size, set?.has("0000"), set?.has("2400")], [2498, false, false])
        assert.equal((yield* one.faults.calls("range")).length, 3)
      })
  )

  for (
    const { title, options, revisions } of [
      { title: "another cluster id", options: { clusterId: 99n }, revisions: 50 },
      { title: "a lower revision", options: {}, revisions: 0 }
    ]
  ) {
    verify(
      `discover relists if history was replaced (${title}), and emits the difference (D3)`,
      () =>
        Effect.gen(function* () {
          const { operator, process, replace } = yield* world
          const one = yield* process()
          for (const id of ["a", "b", "c", "d"]) yield* putInstance(operator, id)
          const changes = yield* collect(changesOf(one))
          yield* replace(options)
          yield* putInstance(operator, "b")
          yield* putInstance(operator, "z")
          for (let index = 0; index < revisions; index++) {
            yield* operator.put({ key: "elsewhere", value: String(index) })
          }
          yield* elapse("10 seconds")
          assert.deepEqual(changes.seen.map(describeChange).toSorted(), [
            ...["Added a", "Added b", "Added c", "Added d", "Added z"],
            ...["Removed a", "Removed c", "Removed d", "Updated b"]
          ])
          yield* putInstance(operator, "y")
          yield* settle
          assert.equal(changes.seen.map(describeChange).at(-1), "Added y")
          assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        })
    )
  }

  verify(
    "discover detects a replaced history that has passed its revision by re-reading the last write (D3)",
    () =>
      Effect.gen(function* () {
        for (
          const change of [() => Effect.void, ({ deleteRange }: Etcd) => deleteRange({ key: "/services/orders/b" })]
        ) {
          const { operator, process, replace } = yield* world
          const one = yield* process()
          yield* putInstance(operator, "a")
          yield* putInstance(operator, "b")
          const sets = yield* collect(one.registry.discover(orders))
          yield* change(operator)
          yield* settle
          yield* replace()
          yield* putInstance(operator, "z")
          for (let index = 0; index < 9; index++) yield* operator.put({ key: "elsewhere", value: String(index) })
          yield* elapse("1 minute")
          assert.deepEqual(sets.seen.map(show).at(-1), "Live z")
          assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        }
      })
  )

  verify(
    "discover relists if history is replaced while it re-reads the last write (D3)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        const future = new InvalidArgument({ detail: "etcdserver: mvcc: required revision is a future revision" })
        yield* one.faults.set([{ method: "range", times: 1, fault: FaultyEtcd.fails(future) }])
        yield* one.faults.breakWatches()
        yield* elapse("10 seconds")
        yield* putInstance(operator, "b")
        yield* settle
        assert.deepEqual(sets.seen.map(show).at(-1), "Live a,b")
        assert.equal(sets.exit(), undefined)
      })
  )

  verify(
    "discover repairs a replaced history without a trace by reconciliation, and counts it (D3, D8)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process, replace } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        yield* replace()
        yield* putInstance(operator, "z")
        for (let index = 0; index < 9; index++) yield* operator.put({ key: "elsewhere", value: String(index) })
        yield* operator.compact({ revision: 3n })
        yield* elapse("1 minute")
        assert.deepEqual(sets.seen.map(show).at(-1), "Live a")
        yield* elapse("10 minutes")
        assert.deepEqual(sets.seen.map(show).at(-1), "Live z")
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 2)
        assert.equal(log.filter((line) => line.includes("reconciliation found 2 stale keys")).length, 1)
      })
  )

  verify(
    "discover decodes only changed values; all others are the same objects in the next set (D4)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        let decoded = 0
        const counting: Service.Service = {
          name: "orders",
          codec: {
            encode: orders.codec.encode,
            decode: (...args) => {
              decoded++
              return orders.codec.decode(...args)
            }
          }
        }
        const lease = yield* putInstance(operator, "0")
        for (let index = 1; index < 3000; index++) yield* putInstance(operator, String(index), {}, lease)
        const sets = yield* collect(one.registry.discover(counting))
        const changes = yield* collect(changesOf(one, counting))
        assert.equal(decoded, 3000)
        yield* putInstance(operator, "17", { weight: 5 }, lease)
        yield* settle
        assert.equal(decoded, 3001)
        const [before, after] = sets.seen
        const moved = [...Array(3000).keys()].filter((index) =>
          Option.getOrUndefined(before?.get(String(index)) ?? Option.none()) !==
            Option.getOrUndefined(after?.get(String(index)) ?? Option.none())
        )
        assert.deepEqual(moved, [17])
        assert.deepEqual(changes.seen.slice(3000).map(describeChange), ["Updated 17"])
        // A new list decodes only changed values.
        yield* one.faults.outage
        yield* putInstance(operator, "18", { weight: 5 }, lease)
        yield* elapse("1 minute")
        yield* one.faults.set([{ method: "watch", times: 1, fault: FaultyEtcd.compaction }])
        yield* putInstance(operator, "19", { weight: 5 }, lease)
        yield* elapse("10 seconds")
        assert.equal(decoded, 3003)
      })
  )

  verify(
    "discover gives a slow consumer the newest set; discoverChanges is complete, one change per instance (D5)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const slowly = <A, E>(stream: Stream.Stream<A, E>) => Stream.tap(stream, () => Effect.sleep("1 minute"))
        const sets = yield* collect(slowly(one.registry.discover(orders)))
        const changes = yield* collect(slowly(changesOf(one)))
        yield* elapse("1 second")
        for (let index = 0; index < 3000; index++) {
          yield* putInstance(operator, String(index % 7), { weight: index })
          if (index % 3 === 0) yield* removeInstance(operator, String(index % 5))
          if (index % 100 === 0) yield* settle
        }
        yield* elapse("1 hour")
        assert.ok(sets.seen.length <= 4, String(sets.seen.length))
        const expected = Object.keys(yield* keysIn(operator)).map((key) => key.slice("/services/orders/".length))
        assert.equal(show(sets.seen.at(-1) ?? assert.fail()), `Live ${expected}`)
        assert.deepEqual([...apply(changes.seen).keys()].sort(), expected)
        assert.ok(changes.seen.length <= 21, String(changes.seen.length))
        assert.deepEqual(
          [...apply(changes.seen).values()].map(({ id, weight }) => [id, weight]).toSorted(),
          sets.seen.at(-1)?.instances.map(({ id, weight }) => [id, weight])
        )
      })
  )

  verify(
    "discover shares one watch per service and closes it after the last consumer has left (D6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const consumers = [yield* collect(one.registry.discover(orders))]
        for (let index = 0; index < 9; index++) {
          // The same name stands for the same service.
          consumers.push(yield* collect(one.registry.discover(Service.make("orders"))))
        }
        const other = yield* collect(one.registry.discover(Service.make("payments")))
        assert.deepEqual(consumers.map(({ seen }) => seen.map(show)), Array(10).fill(["Live a"]))
        const open = Effect.map(one.faults.openWatches, (calls) => calls.map(({ key }) => key))
        assert.deepEqual(yield* open, ["/services/orders/", "/services/payments/"])
        assert.equal((yield* one.faults.calls("range")).length, 2)
        for (const { interrupt } of consumers.slice(1)) yield* interrupt
        yield* elapse("1 minute")
        assert.deepEqual(yield* open, ["/services/orders/", "/services/payments/"])
        yield* other.interrupt
        yield* (consumers[0] ?? assert.fail()).interrupt
        yield* elapse(999)
        assert.equal((yield* open).length, 2)
        yield* elapse(1)
        assert.deepEqual(yield* open, [])
      })
  )

  verify(
    "discover reuses an idle watch without another list (D6)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const first = yield* collect(one.registry.discover(orders))
        yield* first.interrupt
        yield* elapse("500 millis")
        yield* putInstance(operator, "a")
        yield* settle
        const second = yield* collect(one.registry.discover(orders))
        yield* elapse("1 minute")
        assert.deepEqual(second.seen.map(show), ["Live a"])
        assert.equal((yield* one.faults.calls("range")).length, 1)
        assert.equal((yield* one.faults.openWatches).length, 1)
      })
  )

  for (const seconds of [1, 60, 3600]) {
    verify(
      `discover emits exactly one Stale and one Live element for an outage of ${seconds} s, with the same set (D7)`,
      () =>
        Effect.gen(function* () {
          const { operator, process } = yield* world
          const one = yield* process({ reconcileEvery: "10 hours" })
          yield* putInstance(operator, "a")
          const sets = yield* collect(one.registry.discover(orders))
          yield* one.faults.outage
          yield* elapse(seconds * 1000)
          assert.deepEqual(sets.seen.map(show), ["Live a", "Stale a"])
          const { freshness } = sets.seen[1] ?? assert.fail()
          assert.ok(freshness._tag === "Stale" && freshness.since === 0)
          assert.equal(freshness.cause.reason._tag, "Unavailable")
          yield* one.faults.clear
          yield* elapse("10 seconds")
          assert.deepEqual(sets.seen.map(show), ["Live a", "Stale a", "Live a"])
          assert.equal(sets.exit(), undefined)
        })
    )
  }

  verify(
    "discover emits one Stale and one Live element for a flickering outage with a compaction (D7)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        yield* one.faults.outage
        yield* elapse("10 seconds")
        yield* putInstance(operator, "b")
        yield* putInstance(operator, "c")
        yield* one.faults.set([
          { method: "watch", nth: 1, fault: FaultyEtcd.compaction },
          { method: "range", times: 5, fault: FaultyEtcd.unavailable }
        ])
        yield* elapse("5 minutes")
        assert.deepEqual(sets.seen.map(show), ["Live a", "Stale a", "Live a,b,c"])
      })
  )

  verify(
    "discover includes the changes of an outage in the first Live element after it (D7)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        yield* one.faults.outage
        yield* putInstance(operator, "b")
        yield* elapse("5 seconds")
        yield* one.faults.clear
        yield* elapse("5 seconds")
        assert.deepEqual(sets.seen.map(show), ["Live a", "Stale a", "Live a,b"])
        // Only other keys change, so `Live` follows after the catch-up time.
        yield* one.faults.breakWatches()
        yield* operator.put({ key: "elsewhere", value: "" })
        yield* elapse("6 seconds")
        assert.deepEqual(sets.seen.map(show).slice(3), ["Stale a,b", "Live a,b"])
      })
  )

  verify(
    "discover keeps its set as Stale with the refusal as cause, and recovers once etcd permits again (D7)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const consumers = [yield* collect(one.registry.discover(orders)), yield* collect(one.registry.discover(orders))]
        const refused = { fault: FaultyEtcd.permissionDenied }
        yield* one.faults.set([{ ...refused, method: "watch" }, { ...refused, method: "range" }])
        yield* one.faults.breakWatches(new PermissionDenied({ detail: "etcdserver: permission denied" }))
        yield* putInstance(operator, "b")
        yield* elapse("1 minute")
        for (const { exit, seen } of consumers) {
          assert.deepEqual([seen.map(show), exit()], [["Live a", "Stale a"], undefined])
          const { freshness } = seen[1] ?? assert.fail()
          assert.ok(freshness._tag === "Stale" && freshness.cause.reason._tag === "PermissionDenied")
        }
        // A refusal is retried every 5 seconds on average.
        const attempts = (yield* timesOf(one, "watch")).length
        assert.ok(attempts >= 8 && attempts <= 25, String(attempts))
        yield* one.faults.clear
        yield* elapse("10 seconds")
        for (const { seen } of consumers) assert.deepEqual(seen.map(show), ["Live a", "Stale a", "Live a,b"])
      })
  )

  verify("discover fails with the last failure if a finite retry ends (D7)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      const sets = yield* collect(one.registry.discover(orders, { retry: Schedule.recurs(3) }))
      yield* one.faults.outage
      yield* elapse("1 second")
      const failure = failureOf(sets)
      assert.ok(failure instanceof DiscoveryRefused)
      assert.equal(failure.cause.reason._tag, "Unavailable")
    }))

  verify(
    "discover retries with the backoff of R4, which resets after a healthy watch (D7)",
    () =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        yield* collect(one.registry.discover(orders))
        for (const wait of [10_000, 60_000]) {
          yield* elapse(wait)
          const before = (yield* timesOf(one, "watch")).length
          const from = yield* Clock.currentTimeMillis
          yield* one.faults.outage
          yield* elapse("15 seconds")
          const times = (yield* timesOf(one, "watch")).slice(before).map((time) => time - Math.round(from))
          const expected: Array<number> = []
          for (let delay = 100, at = 100; at <= 15_000; at += delay) {
            expected.push(at)
            delay = Math.min(delay * 1.06, 5000)
          }
          assert.equal(times.length, expected.length)
          times.forEach((time, index) => assert.ok(Math.abs(time - (expected[index] ?? 0)) <= 30, `${times}`))
          yield* one.faults.clear
          yield* elapse("10 seconds")
        }
      }).pipe(withDraw(1))
  )

  verify(
    "discover is Live as soon as etcd answers, without waiting for its backoff (D12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process({ reconcileEvery: "10 hours" })
        const sets = yield* collect(timed(one.registry.discover(orders)))
        yield* one.faults.outage
        // Long enough for delays of 5 seconds.
        yield* elapse("10 minutes")
        yield* putInstance(operator, "a")
        yield* one.faults.clear
        // Another call shows that etcd is back.
        yield* one.registry.getInstances(orders)
        yield* settle
        assert.deepEqual(sets.seen.at(-1), [600_000, "Live a"])
      }).pipe(withDraw(1))
  )

  verify(
    "discover replaces a silent watch within progressEvery and progressTimeout, without a loss (D8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const sets = yield* collect(
          timed(one.registry.discover(orders, { progressEvery: "20 seconds", progressTimeout: "4 seconds" }))
        )
        yield* elapse("50 seconds")
        // The last response was the progress at 40 seconds.
        yield* one.faults.silenceWatches
        yield* putInstance(operator, "a")
        yield* elapse(13_999)
        assert.deepEqual(sets.seen, [[0, "Live "]])
        yield* elapse(1)
        assert.deepEqual(sets.seen, [[0, "Live "], [64_000, "Stale "]])
        yield* elapse("1 second")
        assert.deepEqual(sets.seen.map(([, line]) => line), ["Live ", "Stale ", "Live a"])
      }).pipe(withDraw(1))
  )

  verify(
    "discover keeps an idle watch that reports progress, even twice each time (D8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* one.faults.set([{ fault: FaultyEtcd.progressTwice }])
        const sets = yield* collect(one.registry.discover(orders))
        yield* elapse("3 hours")
        yield* putInstance(operator, "a")
        yield* settle
        assert.deepEqual(sets.seen.map(show), ["Live ", "Live a"])
        assert.deepEqual(yield* timesOf(one, "watch"), [0])
      })
  )

  verify("discover replaces a watch that ends without an error (D8)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      yield* one.faults.set([{ fault: FaultyEtcd.endsAfter(1), nth: 1 }])
      const sets = yield* collect(one.registry.discover(orders))
      yield* putInstance(operator, "a")
      yield* elapse("20 seconds")
      assert.deepEqual(sets.seen.map(show).at(-1), "Live a")
    }))

  verify(
    "reconciliation repairs a silently wrong watch once, and counts the keys (D8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process({ reconcileEvery: "2 minutes" })
        yield* putInstance(operator, "a")
        yield* putInstance(operator, "gone")
        yield* one.faults.set([{ method: "watch", nth: 1, fault: FaultyEtcd.dropsEventsAfter(1) }])
        const sets = yield* collect(one.registry.discover(orders))
        yield* putInstance(operator, "b")
        yield* putInstance(operator, "a", { weight: 2 })
        yield* removeInstance(operator, "gone")
        yield* elapse("59 seconds")
        assert.deepEqual(sets.seen.map(show), ["Live a,gone"])
        // Two minutes, jittered by half, then the second comparison that long after the first.
        yield* elapse("3 minutes")
        assert.deepEqual(sets.seen.map(show), ["Live a,gone", "Live a,b"])
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 3)
        yield* putInstance(operator, "c")
        yield* elapse("1 hour")
        assert.deepEqual(sets.seen.map(show).at(-1), "Live a,b,c")
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 3)
      })
  )

  verify(
    "reconciliation of a busy service with a correct watch repairs nothing, and is jittered (D8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* collect(one.registry.discover(orders))
        for (let index = 0; index < 720; index++) {
          yield* putInstance(operator, String(index % 50), { weight: index })
          yield* TestClock.adjust("10 seconds")
        }
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        assert.equal(yield* counted("etcd_discovery_lists_total"), 1)
        const waits = steps30(yield* timesOf(one, "range"))
        assert.ok(waits.length >= 15 && waits.every((wait) => wait >= 150_000 && wait <= 450_000), String(waits))
        assert.ok(new Set(waits).size > 10)
      })
  )

  verify(
    "reconciliation ignores a change that the watch has not delivered yet (D8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process({ reconcileEvery: "1 minute" })
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        let changes = 0
        const change = FaultyEtcd.meanwhile((etcd) => putInstance(etcd, "b", { weight: ++changes }))
        yield* one.faults.set([{ method: "range", fault: change }])
        yield* elapse("10 minutes")
        assert.ok(changes >= 5, String(changes))
        yield* one.faults.clear
        yield* elapse("10 minutes")
        assert.equal(yield* counted("etcd_discovery_reconciliation_repairs_total"), 0)
        assert.equal(yield* counted("etcd_discovery_lists_total"), 1)
        assert.equal(show(sets.seen.at(-1) ?? assert.fail()), "Live a,b")
      })
  )

  verify(
    "discover rejects a bad value alone, logs it once per revision, and counts it (D9)",
    (log) =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        const sets = yield* collect(one.registry.discover(orders))
        const second = yield* collect(one.registry.discover(orders))
        const lease = yield* putInstance(operator, "bad", { endpoints: [] })
        yield* operator.put({ key: "/services/orders/unleased", value: JSON.stringify({ endpoints: ["http://x:1"] }) })
        yield* putInstance(operator, "b")
        yield* settle
        yield* operator.put({ key: "/services/orders/bad", value: "{", lease })
        yield* settle
        // No other reader, outage or list logs it again.
        yield* one.faults.outage
        yield* elapse("1 minute")
        yield* one.faults.set([{ method: "watch", nth: 1, fault: FaultyEtcd.compaction }])
        yield* putInstance(operator, "c")
        yield* elapse("1 minute")
        yield* operator.deleteRange({ key: "/services/orders/unleased" })
        yield* putInstance(operator, "bad")
        yield* settle
        const bad = "/services/orders/bad"
        const unleased = "/services/orders/unleased"
        assert.equal(sets.seen.map(show).at(-1), "Live a,b,bad,c")
        assert.ok(sets.seen.map(show).includes(`Live a,b (rejected ${bad},${unleased})`))
        assert.equal(second.seen.length, sets.seen.length)
        assert.deepEqual(
          log.flatMap((line) => /^Warn (.*) is left out/.exec(line)?.[1] ?? []),
          [bad, unleased, bad].map((key) => JSON.stringify(key))
        )
        assert.equal(yield* counted("etcd_discovery_rejected_values_total"), 3)
      })
  )

  verify(
    "protect holds instances if more than maxLoss vanish, until hold has passed (D10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const leases: Array<bigint> = []
        for (const id of ["a", "b", "c", "d"]) leases.push(yield* putInstance(operator, id))
        const sets = yield* collect(
          timed(one.registry.discover(orders, { protect: { maxLoss: 0.5, hold: "30 seconds" } }))
        )
        const lose = (index: number) => operator.leaseRevoke(leases[index] ?? 0n)
        yield* lose(0)
        yield* lose(1)
        yield* elapse("10 seconds")
        yield* lose(2)
        yield* elapse("1 hour")
        assert.deepEqual(
          sets.seen,
          [
            [0, "Live a,b,c,d"],
            [0, "Live b,c,d"],
            // Two of four is not more than half.
            [0, "Live c,d"],
            // Three of four within 30 seconds are: all of them are held, each until its own time.
            [10_000, "Live a,b,c,d (held a,b,c)"],
            [30_000, "Live c,d (held c)"],
            [40_000, "Live d"]
          ]
        )
      })
  )

  verify(
    "protect releases an instance that returns, and never holds a draining one (D10)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const lease = yield* putInstance(operator, "a")
        yield* putInstance(operator, "b", {}, lease)
        yield* putInstance(operator, "leaver", { status: "draining" }, lease)
        const sets = yield* collect(one.registry.discover(orders, { protect: { maxLoss: 0, hold: "30 seconds" } }))
        yield* operator.leaseRevoke(lease)
        yield* settle
        yield* putInstance(operator, "a", { weight: 2 })
        yield* settle
        yield* elapse("1 hour")
        assert.deepEqual(sets.seen.map(show), [
          "Live a,b,leaver",
          "Live a,b (held a,b)",
          "Live a,b (held b)",
          "Live a"
        ])
        assert.equal(Option.getOrUndefined(sets.seen.at(-1)?.get("a") ?? Option.none())?.weight, 2)
      })
  )

  verify("protect ends during an outage as well (D10)", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process({ reconcileEvery: "10 hours" })
      const lease = yield* putInstance(operator, "a")
      const sets = yield* collect(one.registry.discover(orders, { protect: { maxLoss: 0, hold: "30 seconds" } }))
      yield* operator.leaseRevoke(lease)
      yield* settle
      yield* one.faults.outage
      yield* elapse("1 hour")
      assert.deepEqual(sets.seen.map(show), ["Live a", "Live a (held a)", "Stale a (held a)", "Stale "])
    }))

  verify(
    "a closed registry sends no request, and leaves no watch and no lease (D11)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* Effect.scoped(Effect.gen(function* () {
          for (const id of ["a", "b"]) {
            yield* one.registry.register(orders, { id, endpoints: ["http://x:1"], health: Effect.void })
          }
          yield* collect(one.registry.discover(orders, { protect: { maxLoss: 0, hold: "1 hour" } }))
          yield* collect(one.registry.discover(Service.make("payments")))
          yield* elapse("10 minutes")
          yield* one.faults.breakWatches()
          yield* settle
        }))
        yield* one.exit
        const before = (yield* one.faults.calls()).length
        yield* elapse("24 hours")
        assert.equal((yield* one.faults.calls()).length, before)
        assert.deepEqual(yield* one.faults.openWatches, [])
        assert.deepEqual([yield* keysIn(operator), (yield* operator.leaseLeases).leases], [{}, []])
      })
  )

  verify("closing the registry ends its streams (D11)", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one = yield* process()
      const sets = yield* collect(one.registry.discover(orders))
      yield* one.exit
      yield* elapse("1 minute")
      assert.deepEqual(yield* one.faults.openWatches, [])
      yield* sets.interrupt
      assert.ok(sets.exit() !== undefined)
    }))
})

describe("getInstances", () => {
  verify(
    "getInstances reads once and fails with DiscoveryRefused if etcd does not answer, without a retry",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        yield* putInstance(operator, "a")
        assert.equal(show(yield* one.registry.getInstances(orders)), "Live a")
        yield* one.faults.set([{ fault: FaultyEtcd.unavailable }])
        assert.equal((yield* Effect.flip(one.registry.getInstances(orders)))._tag, "DiscoveryRefused")
        assert.equal((yield* one.faults.calls("range")).length, 2)
        assert.deepEqual(yield* one.faults.openWatches, [])
      })
  )
})

const describeChange = ({ _tag, instance }: Change) => `${_tag} ${instance.id}`

/** The instances that are left when the changes have been applied in order. */
const apply = (changes: ReadonlyArray<Change>) => {
  const instances = new Map<string, Change["instance"]>()
  for (const change of changes) {
    assert.equal(instances.has(change.instance.id), change._tag !== "Added", describeChange(change))
    if (change._tag === "Removed") instances.delete(change.instance.id)
    else instances.set(change.instance.id, change.instance)
  }
  return instances
}

/** The waits of more than half a minute between consecutive times. */
const steps30 = (times: ReadonlyArray<number>) =>
  times.slice(1).map((time, index) => time - (times[index] ?? 0)).filter((wait) => wait > 30_000)

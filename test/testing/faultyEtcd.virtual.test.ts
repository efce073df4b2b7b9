import { Clock, Effect, Exit, Layer, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { EtcdError, PermissionDenied } from "../../src/etcd/EtcdError.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import * as Service from "../../src/registry/model/Service.ts"
import { RegistrationStatus } from "../../src/registry/registration/Registration.ts"
import { discover, getInstances, listServices, registerService, Registry } from "../../mod.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { conformance } from "../etcd/conformance/conformance.ts"
import * as it from "../harness/it.ts"
import { collect, elapse, failureOf, settle, show, start, verify } from "../harness/virtual.ts"

conformance(
  "FaultyEtcd without faults",
  it.effect,
  () =>
    Effect.map(EtcdMemory.engine(), (engine) => ({
      connect: Effect.flatMap(engine.connect, (inner) => Effect.map(FaultyEtcd.make(inner), ({ etcd }) => etcd)),
      elapse: TestClock.adjust
    }))
)

const faulty = Effect.gen(function* () {
  const inner = yield* EtcdMemory.make()
  return { inner, ...(yield* FaultyEtcd.make(inner)) }
})

/** How an operation ended and when: the reason of its failure, or `"ok"`. */
const outcome = <A>(operation: Effect.Effect<A, EtcdError>) =>
  Effect.gen(function* () {
    const ended = yield* start(Effect.gen(function* () {
      const result = yield* Effect.result(operation)
      return [Result.isSuccess(result) ? "ok" : result.failure.reason._tag, yield* Clock.currentTimeMillis] as const
    }))
    const before = yield* Clock.currentTimeMillis
    yield* elapse("10 seconds")
    const exit = ended.exit()
    assert.ok(exit !== undefined && Exit.isSuccess(exit), "it has not ended")
    return [exit.value[0], exit.value[1] - before]
  })

it.describe("FaultyEtcd", () => {
  verify("FaultyEtcd applies, fails or delays a call as its fault says", () =>
    Effect.gen(function* () {
      const { etcd, faults, inner } = yield* faulty
      const put = etcd.put({ key: "a", value: "1" })
      const found: Record<string, unknown> = {}
      const cases = {
        unavailable: FaultyEtcd.unavailable,
        noLeader: FaultyEtcd.noLeader,
        permissionDenied: FaultyEtcd.permissionDenied,
        answerLost: FaultyEtcd.answerLost,
        slow: FaultyEtcd.slow("2 seconds"),
        tooSlow: FaultyEtcd.slow("4 seconds"),
        hung: FaultyEtcd.hung,
        ofWatchOnly: FaultyEtcd.breaksAfter()
      }
      for (const [name, fault] of Object.entries(cases)) {
        yield* faults.set([{ method: "put", fault }])
        const ended = yield* outcome(put)
        found[name] = [...ended, (yield* inner.deleteRange({ key: "a" })).deleted]
      }
      assert.deepEqual(found, {
        unavailable: ["Unavailable", 0, 0n],
        noLeader: ["Unavailable", 0, 0n],
        permissionDenied: ["PermissionDenied", 0, 0n],
        answerLost: ["DeadlineExceeded", 3000, 1n],
        slow: ["ok", 2000, 1n],
        tooSlow: ["DeadlineExceeded", 3000, 0n],
        hung: ["DeadlineExceeded", 3000, 0n],
        ofWatchOnly: ["ok", 0, 1n]
      })
    }))

  verify("FaultyEtcd fails an unanswered heartbeat after its own timeout", () =>
    Effect.gen(function* () {
      const { etcd, faults } = yield* faulty
      const { id } = yield* etcd.leaseGrant({ ttl: 60 })
      yield* faults.set([{ method: "leaseKeepAlive", fault: FaultyEtcd.hung }])
      assert.deepEqual(yield* outcome(etcd.leaseKeepAlive({ id, timeout: "700 millis" })), ["DeadlineExceeded", 700])
    }))

  verify(
    "FaultyEtcd.leaseLost revokes the lease of a heartbeat, a put or a Txn before the call",
    () =>
      Effect.gen(function* () {
        const { etcd, faults, inner } = yield* faulty
        const calls = {
          leaseKeepAlive: (id: bigint) => etcd.leaseKeepAlive({ id }),
          put: (lease: bigint) => etcd.put({ key: "a", value: "", lease }),
          txn: (lease: bigint) => etcd.txn({ then: [{ _tag: "Put", request: { key: "a", value: "", lease } }] })
        }
        for (const [name, call] of Object.entries(calls)) {
          const { id } = yield* inner.leaseGrant({ ttl: 60 })
          yield* faults.set([{ fault: FaultyEtcd.leaseLost }])
          assert.equal((yield* Effect.flip<unknown, EtcdError, never>(call(id))).reason._tag, "LeaseNotFound", name)
          yield* faults.clear
          assert.deepEqual((yield* inner.leaseLeases).leases, [])
        }
      })
  )

  verify("FaultyEtcd.compaction compacts all but the newest revision before the call", () =>
    Effect.gen(function* () {
      const { etcd, faults } = yield* faulty
      for (const value of ["1", "2", "3"]) yield* etcd.put({ key: "a", value })
      yield* faults.set([{ method: "range", nth: 2, fault: FaultyEtcd.compaction }])
      assert.equal((yield* etcd.range({ key: "a", revision: 2n })).kvs.length, 1)
      assert.equal((yield* Effect.flip(etcd.range({ key: "a", revision: 2n }))).reason._tag, "Compacted")
    }))

  verify(
    "FaultyEtcd applies the first rule that matches method, key, nth and times",
    () =>
      Effect.gen(function* () {
        const { etcd, faults } = yield* faulty
        yield* faults.set([
          { method: "put", key: "a", nth: 2, fault: FaultyEtcd.noLeader },
          {
            method: ["put", "deleteRange"],
            key: (key) => key.startsWith("b"),
            nth: 1,
            times: 2,
            fault: FaultyEtcd.hung
          },
          { method: "range", times: 1, fault: FaultyEtcd.permissionDenied },
          { method: "range", nth: 3, fault: FaultyEtcd.unavailable }
        ])
        const put = (key: string) => etcd.put({ key, value: "" })
        const answers: Array<unknown> = []
        for (
          const call of [
            ...[put("a"), put("a"), put("a"), put("b1"), etcd.deleteRange({ key: "b2" }), put("b1"), put("c")],
            ...[etcd.range({ key: "x" }), etcd.range({ key: "x" }), etcd.range({ key: "x" }), etcd.range({ key: "x" })]
          ]
        ) answers.push((yield* outcome(call as Effect.Effect<unknown, EtcdError>))[0])
        const ok = "ok"
        assert.deepEqual(answers, [
          ...[ok, "Unavailable", ok, "DeadlineExceeded", "DeadlineExceeded", ok, ok],
          ...["PermissionDenied", ok, "Unavailable", ok]
        ])
      })
  )

  verify(
    "FaultyEtcd breaks, ends or silences a watch, drops its events or repeats its progress",
    () =>
      Effect.gen(function* () {
        const { etcd, faults, inner } = yield* faulty
        const cases = {
          none: [],
          unavailable: [{ fault: FaultyEtcd.unavailable }],
          hung: [{ fault: FaultyEtcd.hung }],
          slow: [{ fault: FaultyEtcd.slow("5 seconds") }],
          breaks: [{ fault: FaultyEtcd.breaksAfter(2) }],
          breaksAtOnce: [{ fault: FaultyEtcd.breaksAfter(0) }],
          ends: [{ fault: FaultyEtcd.endsAfter() }],
          silent: [{ fault: FaultyEtcd.silentAfter(2) }],
          deaf: [{ fault: FaultyEtcd.dropsEventsAfter(2) }],
          twice: [{ fault: FaultyEtcd.progressTwice }]
        }
        const found: Record<string, string> = {}
        for (const [name, rules] of Object.entries(cases)) {
          yield* faults.set(rules)
          const watch = yield* collect(etcd.watch({ key: "a", progressEvery: "4 seconds" }))
          yield* inner.put({ key: "a", value: "" })
          yield* settle
          yield* inner.put({ key: "a", value: "" })
          yield* elapse("9 seconds")
          const exit = watch.exit()
          const end = exit === undefined ? "open" : Exit.isSuccess(exit) ? "ended" : "failed"
          found[name] = `${watch.seen.map(({ _tag }) => _tag[0]).join("")} ${end}`
          yield* watch.interrupt
        }
        // Silent watches fail after 4 and 5 seconds.
        assert.deepEqual(found, {
          none: "CEEPP open",
          unavailable: " failed",
          hung: " failed",
          slow: "CP open",
          breaks: "CE failed",
          breaksAtOnce: " failed",
          ends: "C ended",
          silent: "CE failed",
          deaf: "CEPP open",
          twice: "CEEPPPP open"
        })
        assert.deepEqual(yield* faults.openWatches, [])
      })
  )

  verify(
    "Faults.outage affects the administration, also of one member, and clear ends it",
    () =>
      Effect.gen(function* () {
        const { etcd: { administration }, faults } = yield* faulty
        const member = Result.getOrThrow(administration.at("memory://engine"))
        yield* faults.outage
        assert.equal((yield* Effect.flip(administration.memberList())).reason._tag, "Unavailable")
        assert.equal((yield* Effect.flip(member.status)).reason._tag, "Unavailable")
        assert.equal((yield* Effect.flip(administration.alarms)).reason._tag, "Unavailable")
        yield* faults.clear
        assert.equal((yield* administration.memberList()).members.length, 1)
        assert.equal((yield* faults.calls("administration")).length, 4)
      })
  )

  verify("Faults.outage and blackhole affect open watches, and clear ends them", () =>
    Effect.gen(function* () {
      const { etcd, faults, inner } = yield* faulty
      const broken = yield* collect(etcd.watch({ key: "a" }))
      yield* faults.outage
      yield* settle
      assert.ok(broken.exit() !== undefined)
      assert.deepEqual(yield* outcome(etcd.status), ["Unavailable", 0])
      yield* faults.clear
      const silent = yield* collect(etcd.watch({ key: "a" }))
      yield* faults.blackhole
      yield* inner.put({ key: "a", value: "" })
      assert.deepEqual(yield* outcome(etcd.status), ["DeadlineExceeded", 3000])
      yield* elapse(4999)
      assert.deepEqual([silent.seen.map(({ _tag }) => _tag), silent.exit()], [["Created"], undefined])
      yield* elapse(1)
      assert.equal(failureOf(silent)?.reason._tag, "DeadlineExceeded")
      yield* faults.clear
      assert.deepEqual(yield* outcome(etcd.status), ["ok", 0])
    }))

  verify("Faults.calls records key, lease and time of each call", () =>
    Effect.gen(function* () {
      const { etcd, faults } = yield* faulty
      yield* etcd.leaseGrant({ id: 7n, ttl: 60 })
      yield* TestClock.adjust("5 seconds")
      yield* etcd.txn({
        compare: [{ target: "mod", key: "k", result: "equal", value: 0n }],
        then: [{ _tag: "Put", request: { key: "k", value: "", lease: 7n } }]
      })
      yield* etcd.range({ key: new TextEncoder().encode("k") })
      yield* etcd.range({ key: "l" })
      assert.deepEqual(yield* faults.calls(), [
        { method: "leaseGrant", nth: 1, leaseId: 7n, at: 0 },
        { method: "txn", nth: 1, key: "k", leaseId: 7n, at: 5000 },
        { method: "range", nth: 1, key: "k", at: 5000 },
        { method: "range", nth: 2, key: "l", at: 5000 }
      ])
      assert.equal((yield* faults.calls("range")).length, 2)
    }))

  verify(
    "FaultyEtcd repeats random faults for the same seed at their rate",
    () =>
      Effect.gen(function* () {
        const run = Effect.fnUntraced(function* (seed: string, between: boolean) {
          const { etcd, faults } = yield* faulty
          yield* faults.set({
            seed,
            rate: 0.3,
            faults: [FaultyEtcd.unavailable, FaultyEtcd.permissionDenied, FaultyEtcd.breaksAfter()]
          })
          const fates: Array<string> = []
          for (let index = 0; index < 500; index++) {
            if (between) yield* Effect.ignore(etcd.status)
            const result = yield* Effect.result(etcd.range({ key: "a" }))
            fates.push(Result.isSuccess(result) ? "ok" : result.failure.reason._tag)
          }
          return fates
        })
        const fates = yield* run("1", false)
        assert.deepEqual(yield* run("1", true), fates)
        assert.notDeepEqual(yield* run("2", false), fates)
        const hits = fates.filter((fate) => fate !== "ok")
        assert.ok(hits.length > 100 && hits.length < 200, String(hits.length))
        assert.deepEqual([...new Set(hits)].sort(), ["PermissionDenied", "Unavailable"])
      })
  )

  verify("FaultyEtcd injects no random fault at rate 0 and always one at rate 1", () =>
    Effect.gen(function* () {
      for (const [rate, expected] of [[0, "ok"], [1, "Unavailable"]] as const) {
        const { etcd, faults } = yield* faulty
        yield* faults.set({ seed: 1, rate, faults: [FaultyEtcd.unavailable] })
        for (let index = 0; index < 50; index++) assert.equal((yield* outcome(etcd.status))[0], expected)
      }
    }))

  verify(
    "FaultyEtcd.layer replaces the Etcd of the context and provides Faults",
    () =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const faults = yield* FaultyEtcd.Faults
        assert.deepEqual(yield* outcome(etcd.range(prefix(""))), ["Unavailable", 0])
        yield* faults.clear
        assert.deepEqual(yield* outcome(etcd.range(prefix(""))), ["ok", 0])
      }).pipe(Effect.provide(
        FaultyEtcd.layer({ script: [{ fault: FaultyEtcd.unavailable }] }).pipe(Layer.provide(EtcdMemory.layer()))
      ))
  )
})

it.describe("Registry.layerFixed", () => {
  const registry = Registry.layerFixed([
    { name: "orders", endpoints: ["http://b:1"], id: "b", metadata: { shard: 2 } },
    { name: "orders", endpoints: ["http://a:1"], id: "a", weight: 0, metadata: { shard: "x" } },
    { name: "billing", endpoints: ["http://c:1"] }
  ])
  const Typed = Service.make("orders", { metadata: Schema.Struct({ shard: Schema.Int }) })

  verify(
    "Registry.layerFixed emits one Live set and rejects metadata of another type",
    () =>
      Effect.gen(function* () {
        const sets = yield* collect(discover(Typed))
        yield* elapse("1 hour")
        assert.deepEqual([sets.seen.map(show), sets.exit()], [["Live b (rejected /services/orders/a)"], undefined])
        assert.equal(sets.seen[0]?.instances[0]?.metadata.shard, 2)
        const other = yield* collect(discover("unknown"))
        assert.deepEqual([other.seen.map(show), other.exit()], [["Live "], undefined])
      }).pipe(Effect.provide(registry))
  )

  verify(
    "Registry.layerFixed serves getInstances and listServices and refuses invalid names",
    () =>
      Effect.gen(function* () {
        const { instances } = yield* getInstances("billing")
        assert.deepEqual(instances, [
          { id: "billing-3", name: "billing", metadata: {}, endpoints: ["http://c:1"], weight: 1, status: "up" }
        ])
        assert.deepEqual(yield* listServices(), [{ name: "billing", instances: 1 }, { name: "orders", instances: 2 }])
        assert.equal((yield* Effect.flip(getInstances("a/b")))._tag, "InvalidOption")
      }).pipe(Effect.provide(registry))
  )

  verify(
    "Registry.layerFixed registers at once, changes nothing and releases with the scope",
    () =>
      Effect.gen(function* () {
        const statuses = yield* Effect.scoped(Effect.gen(function* () {
          const registration = yield* registerService("orders", { id: "z", endpoints: ["z:1"] })
          const statuses = yield* collect(registration.status.changes)
          assert.deepEqual(
            yield* registration.status.get,
            RegistrationStatus.Registered({ leaseId: 1n, revision: 1n })
          )
          yield* registration.update({ weight: 5 })
          assert.deepEqual([registration.instance.weight, registration.instance.endpoints], [5, ["tcp://z:1"]])
          assert.equal((yield* Effect.flip(registration.update({ weight: -5 })))._tag, "InvalidOption")
          yield* registration.drain
          yield* settle
          assert.equal((yield* getInstances("orders")).has("z"), false)
          return statuses.seen.map(({ _tag }) => _tag)
        }))
        assert.deepEqual(statuses, ["Registered", "Draining"])
        const invalid = yield* Effect.flip(registerService("orders", { endpoints: ["nonsense"] }))
        assert.equal(invalid._tag, "InvalidOption")
      }).pipe(Effect.provide(registry))
  )
})

it.describe("Registry.layerFailing", () => {
  const cause = new EtcdError({ reason: new PermissionDenied({ detail: "no" }), method: "range" })

  verify(
    "Registry.layerFailing fails every operation at once, and invalid options with InvalidOption",
    () =>
      Effect.gen(function* () {
        const errors = yield* Effect.all([
          Effect.flip(registerService("orders", { endpoints: ["http://a:1"] })),
          Effect.flip(Stream.runDrain(discover("orders"))),
          Effect.flip(getInstances("orders")),
          Effect.flip(listServices())
        ])
        for (const error of errors) assert.equal(error.cause, cause)
        const found = errors.map(({ _tag }) => _tag)
        assert.deepEqual(found, ["RegistrationRefused", "DiscoveryRefused", "DiscoveryRefused", "DiscoveryRefused"])
        assert.equal((yield* Effect.flip(getInstances("")))._tag, "InvalidOption")
      }).pipe(Effect.provide(Registry.layerFailing(cause)))
  )
})

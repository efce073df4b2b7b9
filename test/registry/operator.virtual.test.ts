import { Effect, Exit, Option, Schema } from "effect"
import assert from "node:assert/strict"
import { Service } from "../../mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { dubbo, goKit, goZero, grpcNaming, kitex, kratos, skydns } from "../../src/interop/mod.ts"
import * as Operator from "../../src/registry/operator.ts"
import { describe } from "../harness/it.ts"
import { a, elapse, keyOfA, putInstance, register, settle, start, valueOf, verify, world } from "../harness/virtual.ts"

/** Runs an edit and lets its time pass. */
const edited = Effect.fnUntraced(function* (
  etcd: Etcd,
  edit: Operator.Edit,
  service: Service.ServiceLike = "orders",
  id = "a"
) {
  const running = yield* start(Effect.provideService(Operator.edit(service, id, edit), Etcd, etcd))
  yield* elapse("1 second")
  const exit = running.exit()
  assert.ok(exit !== undefined)
  return yield* exit
})

const failed = (etcd: Etcd, edit: Operator.Edit, service?: Service.ServiceLike, id?: string) =>
  Effect.flip(edited(etcd, edit, service, id))

const text = (etcd: Etcd, key: string) =>
  Effect.map(Effect.orDie(etcd.range({ key })), ({ kvs }) => new TextDecoder().decode(kvs[0]?.value))

describe("Operator.edit", () => {
  verify(
    "Operator.edit drains an instance whose owner adopts it, and keeps lease and typed metadata (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { registry } = yield* process()
        const Typed = Service.make("orders", {
          metadata: Schema.Struct({ shard: Schema.Int, tags: Schema.Array(Schema.String) })
        })
        const registration = yield* registry.register(Typed, { ...a, metadata: { shard: 3, tags: ["x"] } })
        const { kvs: [before] } = yield* operator.range({ key: keyOfA })
        const result = yield* edited(operator, { status: "draining" })
        const { kvs: [after] } = yield* operator.range({ key: keyOfA })
        assert.deepEqual(result, {
          key: keyOfA,
          leaseId: before?.lease,
          revision: after?.modRevision,
          isChanged: true,
          before: { status: "up", weight: 1 },
          after: { status: "draining", weight: 1 },
          outcome: "kept"
        })
        assert.equal(after?.lease, before?.lease)
        assert.equal(registration.instance.status, "draining")
        assert.deepEqual(registration.instance.metadata, { shard: 3, tags: ["x"] })
        assert.equal((yield* edited(operator, { status: "up" })).outcome, "kept")
        assert.equal(registration.instance.status, "up")
      })
  )

  verify(
    "Operator.edit changes a weight, which the owner keeps across an update of its own (R12)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { registration } = yield* register(yield* process())
        assert.equal((yield* edited(operator, { weight: 0.25 })).outcome, "kept")
        yield* registration.update({ version: "2" })
        assert.deepEqual(yield* valueOf(operator), {
          id: "a",
          name: "orders",
          version: "2",
          metadata: {},
          endpoints: ["http://10.0.0.1:80"],
          weight: 0.25,
          status: "up"
        })
      })
  )

  verify("Operator.edit writes nothing when the instance is as wanted already", () =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      yield* register(yield* process())
      const { header } = yield* operator.range({ key: keyOfA })
      const result = yield* edited(operator, { status: "up", weight: 1 })
      assert.deepEqual([result.isChanged, result.outcome], [false, "kept"])
      assert.equal((yield* operator.range({ key: keyOfA })).header.revision, header.revision)
    }))

  verify("Operator.edit does not write up over an instance that is down", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      yield* putInstance(operator, "a", { status: "down" })
      assert.equal((yield* edited(operator, { status: "up" })).isChanged, false)
    }))

  verify("Operator.edit changes two members of the text and no other character", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      const value = '{ "endpoints":["http://a:80"] , "metadata":{"n":1e2,"u":"\\u0041"}, "extra": [ 1 ],"weight": 1.0 }'
      yield* operator.put({ key: keyOfA, value })
      const result = yield* edited(operator, { status: "draining", weight: 7 })
      assert.equal(result.outcome, "unowned")
      assert.equal(
        yield* text(operator, keyOfA),
        '{ "endpoints":["http://a:80"] , "metadata":{"n":1e2,"u":"\\u0041"}, "extra": [ 1 ],"weight": 7,"status":"draining" }'
      )
    }))

  verify("Operator.edit reports an owner that writes the old value back", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      const lease = yield* putInstance(operator, "a")
      const running = yield* start(
        Effect.provideService(Operator.edit("orders", "a", { status: "draining" }), Etcd, operator)
      )
      yield* putInstance(operator, "a", {}, lease)
      yield* settle
      const exit = running.exit()
      assert.ok(exit !== undefined && Exit.isSuccess(exit), "it does not wait for the rest of its time")
      assert.equal(exit.value.outcome, "reverted")
    }))

  verify("Operator.edit reports an instance that leaves after the edit", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      yield* putInstance(operator, "a")
      const running = yield* start(
        Effect.provideService(Operator.edit("orders", "a", { weight: 3 }), Etcd, operator)
      )
      yield* operator.deleteRange({ key: keyOfA })
      yield* settle
      const exit = running.exit()
      assert.ok(exit !== undefined && Exit.isSuccess(exit))
      assert.equal(exit.value.outcome, "removed")
    }))

  verify(
    "Operator.edit reads again when the key changes between its read and its write",
    () =>
      Effect.gen(function* () {
        const { operator } = yield* world
        const lease = yield* putInstance(operator, "a")
        let reads = 0
        const racing: Etcd = {
          ...operator,
          range: (request) =>
            Effect.tap(
              operator.range(request),
              () => ++reads === 1 ? putInstance(operator, "a", { zone: "z" }, lease) : Effect.void
            )
        }
        yield* edited(racing, { status: "draining" })
        assert.equal(reads, 2)
        assert.deepEqual(yield* valueOf(operator), { endpoints: ["http://a:80"], zone: "z", status: "draining" })
      })
  )

  verify("Operator.edit refuses what a format cannot hold before it sends anything", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      const silent: Etcd = { ...operator, range: () => Effect.die("sent") }
      for (const codec of [kratos, kitex, dubbo, skydns, goKit, goZero, grpcNaming]) {
        const name = codec === skydns ? "orders.example.org" : "orders"
        const error = yield* failed(silent, { status: "draining" }, Service.make(name, { codec }), "1")
        assert.equal(error._tag, "InvalidOption")
        assert.match(error.message, /the format of this service has no status/)
      }
      for (const codec of [goKit, goZero, grpcNaming]) {
        const error = yield* failed(silent, { weight: 2 }, Service.make("orders", { codec }), "1")
        assert.equal(error._tag, "InvalidOption")
        assert.match(error.message, /the format of this service has no weight/)
      }
      for (
        const [edit, id] of [[{}, "a"], [{ weight: -1 }, "a"], [{ weight: Number.NaN }, "a"], [
          { weight: 1 },
          "a/b"
        ]] as const
      ) {
        assert.equal((yield* failed(silent, edit, "orders", id))._tag, "InvalidOption")
      }
    }))

  verify(
    "Operator.edit sets the weight in the formats that have one, and refuses one that they would read otherwise",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const { registry } = yield* process()
        const endpoints = ["tcp://10.0.0.1:80"]
        const cases = [
          [Service.make("k", { codec: kratos }), "a"],
          [Service.make("k", { codec: kitex }), "10.0.0.1:80"],
          [Service.make("k", { codec: dubbo }), "10.0.0.1:80"],
          [Service.make("k.example.org", { codec: skydns }), "a"]
        ] as const
        for (const [service, id] of cases) {
          yield* registry.register(service, { id, endpoints })
          const result = yield* edited(operator, { weight: 7 }, service, id)
          assert.deepEqual([result.after.weight, result.outcome], [7, "kept"], service.name)
          const set = yield* registry.getInstances(service)
          assert.equal(Option.getOrThrow(set.get(id)).weight, 7)
          const error = yield* failed(operator, { weight: 1.5 }, service, id)
          assert.ok(error._tag === "InvalidOption" || error._tag === "InstanceNotEditable", error._tag)
        }
      })
  )

  verify("Operator.edit fails for a missing instance and for a value that is not one", () =>
    Effect.gen(function* () {
      const { operator } = yield* world
      const missing = yield* failed(operator, { weight: 1 })
      assert.equal(missing.message, `there is no instance at "${keyOfA}". Check the service, the id and the namespace.`)
      yield* operator.put({ key: keyOfA, value: "10.0.0.1:80" })
      const foreign = yield* failed(operator, { weight: 1 })
      assert.equal(foreign._tag, "InstanceNotEditable")
      assert.match(foreign.message, /the value is not JSON/)
    }))
})

describe("Operator.deregister", () => {
  const deregister = (etcd: Etcd) => Effect.provideService(Operator.deregister("orders", "a"), Etcd, etcd)

  verify(
    "Operator.deregister deletes a key without a lease and refuses one with an owner",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        assert.equal((yield* Effect.flip(deregister(operator)))._tag, "InstanceNotFound")
        yield* operator.put({ key: keyOfA, value: "anything" })
        assert.equal((yield* deregister(operator)).key, keyOfA)
        assert.equal((yield* operator.range({ key: keyOfA })).kvs.length, 0)
        yield* register(yield* process())
        const error = yield* Effect.flip(deregister(operator))
        assert.equal(error._tag, "InstanceHasOwner")
        assert.match(error.message, /a process keeps it under lease [0-9a-f]+ and would register it again/)
        assert.equal((yield* operator.range({ key: keyOfA })).kvs.length, 1)
      })
  )
})

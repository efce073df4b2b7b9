import { Effect, Layer, Option, Result } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { describeEdit, type Stage } from "../../src/console/Actions.ts"
import { checkOptionsOf } from "../../src/console/options.ts"
import * as Source from "../../src/console/Source.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdMemory } from "../../src/etcd/mod.ts"
import { checkOptions } from "../../src/internal/options.ts"
import { effect } from "../harness/it.ts"

const settings = Result.getOrThrow(checkOptions("WebConsole.layer", (check) => checkOptionsOf(check, {})))

const key = "/services/orders/a"

/** Runs a test with the source of a console on an engine of its own. */
const withSource = <E>(
  test: (source: Source.Source) => Effect.Effect<void, E, Etcd | Registry.Registry | import("effect").Scope.Scope>
) =>
() =>
  Effect.flatMap(Source.make(settings), test).pipe(
    Effect.scoped,
    Effect.provide(Registry.layer().pipe(Layer.orDie, Layer.provideMerge(EtcdMemory.layer())))
  )

const stageOf = (source: Source.Source): Stage | undefined => source.actions.of("orders", "a")[0]?.stage

/** A key that some process registered and does not keep any more. */
const putUnkept = Effect.gen(function* () {
  const etcd = yield* Etcd
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 15 })
  yield* etcd.put({ key, value: `{"endpoints":["http://a:80"]}`, lease })
  return lease
})

effect(
  "an action of the console is stored, and adopted once the owner has renewed its lease and kept the change (R12)",
  withSource((source) =>
    Effect.gen(function* () {
      const registration = yield* registerService("orders", { id: "a", endpoints: ["http://a:80"] })
      yield* TestClock.adjust("1 second")
      yield* source.actions.send("orders", "a", { status: "draining" })
      const stored = stageOf(source)
      assert.equal(stored?._tag, "Stored")
      yield* TestClock.adjust("1 second")
      assert.equal(stageOf(source)?._tag, "Stored")
      yield* TestClock.adjust("6 seconds")
      const adopted = stageOf(source)
      assert.deepEqual(adopted, {
        ...adopted,
        _tag: "Adopted",
        revision: stored?.revision,
        how: "its owner renewed its lease and kept the change"
      })
      const instance = Option.getOrUndefined(source.fleet.setOf("orders")?.get("a") ?? Option.none())
      assert.equal(instance?.status, "draining")
      assert.equal(registration.instance.status, "draining")
    })
  )
)

effect(
  "an action of the console is not adopted when the owner does not renew its lease",
  withSource((source) =>
    Effect.gen(function* () {
      yield* putUnkept
      yield* TestClock.adjust("1 second")
      yield* source.actions.send("orders", "a", { weight: 3 })
      yield* TestClock.adjust("12 seconds")
      assert.equal(stageOf(source)?._tag, "Stored")
      yield* TestClock.adjust("10 seconds")
      const stage = stageOf(source)
      assert.equal(stage?._tag === "NotAdopted" ? stage.why : stage?._tag, "the instance left")
    })
  )
)

effect(
  "an action of the console is not adopted when the owner writes its own value back",
  withSource((source) =>
    Effect.gen(function* () {
      const etcd = yield* Etcd
      const lease = yield* putUnkept
      yield* TestClock.adjust("1 second")
      yield* source.actions.send("orders", "a", { status: "draining" })
      yield* etcd.put({ key, value: `{"endpoints":["http://a:80"]}`, lease })
      yield* TestClock.adjust("1 second")
      const stage = stageOf(source)
      assert.equal(stage?._tag === "NotAdopted" ? stage.why : stage?._tag, "its owner wrote its own value back")
    })
  )
)

effect(
  "an action of the console on a key without a lease needs no owner",
  withSource((source) =>
    Effect.gen(function* () {
      const etcd = yield* Etcd
      yield* etcd.put({ key, value: `{"endpoints":["http://a:80"]}` })
      yield* source.actions.send("orders", "a", { weight: 0 })
      assert.equal(stageOf(source)?._tag, "Adopted")
      yield* source.actions.send("orders", "a", { weight: 0 })
      assert.equal(stageOf(source)?._tag, "Unchanged")
    })
  )
)

effect(
  "an action of the console is refused for a missing instance and an invalid weight, and nothing is written",
  withSource((source) =>
    Effect.gen(function* () {
      const etcd = yield* Etcd
      yield* source.actions.send("orders", "a", { status: "draining" })
      const missing = stageOf(source)
      assert.match(missing?._tag === "Refused" ? missing.why : "", /there is no instance/)
      yield* etcd.put({ key, value: `{"endpoints":["http://a:80"]}` })
      const { header: { revision } } = yield* etcd.range({ key })
      yield* source.actions.send("orders", "a", { weight: NaN })
      const invalid = stageOf(source)
      assert.match(invalid?._tag === "Refused" ? invalid.why : "", /weight is NaN/)
      assert.equal((yield* etcd.range({ key })).header.revision, revision)
    })
  )
)

effect("describeEdit describes the change that an operator requested", () =>
  Effect.sync(() => {
    assert.equal(describeEdit({ status: "draining" }), "drain")
    assert.equal(describeEdit({ status: "up", weight: 2 }), "undrain and weight 2")
  }))

import { Effect, Logger, Schedule } from "effect"
import assert from "node:assert/strict"
import { Service } from "../../../mod.ts"
import type { Codec } from "../../../src/registry/model/Codec.ts"
import { FaultyEtcd } from "../../../src/testing/mod.ts"
import { describe } from "../../harness/it.ts"
import {
  a,
  elapse,
  failureOf,
  keysIn,
  leasesIn,
  orders,
  type Process,
  putInstance,
  register,
  start,
  statusOf,
  verify,
  world
} from "../../harness/virtual.ts"

/** Asserts that a registration has ended with a defect, and that this was reported everywhere. */
const assertDied = (
  kept: Effect.Success<ReturnType<typeof register>>,
  failure: unknown,
  message: RegExp
) =>
  Effect.gen(function* () {
    assert.equal(yield* statusOf(kept), "Failed")
    const status = yield* kept.registration.status.get
    assert.ok(status._tag === "Failed" && status.error._tag === "RegistrationRefused")
    assert.equal(failure, status.error)
    assert.equal(status.error.cause._tag, "UnknownError")
    assert.match(status.error.message, message)
  })

describe("a defect in code of the user", () => {
  verify("a retry schedule that dies ends the registration with its defect (R3)", (log) =>
    Effect.gen(function* () {
      const { operator, process } = yield* world
      const one = yield* process()
      const retry = Schedule.modifyDelay(Schedule.forever, () => Effect.die(new Error("no delay")))
      const kept = yield* register(one, { ...a, retry })
      const failed = yield* start(kept.registration.awaitFailure)
      yield* operator.deleteRange({ key: kept.registration.key })
      yield* elapse("1 second")
      yield* assertDied(kept, failureOf(failed), /no delay/)
      assert.ok(log.some((line) => /^Error .*no delay/.test(line)), log.join("\n"))
      yield* elapse("1 minute")
      assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
    }))

  verify(
    "a logger that always throws changes nothing: a registration comes back, and its release is clean (R3)",
    () =>
      Effect.gen(function* () {
        let lines = 0
        const logger = Logger.make((): void => {
          lines += 1
          throw new Error("disk full")
        })
        const layer = Logger.layer([logger])
        const { operator, process } = yield* world
        const one = yield* process().pipe(Effect.provide(layer))
        const kept = yield* register(one).pipe(Effect.provide(layer))
        yield* operator.deleteRange({ key: kept.registration.key })
        yield* elapse("1 minute")
        assert.equal(yield* statusOf(kept), "Registered")
        assert.deepEqual(Object.keys(yield* keysIn(operator)), [kept.registration.key])
        yield* kept.release.pipe(Effect.provide(layer))
        assert.equal(yield* statusOf(kept), "Released")
        assert.deepEqual([yield* keysIn(operator), yield* leasesIn(operator)], [{}, []])
        // Registered, lost, registered again, released.
        assert.ok(lines >= 4, `${lines} lines`)
      })
  )

  verify(
    "registerService and update fail with InvalidOption if the codec returns no Result",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const codec: Codec<Readonly<Record<string, string>>> = {
          ...orders.codec,
          encode: (instance) => instance.weight === 7 ? undefined as never : orders.codec.encode(instance)
        }
        const service = Service.make("orders", { codec })
        const refused = yield* Effect.flip(one.registry.register(service, { ...a, weight: 7 }))
        assert.deepEqual([refused._tag, yield* keysIn(operator), yield* leasesIn(operator)], ["InvalidOption", {}, []])
        const registration = yield* one.registry.register(service, a)
        assert.equal((yield* Effect.flip(registration.update({ weight: 7 })))._tag, "InvalidOption")
        assert.equal((yield* registration.status.get)._tag, "Registered")
        yield* registration.update({ weight: 3 })
        assert.equal(registration.instance.weight, 3)
      })
  )

  verify(
    "a claim treats the holder as another process if the codec throws on its value (R8)",
    () =>
      Effect.gen(function* () {
        const { operator, process } = yield* world
        const one = yield* process()
        const codec: Codec<Readonly<Record<string, string>>> = {
          ...orders.codec,
          decode: (name, id, value) => {
            if (new TextDecoder().decode(value).includes("poison")) throw new TypeError("cannot convert to a BigInt")
            return orders.codec.decode(name, id, value)
          }
        }
        yield* putInstance(operator, "a", { endpoints: a.endpoints, metadata: { poison: "1" } })
        const service = Service.make("orders", { codec })
        const registering = yield* start(one.registry.register(service, { ...a, ttl: "3 seconds" }))
        yield* elapse("5 seconds")
        assert.equal(failureOf(registering)?._tag, "InstanceIdTaken")
      })
  )

  verify(
    "a codec that throws while a held value is written ends the registration with its defect",
    (log) =>
      Effect.gen(function* () {
        const { process } = yield* world
        const one = yield* process()
        const codec: Codec<Readonly<Record<string, string>>> = {
          ...orders.codec,
          encode: (instance) => {
            if (instance.status === "down") throw new TypeError("cannot encode")
            return orders.codec.encode(instance)
          }
        }
        let fails = false
        const registration = yield* one.registry.register(Service.make("orders", { codec }), {
          ...a,
          health: Effect.suspend(() => fails ? Effect.fail("unhealthy") : Effect.void),
          healthEvery: "1 second"
        })
        fails = true
        yield* elapse("10 seconds")
        const status = yield* registration.status.get
        assert.ok(status._tag === "Failed" && /cannot encode/.test(status.error.message))
        assert.ok(log.some((line) => /^Error .*cannot encode/.test(line)), log.join("\n"))
      })
  )

  verify("a defect during an outage ends the registration with that defect", () =>
    Effect.gen(function* () {
      const { process } = yield* world
      const one: Process = yield* process()
      yield* one.faults.set([{ fault: FaultyEtcd.unavailable }])
      const retry = Schedule.modifyDelay(Schedule.forever, () => Effect.die(new Error("no delay")))
      const registering = yield* start(register(one, { ...a, retry }))
      yield* elapse("5 seconds")
      const failure = failureOf(registering)
      assert.ok(failure?._tag === "RegistrationRefused" && failure.cause._tag === "UnknownError")
    }))
})

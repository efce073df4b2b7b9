import { Effect, Fiber, Option, Ref, Schedule } from "effect"
import assert from "node:assert/strict"
import { InstanceIdTaken, RegistrationLost } from "../../../src/registry/registration/RegistrationError.ts"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { discover, registerService } from "../../../mod.ts"
import { eachSharedEtcd, etcdctl } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import {
  assertNothingLeft,
  awaitStatus,
  eventuallyNothingLeft,
  freshNamespace,
  ids,
  isLiveWith,
  keysIn,
  leasesIn,
  observer,
  quiet,
  recorded,
  registryAt,
  statusesOf,
  trafficOf
} from "./support.ts"

const hex = (id: bigint) => id.toString(16)

describe("a registration", () => {
  eachSharedEtcd((server) => {
    const setUp = Effect.gen(function* () {
      const namespace = freshNamespace()
      const key = `${namespace}/orders/a`
      const traffic = yield* trafficOf(yield* observer(server()), `${namespace}/`)
      return { namespace, key, traffic, registry: registryAt(server().endpoint, { namespace }) }
    })
    // No heartbeat is sent within the time limit of a test, so only the watch of the key can detect a loss (R10).
    const a = { id: "a", endpoints: ["http://a:1"], ttl: "10 minutes" } as const
    const value = JSON.stringify({
      id: "a",
      name: "orders",
      metadata: {},
      endpoints: ["http://a:1"],
      weight: 1,
      status: "up"
    })

    const losses = {
      "its lease was revoked": (_key: string, lease: bigint) => etcdctl(server(), "lease", "revoke", hex(lease)),
      "its key was deleted": (key: string, _lease: bigint) => etcdctl(server(), "del", key)
    }
    for (const [what, lose] of Object.entries(losses)) {
      live(`a registration is back at once after ${what} by an operator (R3, R10)`, () =>
        Effect.gen(function* () {
          const { key, namespace, registry, traffic } = yield* setUp
          yield* Effect.gen(function* () {
            const registration = yield* registerService("orders", a)
            const sets = yield* recorded(discover("orders"))
            yield* sets.until(isLiveWith("a"))
            const statuses = yield* statusesOf(registration)
            const before = yield* awaitStatus(registration, "Registered")
            const since = statuses.all.length
            yield* lose(key, before.leaseId)
            const lost = yield* statuses.until(({ _tag }) => _tag === "Recovering", { since })
            assert.ok(lost._tag === "Recovering")
            assert.deepEqual(lost.cause, new RegistrationLost({ key }))
            const after = yield* statuses.until(({ _tag }) => _tag === "Registered", { since })
            assert.ok(after._tag === "Registered")

            assert.notEqual(after.leaseId, before.leaseId)
            assert.deepEqual(yield* registration.leaseId, Option.some(after.leaseId))
            assert.deepEqual(yield* keysIn(server(), namespace), [
              { key, value, lease: after.leaseId, revision: after.revision }
            ])
            // The lost lease is revoked.
            yield* eventually(
              Effect.flatMap(leasesIn(server()), (leases) =>
                leases.length === 1 ? Effect.void : Effect.fail(leases.map(hex).join()))
            )
            yield* sets.until((set) =>
              isLiveWith("a")(set) && set.revision === after.revision
            )
            assert.ok(sets.all.every(({ freshness }) => freshness._tag === "Live"))
          }).pipe(Effect.scoped, Effect.provide(registry))
          yield* traffic.until(({ type }) => type === "delete")
          yield* assertNothingLeft(server(), namespace)
          yield* eventually(
            Effect.suspend(() => traffic.events.length === 4 ? Effect.void : Effect.fail("not all events"))
          )
          assert.deepEqual(traffic.events.map(({ type }) => type), ["put", "delete", "put", "delete"])
        }).pipe(Effect.provide(quiet)))
    }

    const takeovers = {
      "overwritten without a lease": (key: string) => Effect.as(etcdctl(server(), "put", key, "foreign"), 0n),
      "moved to another lease": (key: string) =>
        Effect.gen(function* () {
          const answer = yield* etcdctl(server(), "lease", "grant", "600")
          const lease = /lease ([0-9a-f]+) granted/.exec(answer)?.[1] ?? ""
          yield* etcdctl(server(), "put", `--lease=${lease}`, key, "foreign")
          return BigInt(`0x${lease}`)
        })
    }
    for (const [what, take] of Object.entries(takeovers)) {
      live(
        `a registration becomes Superseded and writes nothing if its key was ${what} (R8)`,
        () =>
          Effect.gen(function* () {
            const { key, namespace, registry, traffic } = yield* setUp
            yield* Effect.gen(function* () {
              const registration = yield* registerService("orders", a)
              const failure = yield* Effect.forkScoped(Effect.flip(registration.awaitFailure), {
                startImmediately: true
              })
              const statuses = yield* statusesOf(registration)
              const theirs = yield* take(key)
              const superseded = yield* awaitStatus(registration, "Superseded")
              const [foreign] = yield* keysIn(server(), namespace)
              assert.ok(foreign)
              const { by } = superseded
              assert.deepEqual([by.leaseId, by.revision], [theirs, foreign.revision])
              assert.deepEqual(yield* Fiber.join(failure), new InstanceIdTaken({ key, by }))
              assert.deepEqual(yield* registration.leaseId, Option.none())

              // Only its own lease is revoked.
              yield* eventually(
                Effect.flatMap(leasesIn(server()), (leases) =>
                  leases.join() === (theirs === 0n ? "" : String(theirs)) ?
                    Effect.void :
                    Effect.fail(leases.map(hex).join()))
              )
              const refused = yield* Effect.flip(registration.update({ weight: 2 }))
              assert.equal(refused._tag, "InstanceIdTaken")
              yield* registration.drain
              assert.deepEqual(
                statuses.all.map((status) =>
                  status._tag
                ),
                ["Registered", "Superseded"]
              )
            }).pipe(Effect.scoped, Effect.provide(registry))
            assert.deepEqual((yield* keysIn(server(), namespace)).map(({ key, value }) => ({ key, value })), [
              { key, value: "foreign" }
            ])
            yield* eventually(Effect.suspend(() => traffic.events.length === 2 ? Effect.void : Effect.fail("not all")))
            assert.deepEqual(traffic.events, [{ type: "put", key, value }, { type: "put", key, value: "foreign" }])
            yield* etcdctl(server(), "del", key)
            yield* Effect.forEach(
              yield* leasesIn(server()),
              (lease) => etcdctl(server(), "lease", "revoke", hex(lease))
            )
          }).pipe(Effect.provide(quiet))
      )
    }

    live(
      "a registration puts its value back if it was overwritten under its own lease",
      () =>
        Effect.gen(function* () {
          const { key, namespace, registry } = yield* setUp
          yield* Effect.gen(function* () {
            const registration = yield* registerService("orders", a)
            const { leaseId } = yield* awaitStatus(registration, "Registered")
            yield* etcdctl(server(), "put", `--lease=${hex(leaseId)}`, key, "noise")
            yield* eventually(
              Effect.flatMap(
                keysIn(server(), namespace),
                ([shown]) => shown?.value === value && shown.lease === leaseId ? Effect.void : Effect.fail(shown?.value)
              )
            )
            assert.equal((yield* registration.status.get)._tag, "Registered")
          }).pipe(Effect.scoped, Effect.provide(registry))
          yield* assertNothingLeft(server(), namespace)
        }).pipe(Effect.provide(quiet))
    )

    live(
      "a registration ends in Failed and in awaitFailure if a finite retry ends (R3)",
      () =>
        Effect.gen(function* () {
          const { key, namespace, registry } = yield* setUp
          yield* Effect.gen(function* () {
            const registration = yield* registerService("orders", { ...a, retry: Schedule.recurs(0) })
            const sets = yield* recorded(discover("orders"))
            yield* sets.until(isLiveWith("a"))
            yield* etcdctl(server(), "del", key)
            const error = yield* Effect.flip(registration.awaitFailure)
            assert.ok(error._tag === "RegistrationRefused")
            assert.deepEqual({ key: error.key, cause: error.cause }, { key, cause: new RegistrationLost({ key }) })
            assert.deepEqual(yield* registration.status.get, RegistrationStatus.Failed({ error }))
            assert.equal(yield* Effect.flip(registration.update({ weight: 2 })), error)
            yield* sets.until(isLiveWith())
            yield* eventuallyNothingLeft(server(), namespace)
          }).pipe(Effect.scoped, Effect.provide(registry))
          yield* assertNothingLeft(server(), namespace)
        }).pipe(Effect.provide(quiet))
    )

    live("Registration.update is applied under the next lease if its lease is lost", () =>
      Effect.gen(function* () {
        const { key, namespace, registry } = yield* setUp
        yield* Effect.gen(function* () {
          const registration = yield* registerService("orders", a)
          for (let round = 1; round <= 5; round++) {
            const lease = Option.getOrThrow(yield* registration.leaseId)
            yield* Effect.all([
              etcdctl(server(), "lease", "revoke", hex(lease)),
              Effect.andThen(Effect.sleep(10 * round), registration.update({ weight: round }))
            ], { concurrency: 2 })
            // The update has completed, so it is in etcd.
            yield* eventually(
              Effect.flatMap(keysIn(server(), namespace), (shown) =>
                shown.length === 1 ? Effect.succeed(shown) : Effect.fail("absent"))
            ).pipe(Effect.map(([shown]) => {
              assert.equal(shown?.key, key)
              assert.equal((JSON.parse(shown.value) as { readonly weight: number }).weight, round)
            }))
            yield* awaitStatus(registration, "Registered")
          }
        }).pipe(Effect.scoped, Effect.provide(registry))
        yield* assertNothingLeft(server(), namespace)
      }).pipe(Effect.provide(quiet)))

    live(
      "health publishes starting, up, down after three failures, and up again (R11)",
      () =>
        Effect.gen(function* () {
          const { namespace, registry, traffic } = yield* setUp
          yield* Effect.gen(function* () {
            const healthy = yield* Ref.make<"pending" | "well" | "ill">("pending")
            let checks = 0
            const health = Effect.gen(function* () {
              checks += 1
              const now = yield* Ref.get(healthy)
              if (now === "pending") return yield* Effect.never
              if (now === "ill") return yield* Effect.fail("ill")
            })
            const sets = yield* recorded(discover("orders"))
            const registration = yield* registerService("orders", { ...a, health, healthEvery: "100 millis" })
            const starting = yield* sets.until(({ size }) => size === 1)
            assert.deepEqual(
              [starting.instances.map(({ status }) => status), starting.available, starting.endpoints],
              [["starting"], [], []]
            )
            assert.equal(registration.instance.status, "starting")
            yield* Ref.set(healthy, "well")
            const up = yield* sets.until(({ available }) => available.length === 1)
            assert.deepEqual(up.endpoints, ["http://a:1"])
            const before = checks
            yield* Ref.set(healthy, "ill")
            const down = yield* sets.until(({ available }) => available.length === 0)
            assert.deepEqual([down.instances.map(({ status }) => status), ids(down)], [["down"], ["a"]])
            assert.ok(checks - before >= 3, `down after ${checks - before} checks`)
            yield* Ref.set(healthy, "well")
            yield* sets.until(({ available }) => available.length === 1)
          }).pipe(Effect.scoped, Effect.provide(registry))
          yield* eventually(
            Effect.suspend(() => traffic.events.at(-1)?.type === "delete" ? Effect.void : Effect.fail(""))
          )
          assert.deepEqual(
            traffic.events.map(({ type, value }) =>
              type === "put" ? (JSON.parse(value) as { readonly status: string }).status : type
            ),
            ["starting", "up", "down", "up", "delete"]
          )
          yield* assertNothingLeft(server(), namespace)
        }).pipe(Effect.provide(quiet))
    )
  })
})

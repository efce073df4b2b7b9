import { Effect, Exit, Fiber, Option, Scope } from "effect"
import assert from "node:assert/strict"
import { InstanceIdTaken } from "../../../src/registry/registration/RegistrationError.ts"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { discover, registerService, type Registry } from "../../../mod.ts"
import { eachSharedEtcd, etcdctl, versions } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { randomOf, seed } from "../../harness/seed.ts"
import {
  assertNothingLeft,
  awaitStatus,
  eventuallyNothingLeft,
  freshNamespace,
  ids,
  keysIn,
  leasesIn,
  observer,
  processAt,
  quiet,
  recorded,
  registryAt,
  trafficOf
} from "./support.ts"

const a = { id: "a", endpoints: ["http://a:1", "http://a:2"] } as const
const elsewhere = { ...a, endpoints: ["http://b:1"] } as const

describe("the claim of an id", () => {
  eachSharedEtcd((server, version) => {
    /** For slow tests: on one version only. */
    const slow: typeof live = (...args) => version === versions[0] ? live(...args) : undefined

    const setUp = Effect.gen(function* () {
      const namespace = freshNamespace()
      const key = `${namespace}/orders/a`
      const traffic = yield* trafficOf(yield* observer(server()), `${namespace}/`)
      const process = processAt(server().endpoint, { namespace })
      /** One process from start to end. */
      const alone = <A, E>(effect: Effect.Effect<A, E, Registry.Registry | Scope.Scope>) =>
        effect.pipe(Effect.scoped, Effect.provide(registryAt(server().endpoint, { namespace })))
      return { namespace, key, traffic, process, alone }
    })

    const random = randomOf(seed)
    const race = (claim: "exclusive" | "restart", rounds: number, ttl: "4 seconds" | "15 seconds") =>
      Effect.gen(function* () {
        const { key, namespace, process, traffic } = yield* setUp
        for (let round = 0; round < rounds; round++) {
          const scope = yield* Scope.make()
          const outcomes = yield* Effect.forEach(
            [a, elsewhere],
            (options) =>
              Effect.gen(function* () {
                const inProcess = yield* process
                yield* Effect.sleep(random() * 3)
                return yield* inProcess(registerService("orders", { ...options, claim, ttl }))
              }).pipe(Scope.provide(scope), Effect.result),
            { concurrency: 2 }
          )
          const winners = outcomes.filter((outcome) => outcome._tag === "Success")
          const losers = outcomes.filter((outcome) => outcome._tag === "Failure")
          assert.deepEqual([winners.length, losers.length], [1, 1], `round ${round}`)
          const [shown, ...others] = yield* keysIn(server(), namespace)
          assert.ok(shown)
          assert.deepEqual(others, [])
          const endpoints = winners[0]?.success.instance.endpoints ?? []
          const by = { leaseId: shown.lease, revision: shown.revision, endpoints }
          assert.deepEqual(losers[0]?.failure, new InstanceIdTaken({ key, by }))
          assert.deepEqual(yield* leasesIn(server()), [shown.lease], "the loser left a lease")
          yield* Scope.close(scope, Exit.void)
          yield* assertNothingLeft(server(), namespace)
        }
        yield* eventually(
          Effect.suspend(() => traffic.events.length === rounds * 2 ? Effect.void : Effect.fail(traffic.events.length))
        )
        assert.deepEqual(
          traffic.events.map(({ type }) => type),
          Array.from({ length: rounds }, () => ["put", "delete"]).flat()
        )
      }).pipe(Effect.provide(quiet))

    live("claim exclusive lets exactly one of two claimants win (R8)", () => race("exclusive", 10, "15 seconds"))

    slow(
      "restart: exactly one of two claimants with other endpoints wins, and the other waits in vain (R8)",
      () => race("restart", 1, "4 seconds")
    )

    live(
      "claim exclusive fails at once if the id exists, even with the same endpoints (R8)",
      () =>
        Effect.gen(function* () {
          const { alone, key, namespace } = yield* setUp
          yield* alone(Effect.gen(function* () {
            const first = yield* registerService("orders", a)
            const { leaseId, revision } = yield* awaitStatus(first, "Registered")
            const error = yield* Effect.flip(registerService("orders", { ...a, claim: "exclusive" }))
            assert.deepEqual(error, new InstanceIdTaken({ key, by: { leaseId, revision, endpoints: a.endpoints } }))
            assert.match(
              error.message,
              /cannot register ".*\/orders\/a": it is held by "http:\/\/a:1, http:\/\/a:2" under lease [0-9a-f]+ since revision/
            )
            assert.equal((yield* first.status.get)._tag, "Registered")
            assert.deepEqual(yield* leasesIn(server()), [leaseId])
          }))
          yield* assertNothingLeft(server(), namespace)
        })
    )

    for (
      const [claim, second] of [
        ["restart", { ...a, endpoints: ["http://a:2", "http://a:1"] }],
        ["overwrite", elsewhere]
      ] as const
    ) {
      live(
        `claim ${claim} takes over at once from a running process, which becomes Superseded (R8)`,
        () =>
          Effect.gen(function* () {
            const { alone, key, namespace, process, traffic } = yield* setUp
            const old = yield* Scope.make()
            // Waiting for the end of its lease would take longer than the test may.
            const patient = { ...a, ttl: "10 minutes" } as const
            const first = yield* Effect.flatMap(process, (inProcess) => inProcess(registerService("orders", patient)))
              .pipe(
                Scope.provide(old)
              )
            const failure = yield* Effect.forkScoped(Effect.flip(first.awaitFailure), { startImmediately: true })
            yield* alone(Effect.gen(function* () {
              const sets = yield* recorded(discover("orders"))
              yield* sets.until(({ size }) => size === 1)
              const registration = yield* registerService("orders", { ...second, claim, startupTimeout: "20 minutes" })
              const { leaseId, revision } = yield* awaitStatus(registration, "Registered")
              const by = { leaseId, revision, endpoints: second.endpoints }
              assert.deepEqual(yield* awaitStatus(first, "Superseded"), RegistrationStatus.Superseded({ by }))
              assert.deepEqual(yield* Fiber.join(failure), new InstanceIdTaken({ key, by }))
              yield* Scope.close(old, Exit.void)
              assert.deepEqual(yield* leasesIn(server()), [leaseId])
              assert.deepEqual(
                (yield* keysIn(server(), namespace)).map(({ key, lease }) => ({ key, lease })),
                [{ key, lease: leaseId }]
              )
              const set = yield* sets.until((set) => set.instances[0]?.endpoints.join() === second.endpoints.join())
              assert.deepEqual(set.revision, revision)
              assert.ok(sets.all.slice(1).every((set) => ids(set).join() === "a"), "there was a gap")
            }))
            yield* assertNothingLeft(server(), namespace)
            yield* eventually(Effect.suspend(() => traffic.events.length === 3 ? Effect.void : Effect.fail("")))
            assert.deepEqual(traffic.events.map(({ type }) => type), ["put", "put", "delete"])
          }).pipe(Effect.provide(quiet))
      )
    }

    live(
      "claim restart with other endpoints waits for the old lease and takes the id when it ends (R8)",
      () =>
        Effect.gen(function* () {
          const { alone, key, namespace, traffic } = yield* setUp
          const answer = yield* etcdctl(server(), "lease", "grant", "600")
          const lease = /lease ([0-9a-f]+) granted/.exec(answer)?.[1] ?? ""
          const value = JSON.stringify({ endpoints: ["http://old:1"] })
          yield* etcdctl(server(), "put", `--lease=${lease}`, key, value)
          const watchers = server().metric("etcd_debugging_mvcc_watcher_total")
          const before = yield* watchers
          yield* alone(Effect.gen(function* () {
            const registration = yield* registerService("orders", {
              ...elsewhere,
              startup: "background",
              ttl: "10 minutes"
            })
            // It has tried once, with its own lease, and now waits.
            yield* eventually(
              Effect.flatMap(
                leasesIn(server()),
                (all) => all.length === 2 ? Effect.void : Effect.fail(`${all.length}`)
              )
            )
            yield* eventually(
              Effect.flatMap(
                watchers,
                (now) => now > before ? Effect.void : Effect.fail("it does not watch")
              )
            )
            assert.deepEqual(yield* registration.status.get, RegistrationStatus.Registering({ attempt: 1 }))
            assert.deepEqual((yield* keysIn(server(), namespace)).map(({ value }) => value), [value])
            yield* etcdctl(server(), "lease", "revoke", lease)
            yield* awaitStatus(registration, "Registered")
            assert.deepEqual(
              (yield* keysIn(server(), namespace)).map(({ lease }) => lease),
              [Option.getOrThrow(yield* registration.leaseId)]
            )
          }))
          yield* assertNothingLeft(server(), namespace)
          assert.deepEqual(traffic.events.map(({ type }) => type), ["put", "delete", "put", "delete"])
        }).pipe(Effect.provide(quiet))
    )

    slow(
      "claim restart with other endpoints takes the id when the lease of a killed process has expired (R7, R8)",
      () =>
        Effect.gen(function* () {
          const { alone, key, namespace } = yield* setUp
          const answer = yield* etcdctl(server(), "lease", "grant", "4")
          const lease = /lease ([0-9a-f]+) granted/.exec(answer)?.[1] ?? ""
          yield* etcdctl(server(), "put", `--lease=${lease}`, key, "whatever it was")
          yield* alone(Effect.gen(function* () {
            // The wait for a lease is bounded by the TTL, not by startupTimeout.
            const registration = yield* registerService("orders", {
              ...elsewhere,
              ttl: "20 seconds",
              startupTimeout: "1 second"
            })
            assert.deepEqual(
              (yield* keysIn(server(), namespace)).map(({ lease }) => lease),
              [Option.getOrThrow(yield* registration.leaseId)]
            )
          }))
          yield* eventuallyNothingLeft(server(), namespace)
        }).pipe(Effect.provide(quiet))
    )
  })
})

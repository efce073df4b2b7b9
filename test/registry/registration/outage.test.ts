import { Duration, Effect, Exit, Fiber, Option, Schedule, Scope } from "effect"
import assert from "node:assert/strict"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { discover, registerService } from "../../../mod.ts"
import { etcdctl, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually, pause } from "../../harness/real.ts"
import {
  assertNothingLeft,
  awaitStatus,
  eventuallyNothingLeft,
  freshNamespace,
  ids,
  isLiveWith,
  keysIn,
  loggingTo,
  observer,
  quiet,
  recorded,
  registryAt,
  statusesOf,
  trafficOf
} from "./support.ts"

const named = (id: string) => ({ id, endpoints: [`http://${id}:1`] }) as const

/** The freshness of consecutive sets, without duplicates. */
const spells = (sets: ReadonlyArray<{ readonly freshness: { readonly _tag: string } }>) =>
  sets.map(({ freshness }) => freshness._tag).filter((tag, index, all) => tag !== all[index - 1])

describe("outages of etcd", () => {
  live(
    "registrations survive a restart of etcd on its data; discover emits Stale, then Live (R2, D7)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        yield* Effect.gen(function* () {
          const registrations = yield* Effect.forEach(["a", "b"], (id) => registerService("orders", named(id)))
          const sets = yield* recorded(discover("orders"))
          yield* sets.until(isLiveWith("a", "b"))
          const before = yield* keysIn(server, namespace)
          yield* server.kill("SIGKILL")
          const stale = yield* sets.until(({ freshness }) => freshness._tag === "Stale")
          assert.deepEqual(ids(stale), ["a", "b"])
          assert.ok(stale.freshness._tag === "Stale" && Math.abs(Date.now() - stale.freshness.since) < 60_000)
          assert.equal(stale.freshness.cause._tag, "EtcdError")
          const late = yield* registerService("orders", { ...named("c"), startup: "background" })
          yield* server.start
          yield* sets.until(isLiveWith("a", "b", "c"))
          yield* awaitStatus(late, "Registered")
          // Nothing was lost: the same leases and the same writes.
          assert.deepEqual((yield* keysIn(server, namespace)).slice(0, 2), before)
          assert.deepEqual(
            yield* Effect.forEach(registrations, ({ status }) => Effect.map(status.get, ({ _tag }) => _tag)),
            ["Registered", "Registered"]
          )
          assert.deepEqual(spells(sets.all), ["Live", "Stale", "Live"])
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
        yield* assertNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )

  live(
    "registrations come back after etcd restarts without data, and discover follows the lower revision (R3, D3)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        for (let i = 0; i < 30; i++) yield* etcdctl(server, "put", "unrelated", String(i))
        yield* Effect.gen(function* () {
          const registrations = yield* Effect.forEach(
            ["a", "b", "c"],
            (id) => registerService("orders", { ...named(id), ttl: "3 seconds" })
          )
          const sets = yield* recorded(discover("orders"))
          const before = yield* sets.until(isLiveWith("a", "b", "c"))
          yield* server.kill("SIGKILL")
          yield* sets.until(({ freshness }) => freshness._tag === "Stale")
          yield* server.wipe
          yield* server.start
          const after = yield* sets.until((set) => set.revision < before.revision && isLiveWith("a", "b", "c")(set))
          const shown = yield* keysIn(server, namespace)
          assert.deepEqual(shown.map(({ key }) => key), ["a", "b", "c"].map((id) => `${namespace}/orders/${id}`))
          assert.ok(after.revision <= shown.reduce((max, { revision }) => revision > max ? revision : max, 0n))
          for (const [index, registration] of registrations.entries()) {
            const status = yield* awaitStatus(registration, "Registered")
            assert.deepEqual(
              status,
              RegistrationStatus.Registered({
                leaseId: shown[index]?.lease ?? 0n,
                revision: shown[index]?.revision ?? 0n
              })
            )
          }
          assert.ok(sets.all.every(({ rejected }) => rejected.length === 0))
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
        yield* assertNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )

  live(
    "discover detects a wiped etcd that has already passed its last revision (D3)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        const proxy = yield* makeProxy(server)
        const write = (id: string) =>
          Effect.scoped(Effect.flatMap(observer(server), (etcd) =>
            Effect.flatMap(etcd.leaseGrant({ ttl: 600 }), ({ id: lease }) =>
              etcd.put({
                key: `${namespace}/orders/${id}`,
                value: JSON.stringify({ endpoints: [`http://${id}:1`] }),
                lease
              }))))
        // Each start begins a new term. The term of an empty folder is lower.
        for (let start = 0; start < 2; start++) {
          yield* server.kill("SIGKILL")
          yield* server.start
        }
        yield* write("a")
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          const before = yield* sets.until(isLiveWith("a"))
          yield* proxy.refuse
          yield* proxy.reset
          yield* sets.until(({ freshness }) =>
            freshness._tag === "Stale"
          )
          yield* server.kill("SIGKILL")
          yield* server.wipe
          yield* server.start
          yield* write("b")
          for (let i = 0; i < 10; i++) {
            yield* etcdctl(server, "put", "unrelated", String(i))
          }
          yield* proxy.accept
          const after = yield* sets.until(({ freshness }) => freshness._tag === "Live")
          assert.deepEqual(ids(after), ["b"])
          assert.ok(after.revision > before.revision)
          assert.deepEqual(sets.all.map((set) => [set.freshness._tag, ids(set).join()]), [
            ["Live", "a"],
            ["Stale", "a"],
            ["Live", "b"]
          ])
        }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
      }).pipe(Effect.provide(quiet))
  )

  live(
    "discover misses nothing if etcd was compacted during a partition (D3)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        const etcd = yield* observer(server)
        const proxy = yield* makeProxy(server)
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
        const put = (id: string, weight: number) =>
          etcd.put({
            key: `${namespace}/orders/${id}`,
            value: JSON.stringify({ endpoints: [`http://${id}:1`], weight }),
            lease
          })
        for (const id of ["a", "b", "c", "d"]) yield* put(id, 1)
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          yield* sets.until(isLiveWith("a", "b", "c", "d"))
          yield* proxy.refuse
          yield* proxy.reset
          yield* sets.until(({ freshness }) => freshness._tag === "Stale")
          yield* etcd.deleteRange({ key: `${namespace}/orders/a` })
          yield* put("b", 2)
          yield* etcd.deleteRange({ key: `${namespace}/orders/c` })
          yield* put("c", 3)
          const { header } = yield* put("e", 1)
          yield* etcd.compact({ revision: header.revision })
          yield* proxy.accept
          const set = yield* sets.until(isLiveWith("b", "c", "d", "e"))
          assert.deepEqual(set.instances.map(({ id, weight }) => [id, weight]), [["b", 2], ["c", 3], ["d", 1], [
            "e",
            1
          ]])
          // The stream still follows.
          yield* etcd.deleteRange(prefix(`${namespace}/orders/`))
          yield* sets.until(isLiveWith())
          assert.deepEqual(spells(sets.all), ["Live", "Stale", "Live"])
          const revisions = sets.all.map(({ revision }) => revision)
          assert.deepEqual(revisions, revisions.toSorted((a, b) => a < b ? -1 : 1))
        }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
      }).pipe(Effect.provide(quiet))
  )

  live(
    "registerService completes once etcd is up, and fails after startupTimeout (R1)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        yield* server.stop
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          const patient = yield* Effect.forkScoped(
            registerService("orders", { ...named("a"), startupTimeout: "1 minute" }),
            {
              startImmediately: true
            }
          )
          const background = yield* registerService("orders", { ...named("b"), startup: "background" })
          assert.equal((yield* background.status.get)._tag, "Registering")
          assert.deepEqual(yield* background.leaseId, Option.none())

          const timeout = yield* Effect.flip(
            registerService("orders", { ...named("c"), startupTimeout: "1500 millis" })
          )
          assert.ok(timeout._tag === "StartupTimeout")
          assert.deepEqual(
            { key: timeout.key, after: Duration.toMillis(timeout.after), cause: timeout.cause?.reason._tag },
            { key: `${namespace}/orders/c`, after: 1500, cause: "Unavailable" }
          )
          assert.match(timeout.message, /cannot register ".*\/orders\/c": not in etcd after 1\.5 s \(startupTimeout\)/)
          // Unknown is not empty.
          assert.deepEqual(sets.all, [])

          yield* server.start
          const registration = yield* Fiber.join(patient)
          assert.equal((yield* registration.status.get)._tag, "Registered")
          yield* awaitStatus(background, "Registered")
          assert.deepEqual((yield* keysIn(server, namespace)).map(({ key }) => key), [
            `${namespace}/orders/a`,
            `${namespace}/orders/b`
          ])
          yield* sets.until(isLiveWith("a", "b"))
          assert.deepEqual(spells(sets.all), ["Live"])
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
        yield* assertNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )

  for (const [how, drain] of [["SIGKILL", 0], ["SIGSTOP", 0], ["SIGSTOP", "10 minutes"]] as const) {
    live(
      `release${drain === 0 ? "" : " with drain"} ends after releaseTimeout if etcd is gone (${how}) (R5)`,
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd()
          const namespace = freshNamespace()
          const scope = yield* Scope.make()
          const warnings: Array<string> = []
          yield* Effect.gen(function* () {
            const registration = yield* registerService("orders", {
              ...named("a"),
              ttl: "4 seconds",
              drain,
              releaseTimeout: "1 second"
            }).pipe(Scope.provide(scope))
            const leaseId = Option.getOrThrow(yield* registration.leaseId)
            yield* server.kill(how)
            yield* pause(100) // a signal to stop takes its time
            const startedAt = performance.now()
            yield* Scope.close(scope, Exit.void)
            const elapsed = performance.now() - startedAt
            assert.ok(elapsed >= 900, `${elapsed} ms`)
            assert.deepEqual(yield* registration.status.get, RegistrationStatus.Released())
            assert.ok(
              warnings.some((line) => line.includes(`lease ${leaseId.toString(16)} is left to expire`)),
              warnings.join("\n")
            )
          }).pipe(Effect.provide(registryAt(server.endpoint, { namespace })), Effect.provide(loggingTo(warnings)))
          if (how === "SIGSTOP") {
            yield* server.resume
            yield* eventuallyNothingLeft(server, namespace)
          }
        })
    )
  }

  live(
    "a registration is back when etcd resumes after a SIGSTOP longer than the lease (R3, D8)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        yield* Effect.gen(function* () {
          const registration = yield* registerService("orders", { ...named("a"), ttl: "2 seconds" })
          const statuses = yield* statusesOf(registration)
          const sets = yield* recorded(discover("orders"))
          yield* sets.until(isLiveWith("a"))
          yield* server.pause
          const stale = yield* sets.until(({ freshness }) => freshness._tag === "Stale")
          assert.deepEqual(ids(stale), ["a"])
          const lost = yield* statuses.until(({ _tag }) => _tag === "Recovering")
          assert.ok(lost._tag === "Recovering" && lost.cause._tag === "EtcdError")
          // Nothing answers, so this one waits as well.
          const another = yield* Effect.forkScoped(
            registerService("orders", { ...named("b"), startupTimeout: "1 minute" }),
            {
              startImmediately: true
            }
          )
          yield* pause(500)
          yield* server.resume
          yield* Fiber.join(another)
          const { leaseId } = yield* awaitStatus(registration, "Registered")
          yield* sets.until((set) => isLiveWith("a", "b")(set))
          const shown = yield* eventually(
            Effect.flatMap(
              keysIn(server, namespace),
              (shown) => shown.length === 2 ? Effect.succeed(shown) : Effect.fail(`${shown.length} keys`)
            )
          )
          assert.equal(shown[0]?.lease, leaseId)
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
        yield* eventuallyNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )

  live("repeated short SIGSTOPs of etcd lose nothing (R2)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const namespace = freshNamespace()
      const traffic = yield* trafficOf(yield* observer(server), `${namespace}/`)
      const moments = [0, 2, 5, 10, 15, 20, 30, 50, 80]
      yield* Effect.gen(function* () {
        for (const moment of moments) {
          yield* Effect.scoped(Effect.gen(function* () {
            // At a time between the connection, the grant, the claim and the first heartbeats.
            const claiming = yield* Effect.forkScoped(registerService("orders", named(`i${moment}`)), {
              startImmediately: true
            })
            yield* pause(moment)
            yield* server.pause
            yield* pause(200)
            yield* server.resume
            const registration = yield* Fiber.join(claiming)
            yield* registration.update({ weight: 2 })
          }))
        }
      }).pipe(Effect.provide(registryAt(server.endpoint, { namespace })))
      yield* eventually(
        Effect.suspend(() =>
          traffic.events.filter(({ type }) => type === "delete").length === moments.length ?
            Effect.void :
            Effect.fail("not all deletions were seen")
        )
      )
      for (const moment of moments) {
        assert.deepEqual(
          traffic.events.filter(({ key }) => key === `${namespace}/orders/i${moment}`).map(({ type }) => type),
          ["put", "put", "delete"],
          `paused after ${moment} ms`
        )
      }
      yield* assertNothingLeft(server, namespace)
    }).pipe(Effect.provide(quiet)))

  live(
    "release revokes the lease even if etcd returns before the registration notices (R5)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        yield* Effect.gen(function* () {
          const scope = yield* Scope.make()
          const registration = yield* registerService("orders", {
            ...named("a"),
            ttl: "5 seconds",
            retry: Schedule.spaced("1 hour")
          })
            .pipe(Scope.provide(scope))
          yield* server.kill("SIGKILL")
          yield* awaitStatus(registration, "Recovering")
          yield* server.start
          yield* Scope.close(scope, Exit.void)
          yield* assertNothingLeft(server, namespace)
        }).pipe(Effect.provide(registryAt(server.endpoint, { namespace })))
      }).pipe(Effect.provide(quiet))
  )
})

describe("lost connections", () => {
  live("repeated connection resets leave the key without a gap (R2)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const namespace = freshNamespace()
      const proxy = yield* makeProxy(server)
      const traffic = yield* trafficOf(yield* observer(server), `${namespace}/`)
      const heartbeats = server.metric("grpc_server_msg_received_total", `grpc_method="LeaseKeepAlive"`)
      yield* Effect.gen(function* () {
        const registration = yield* registerService("orders", {
          ...named("a"),
          ttl: "10 seconds",
          heartbeat: "300 millis"
        })
        const before = yield* awaitStatus(registration, "Registered")
        const sets = yield* recorded(discover("orders"))
        yield* sets.until(isLiveWith("a"))
        for (let round = 0; round < 6; round++) {
          const sent = yield* heartbeats
          const since = sets.all.length
          yield* proxy.reset
          yield* sets.until(({ freshness }) => freshness._tag === "Stale", { since })
          yield* sets.until(isLiveWith("a"), { since: since + 1 })
          yield* registration.update({ weight: round + 2 })
          yield* eventually(
            Effect.flatMap(heartbeats, (now) => now > sent ? Effect.void : Effect.fail("no heartbeat came through"))
          )
        }
        assert.deepEqual(yield* registration.status.get, before)
        assert.deepEqual(
          traffic.events.map(({ type, value }) => [
            type,
            (JSON.parse(value) as { readonly weight: number }).weight
          ]),
          [1, 2, 3, 4, 5, 6, 7].map((weight) => ["put", weight])
        )
      }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
      yield* assertNothingLeft(server, namespace)
    }).pipe(Effect.provide(quiet)))

  live("a heartbeat that is lost with its connection is sent again (R2, R9)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const namespace = freshNamespace()
      const proxy = yield* makeProxy(server)
      const traffic = yield* trafficOf(yield* observer(server), `${namespace}/`)
      const heartbeats = server.metric("grpc_server_msg_received_total", `grpc_method="LeaseKeepAlive"`)
      yield* Effect.gen(function* () {
        const registration = yield* registerService("orders", {
          ...named("a"),
          ttl: "10 seconds",
          heartbeat: "300 millis"
        })
        const before = yield* awaitStatus(registration, "Registered")
        for (let round = 0; round < 4; round++) {
          const sent = yield* heartbeats
          yield* proxy.blackhole(round % 2 === 0 ? "up" : "down")
          yield* pause(500) // one has been sent by then, and gets no answer
          yield* proxy.reset
          yield* proxy.heal
          yield* eventually(
            Effect.flatMap(
              heartbeats,
              (now) => now > sent + 1 ? Effect.void : Effect.fail("no heartbeat came through")
            )
          )
        }
        assert.deepEqual(yield* registration.status.get, before)
        assert.equal(traffic.events.length, 1)
      }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
      yield* assertNothingLeft(server, namespace)
    }).pipe(Effect.provide(quiet)))

  live(
    "a registration whose lease expires during a black hole is back after it (R3, R9)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        const proxy = yield* makeProxy(server)
        const traffic = yield* trafficOf(yield* observer(server), `${namespace}/`)
        yield* Effect.gen(function* () {
          const registration = yield* registerService("orders", { ...named("a"), ttl: "2 seconds" })
          const before = yield* awaitStatus(registration, "Registered")
          yield* proxy.blackhole()
          yield* awaitStatus(registration, "Recovering")
          assert.deepEqual(yield* registration.leaseId, Option.none())
          yield* traffic.until(({ type }) => type === "delete")
          yield* proxy.heal
          const after = yield* awaitStatus(registration, "Registered")
          assert.notEqual(after.leaseId, before.leaseId)
          yield* eventually(
            Effect.flatMap(
              keysIn(server, namespace),
              (shown) => shown[0]?.lease === after.leaseId ? Effect.void : Effect.fail("not there")
            )
          )
        }).pipe(Effect.scoped, Effect.provide(registryAt(proxy.endpoint, { namespace })))
        yield* eventuallyNothingLeft(server, namespace)
      }).pipe(Effect.provide(quiet))
  )
})

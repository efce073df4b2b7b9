import { Deferred, Effect, Fiber, Redacted, Schema, Stream } from "effect"
import assert from "node:assert/strict"
import process from "node:process"
import v8 from "node:v8"
import vm from "node:vm"
import type { RequestOp } from "../../../src/etcd/messages/kv.ts"
import type { InstanceSet } from "../../../src/registry/model/InstanceSet.ts"
import * as Service from "../../../src/registry/model/Service.ts"
import { discover, discoverChanges, getInstances, listServices, registerService } from "../../../mod.ts"
import { etcdctl, type EtcdServer, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually, freePort } from "../../harness/real.ts"
import {
  freshNamespace,
  ids,
  isLiveWith,
  leasesIn,
  observer,
  quiet,
  recorded,
  registryAt
} from "../registration/support.ts"

/** Bytes in use after garbage collection. */
const heapInUse = (): number => {
  const { Bun } = globalThis as { readonly Bun?: { readonly gc: (now: boolean) => void } }
  if (Bun === undefined) {
    v8.setFlagsFromString("--expose-gc")
    const gc: () => void = vm.runInNewContext("gc")
    gc()
  } else {
    Bun.gc(true)
  }
  return process.memoryUsage().heapUsed
}

describe("consumers of discover", () => {
  live(
    "discover gives slow consumers the newest of 10,000 changes in constant memory (D5)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        const etcd = yield* observer(server)
        const { id: lease } = yield* etcd.leaseGrant({ ttl: 600 })
        const all = Array.from({ length: 20 }, (_, index) => `i${10 + index}`)
        // Each change is a new text of 10 kB: 100 MB if all were retained.
        const padding = "x".repeat(10_000)
        const write = (round: number) =>
          etcd.txn({
            then: all.map((id): RequestOp => ({
              _tag: "Put",
              request: {
                key: `${namespace}/orders/${id}`,
                value: JSON.stringify({
                  endpoints: ["http://a:1"],
                  weight: round,
                  metadata: { padding: padding + round }
                }),
                lease
              }
            }))
          })
        yield* Effect.gen(function* () {
          const seen: Array<{ readonly revision: bigint; readonly weights: ReadonlyArray<number> }> = []
          const gate = yield* Deferred.make<void>()
          const stopped = yield* Deferred.make<void>()
          const slow = yield* discover("orders").pipe(
            Stream.filter(({ size }) => size > 0),
            Stream.tap((set) =>
              Effect.sync(() =>
                seen.push({ revision: set.revision, weights: set.instances.map(({ weight }) => weight) })
              )
            ),
            Stream.tap(() => Effect.andThen(Deferred.succeed(stopped, undefined), Deferred.await(gate))),
            Stream.takeUntil((set) => set.instances[0]?.weight === 520),
            Stream.runDrain,
            Effect.forkScoped
          )
          // A fast consumer beside it shows which changes have arrived.
          let newest: InstanceSet | undefined
          yield* discover("orders").pipe(
            Stream.runForEach((set) =>
              Effect.sync(() => {
                newest = set
              })
            ),
            Effect.forkScoped
          )
          const arrived = (round: number) =>
            eventually(
              Effect.suspend(() =>
                newest?.instances[0]?.weight === round ? Effect.void : Effect.fail(`${newest?.instances[0]?.weight}`)
              )
            )
          for (let round = 1; round <= 20; round++) yield* write(round)
          yield* arrived(20)
          yield* Deferred.await(stopped)
          const before = heapInUse()
          let revision = 0n
          for (let round = 21; round <= 520; round++) revision = (yield* write(round)).header.revision
          yield* arrived(520)
          const growth = heapInUse() - before
          assert.ok(growth < 15e6, `${Math.round(growth / 1e6)} MB more after 10,000 changes`)
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.join(slow)
          // The set that it was processing, at most one in between, and the newest.
          assert.ok(seen.length <= 3, `${seen.length} sets`)
          assert.deepEqual(seen.at(-1), { revision, weights: all.map(() => 520) })
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
      })
  )

  live(
    "discover shares one watch per service and schema, and late consumers get the set at once (D6)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const namespace = freshNamespace()
        const watchers = (wanted: number) =>
          eventually(
            Effect.flatMap(
              server.metric("etcd_debugging_mvcc_watcher_total"),
              (now) => now === wanted ? Effect.void : Effect.fail(`${now} watchers`)
            )
          )
        yield* Effect.gen(function* () {
          const registration = yield* registerService("orders", { id: "a", endpoints: ["a:1"] })
          const first = yield* recorded(discover("orders"))
          yield* first.until(isLiveWith("a"))
          yield* watchers(2)
          const reads = yield* server.metric("grpc_server_started_total", `grpc_method="Range"`)
          yield* Effect.scoped(Effect.gen(function* () {
            const others = yield* Effect.forEach(Array.from({ length: 9 }), () => recorded(discover("orders")))
            const changes = yield* recorded(discoverChanges("orders"))
            for (const other of others) {
              const set = yield* other.until(() => true)
              assert.equal(set.instances[0], first.latest().instances[0], "it is the very same instance")
            }
            assert.deepEqual((yield* changes.until(() => true))._tag, "Added")
            yield* registration.update({ weight: 2 })
            for (const other of others) yield* other.until((set) => set.instances[0]?.weight === 2)
            const updated = yield* changes.until(({ _tag }) => _tag === "Updated")
            assert.ok(updated._tag === "Updated")
            assert.deepEqual([updated.previous.weight, updated.instance.weight], [1, 2])
            assert.equal(yield* server.metric("grpc_server_started_total", `grpc_method="Range"`), reads)
            yield* watchers(2)

            // Other options, or another definition, use another watch.
            const typed = yield* recorded(discover(Service.make("orders", { metadata: Schema.Struct({}) })))
            yield* typed.until(isLiveWith("a"))
            const patient = yield* recorded(discover("orders", { progressEvery: "20 seconds" }))
            yield* patient.until(isLiveWith("a"))
            yield* watchers(4)
          }))
          yield* watchers(2)
          assert.deepEqual(ids(first.latest()), ["a"])
        }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
        yield* watchers(0)
      })
  )

  live("discover leaves nothing behind after many short consumers (D11)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const namespace = freshNamespace()
      yield* Effect.gen(function* () {
        for (let round = 0; round < 20; round++) {
          yield* discover(`service-${round % 3}`).pipe(Stream.take(1), Stream.runDrain)
          yield* Effect.forkChild(Stream.runDrain(discover("orders")), { startImmediately: true }).pipe(
            Effect.flatMap((fiber) => Effect.andThen(Effect.sleep(round), Fiber.interrupt(fiber)))
          )
        }
        yield* eventually(Effect.flatMap(server.metric("etcd_debugging_mvcc_watcher_total"), (now) =>
          now === 0 ? Effect.void : Effect.fail(`${now} watchers`)))
      }).pipe(Effect.scoped, Effect.provide(registryAt(server.endpoint, { namespace })))
    }))
})

describe("refusals", () => {
  const secured = Effect.gen(function* () {
    const server = yield* startEtcd()
    const run = (...args: ReadonlyArray<string>) => etcdctl(server, ...args)
    yield* run("user", "add", "root:root")
    yield* run("user", "grant-role", "root", "root")
    yield* run("role", "add", "reader")
    yield* run("role", "grant-permission", "reader", "--prefix=true", "read", "/readable/")
    yield* run("user", "add", "reader:secret")
    yield* run("user", "grant-role", "reader", "reader")
    yield* run("auth", "enable")
    return server
  })
  const as = (server: EtcdServer, namespace: string, password = "secret") =>
    registryAt(server.endpoint, { namespace, username: "reader", password: Redacted.make(password) })

  live(
    "discover, getInstances and listServices fail with DiscoveryRefused without read permission (D7)",
    () =>
      Effect.gen(function* () {
        const server = yield* secured
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          const errors = [
            yield* Effect.flip(yield* sets.ended),
            yield* Effect.flip(getInstances("orders")),
            yield* Effect.flip(Stream.runDrain(discoverChanges("orders")))
          ]
          for (const error of errors) {
            assert.ok(error._tag === "DiscoveryRefused")
            assert.deepEqual([error.prefix, error.cause.reason._tag], ["/closed/orders/", "PermissionDenied"])
            assert.match(error.message, /cannot discover "\/closed\/orders\/": etcd range .*PermissionDenied/)
          }
          const all = yield* Effect.flip(listServices())
          assert.ok(all._tag === "DiscoveryRefused")
          assert.deepEqual([all.prefix, all.cause.reason._tag], ["/closed/", "PermissionDenied"])
          assert.deepEqual(sets.all, [])
          // A refusal is not cached.
          const again = yield* Effect.flip(Stream.runDrain(discover("orders")))
          assert.equal(again._tag, "DiscoveryRefused")
        }).pipe(Effect.scoped, Effect.provide(as(server, "/closed")))
      }).pipe(Effect.provide(quiet))
  )

  live(
    "registerService fails with RegistrationRefused without write permission, and leaves no lease (R6)",
    () =>
      Effect.gen(function* () {
        const server = yield* secured
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          yield* sets.until(isLiveWith())
          const error = yield* Effect.flip(registerService("orders", { id: "a", endpoints: ["a:1"] }))
          assert.ok(error._tag === "RegistrationRefused")
          assert.ok(error.cause._tag === "EtcdError")
          assert.deepEqual([error.key, error.cause.reason._tag], ["/readable/orders/a", "PermissionDenied"])
          assert.match(error.message, /cannot register "\/readable\/orders\/a": etcd txn.*PermissionDenied/)
          assert.deepEqual(sets.all.map(ids), [[]])
        }).pipe(Effect.scoped, Effect.provide(as(server, "/readable")))
        yield* etcdctl(server, "--user=root:root", "auth", "disable")
        assert.deepEqual(yield* leasesIn(server), [])
      }).pipe(Effect.provide(quiet))
  )

  live(
    "registerService and discover fail with Unauthenticated for a wrong password, which no message contains",
    () =>
      Effect.gen(function* () {
        const server = yield* secured
        yield* Effect.gen(function* () {
          const refused = yield* Effect.flip(getInstances("orders"))
          assert.ok(refused._tag === "DiscoveryRefused")
          const ended = yield* Effect.flip(Stream.runDrain(discover("orders")))
          assert.ok(ended._tag === "DiscoveryRefused")
          const error = yield* Effect.flip(registerService("orders", { endpoints: ["a:1"] }))
          assert.ok(error._tag === "RegistrationRefused" && error.cause._tag === "EtcdError")
          for (const { cause, message } of [refused, ended, { ...error, cause: error.cause, message: error.message }]) {
            assert.equal(cause.reason._tag, "Unauthenticated")
            assert.ok(!message.includes("hunter2") && !String(cause.stack).includes("hunter2"))
          }
        }).pipe(Effect.scoped, Effect.provide(as(server, "/readable", "hunter2")))
      }).pipe(Effect.provide(quiet))
  )
})

describe("unreachable etcd", () => {
  live(
    "getInstances and listServices fail if etcd is unreachable; discover waits without an element (D1)",
    () =>
      Effect.gen(function* () {
        const endpoint = `http://127.0.0.1:${yield* freePort}`
        yield* Effect.gen(function* () {
          const sets = yield* recorded(discover("orders"))
          for (const read of [Effect.asVoid(getInstances("orders")), Effect.asVoid(listServices())]) {
            const error = yield* Effect.flip(read)
            assert.ok(error._tag === "DiscoveryRefused")
            assert.equal(error.cause.reason._tag, "Unavailable")
            assert.equal(error.cause.endpoint, endpoint)
          }
          assert.deepEqual(sets.all, [])
        }).pipe(Effect.scoped, Effect.provide(registryAt(endpoint)))
      }).pipe(Effect.provide(quiet))
  )
})

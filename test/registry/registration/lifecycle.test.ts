import { Effect, Option, Tracer } from "effect"
import assert from "node:assert/strict"
import { discover, getInstances, registerService } from "../../../mod.ts"
import { RegistrationStatus } from "../../../src/registry/registration/Registration.ts"
import { eachSharedEtcd, etcdctl } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { recordingTracer } from "../../harness/tracer.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"
import {
  assertNothingLeft,
  freshNamespace,
  ids,
  isLiveWith,
  keysIn,
  observer,
  recorded,
  registryAt,
  statusesOf,
  trafficOf
} from "./support.ts"

describe("registerService and discover", () => {
  eachSharedEtcd((server) => {
    live(
      "registerService is a span of an installed tracer, with its calls to etcd as child spans",
      () =>
        Effect.gen(function* () {
          const { spans, tracer } = recordingTracer()
          yield* registerService("orders", { endpoints: ["10.0.0.5:9090"] }).pipe(
            Effect.scoped,
            Effect.provide(registryAt(server().endpoint, { namespace: freshNamespace() })),
            Effect.provideService(Tracer.Tracer, tracer)
          )
          const within = ({ parent }: Tracer.NativeSpan) =>
            Option.match(parent, { onNone: () => "", onSome: (span) => span._tag === "Span" ? span.name : span.spanId })
          const seen = spans.map((span) => `${within(span)} > ${span.name} ${span.kind} ${span.status._tag}`)
          // A claim that etcd handled before the grant was sent again.
          assert.deepEqual([seen[0], [...new Set(seen.slice(1, 3))].sort()], [
            " > registerService internal Ended",
            ["registerService > etcd.leaseGrant client Ended", "registerService > etcd.txn client Ended"]
          ])
          assert.deepEqual(spans[0] && Object.fromEntries(spans[0].attributes), { service: "orders" })
        })
    )

    live(
      "registerService, update, drain and release change etcd, and discover emits each (R1, R2, R5)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const etcd = yield* observer(server())
          const traffic = yield* trafficOf(etcd, `${namespace}/`)
          const key = `${namespace}/orders/10.0.0.5:8080`
          const first = {
            id: "10.0.0.5:8080",
            name: "orders",
            version: "1.0.0",
            metadata: { shard: "1" },
            endpoints: ["http://10.0.0.5:8080", "tcp://10.0.0.5:9090"],
            weight: 2.5,
            zone: "eu-1",
            status: "up"
          } as const
          const second = { ...first, metadata: { shard: "2" }, weight: 0, version: "1.1.0", status: "down" } as const
          const third = { ...second, weight: 1, status: "up" } as const
          const last = { ...third, status: "draining" } as const

          yield* Effect.gen(function* () {
            const sets = yield* recorded(discover("orders"))
            const empty = yield* sets.until(() => true)
            assert.deepEqual(
              { size: empty.size, instances: [...empty], freshness: empty.freshness._tag, rejected: empty.rejected },
              { size: 0, instances: [], freshness: "Live", rejected: [] }
            )

            const statuses = yield* Effect.scoped(Effect.gen(function* () {
              const registration = yield* registerService("orders", {
                id: "10.0.0.5:8080",
                version: "1.0.0",
                metadata: { shard: "1" },
                endpoints: ["http://10.0.0.5:8080", "10.0.0.5:9090"],
                weight: 2.5,
                zone: "eu-1"
              })
              // Another client reads it at once: registerService promises that when it completes.
              const [shown, ...others] = yield* keysIn(server(), namespace)
              assert.ok(shown)
              assert.deepEqual(others, [])
              assert.equal(shown.key, key)
              assert.equal(shown.value, JSON.stringify(first))
              assert.notEqual(shown.lease, 0n)
              assert.equal(registration.key, key)
              assert.deepEqual(registration.instance, first)
              assert.deepEqual(yield* registration.leaseId, Option.some(shown.lease))
              assert.deepEqual(
                yield* registration.status.get,
                RegistrationStatus.Registered({ leaseId: shown.lease, revision: shown.revision })
              )
              assert.match(
                yield* etcdctl(server(), "lease", "timetolive", "--keys", shown.lease.toString(16)),
                /granted with TTL\(15s\).*attached keys\(\[.*10\.0\.0\.5:8080\]\)/
              )
              const seen = yield* sets.until((set) => set.size === 1)
              assert.deepEqual(seen.instances, [first])
              assert.equal(seen.revision, shown.revision)
              assert.deepEqual(seen.endpoints, first.endpoints)

              const statuses = yield* statusesOf(registration)
              yield* registration.update({ metadata: { shard: "2" }, weight: 0, version: "1.1.0", status: "down" })
              assert.deepEqual((yield* keysIn(server(), namespace)).map(({ lease, value }) => ({ lease, value })), [
                { lease: shown.lease, value: JSON.stringify(second) }
              ])
              assert.deepEqual(registration.instance, second)
              const down = yield* sets.until((set) => set.instances[0]?.status === "down")
              assert.deepEqual([down.instances, down.available, down.endpoints], [[second], [], []])

              yield* registration.update({ status: "up", weight: 1 })
              const up = yield* sets.until((set) => set.available.length === 1)
              assert.deepEqual(up.instances, [third])

              yield* registration.drain
              assert.deepEqual((yield* keysIn(server(), namespace)).map(({ value }) => value), [JSON.stringify(last)])
              assert.deepEqual(yield* registration.status.get, RegistrationStatus.Draining())
              const draining = yield* sets.until((set) => set.instances[0]?.status === "draining")
              assert.deepEqual([draining.instances, draining.available], [[last], []])
              return statuses
            }))
            assert.deepEqual(statuses.latest()._tag, "Draining") // the recording ended with the inner scope
            yield* assertNothingLeft(server(), namespace)
            const gone = yield* sets.until((set) => set.size === 0)
            assert.deepEqual([gone.instances, gone.freshness._tag], [[], "Live"])
            const revisions = sets.all.map(({ revision }) => revision)
            assert.deepEqual(revisions, revisions.toSorted((a, b) => a < b ? -1 : 1))
          }).pipe(Effect.provide(registryAt(server().endpoint, { namespace })))

          yield* traffic.until(({ type }) => type === "delete")
          assert.deepEqual(traffic.events, [
            ...[first, second, third, last].map((value) => ({ type: "put", key, value: JSON.stringify(value) })),
            { type: "delete", key, value: "" }
          ])
        })
    )

    live(
      "registerService writes defaults for missing options, under a generated id",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          yield* Effect.gen(function* () {
            const one = yield* registerService("orders", { endpoints: ["a:1"] })
            const two = yield* registerService("orders", { endpoints: ["a:1"] })
            assert.notEqual(one.instance.id, two.instance.id)
            assert.deepEqual(
              (yield* keysIn(server(), namespace)).map(({ key, value }) => ({ key, value })),
              [one, two].map(({ instance: { id } }) => ({
                key: `${namespace}/orders/${id}`,
                value: JSON.stringify({
                  id,
                  name: "orders",
                  metadata: {},
                  endpoints: ["tcp://a:1"],
                  weight: 1,
                  status: "up"
                })
              })).toSorted((a, b) => a.key < b.key ? -1 : 1)
            )
          }).pipe(Effect.scoped, Effect.provide(registryAt(server().endpoint, { namespace })))
          yield* assertNothingLeft(server(), namespace)
        })
    )

    live(
      "release publishes draining, waits for drain, and then deletes the key (R5)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          const etcd = yield* observer(server())
          const traffic = yield* trafficOf(etcd, `${namespace}/`)
          const statuses = yield* Effect.gen(function* () {
            const statuses = yield* Effect.scoped(
              Effect.gen(function* () {
                const registration = yield* registerService("orders", { endpoints: ["a:1"], drain: "400 millis" })
                return registration.status.changes
              })
            )
            return yield* recorded(statuses)
          }).pipe(Effect.provide(registryAt(server().endpoint, { namespace })))
          const drainedAt = yield* traffic.until(({ value }) => value.includes("draining"))
          const deletedAt = yield* traffic.until(({ type }) => type === "delete")
          assert.deepEqual(
            traffic.events.map(({ type, value }) =>
              type === "put" ? (JSON.parse(value) as { readonly status: string }).status : type
            ),
            ["up", "draining", "delete"]
          )
          assert.ok(deletedAt.at - drainedAt.at >= 350, `${deletedAt.at - drainedAt.at} ms`)
          yield* statuses.ended
          assert.deepEqual(statuses.all, [RegistrationStatus.Released()])
          yield* assertNothingLeft(server(), namespace)
        })
    )

    live(
      "Registration.update fails after release, the status is Released, and nothing is written",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          yield* Effect.gen(function* () {
            const registration = yield* Effect.scoped(registerService("orders", { endpoints: ["a:1"] }))
            assert.deepEqual(yield* registration.status.get, RegistrationStatus.Released())
            assert.deepEqual(yield* registration.leaseId, Option.none())
            const error = yield* Effect.flip(registration.update({ weight: 3 }))
            assert.deepEqual(
              { ...error },
              {
                _tag: "InvalidOption",
                of: "Registration.update",
                option: "scope",
                value: "closed",
                rule: "a registration can be changed while its scope is open"
              }
            )
            yield* registration.drain
            yield* assertNothingLeft(server(), namespace)
          }).pipe(Effect.provide(registryAt(server().endpoint, { namespace })))
        })
    )

    live(
      "100 registrations and 50 discoveries share one connection and one stream each (R9, D6)",
      () =>
        Effect.gen(function* () {
          const namespace = freshNamespace()
          // A silent stream is probed, maybe with one more watch for a moment. This one is not silent for that long.
          const progressEvery = "30 seconds"
          const proxy = yield* makeProxy(server())
          const streams = (name: string, what: string) =>
            server().metric(`grpc_server_${what}_total`, `grpc_method="${name}"`)
          const open = server().metric("etcd_debugging_mvcc_watcher_total")
          const before = {
            keepalives: yield* streams("LeaseKeepAlive", "started"),
            watches: yield* streams("Watch", "started"),
            watchers: yield* open,
            heartbeats: yield* streams("LeaseKeepAlive", "msg_received")
          }
          const untilWatchers = (wanted: number) =>
            eventually(Effect.flatMap(open, (now) => now - before.watchers === wanted ? Effect.void : Effect.fail(now)))
          yield* Effect.gen(function* () {
            // The client connects now. While it does, a call may take too long on a busy machine, and be followed by a probe.
            yield* eventually(getInstances("orders"))
            const accepted = yield* proxy.accepted
            yield* Effect.gen(function* () {
              const registrations = yield* Effect.forEach(
                Array.from({ length: 100 }, (_, index) => `i${String(index).padStart(3, "0")}`),
                (id) => registerService("orders", { id, endpoints: ["a:1"], ttl: "1 minute", heartbeat: "500 millis" }),
                { concurrency: "unbounded" }
              )
              const all = registrations.map(({ instance }) => instance.id)
              assert.deepEqual(
                (yield* keysIn(server(), namespace)).map(({ key }) => key),
                all.map((id) => `${namespace}/orders/${id}`)
              )
              assert.equal(new Set((yield* keysIn(server(), namespace)).map(({ lease }) => lease)).size, 100)
              // One watch per key.
              yield* untilWatchers(9)

              yield* Effect.scoped(Effect.gen(function* () {
                const readers = yield* Effect.forEach(
                  Array.from({ length: 50 }),
                  () => recorded(discover("orders", { progressEvery })),
                  { concurrency: "unbounded" }
                )
                for (const reader of readers) {
                  const set = yield* reader.until(({ size }) => size === 100)
                  assert.deepEqual(ids(set), all)
                }
                yield* untilWatchers(10)
                // So every lease was renewed, four times.
                yield* eventually(
                  Effect.gen(function* () {
                    const sent = (yield* streams("LeaseKeepAlive", "msg_received")) - before.heartbeats
                    if (sent < 400) return yield* Effect.fail(`${sent} heartbeats`)
                  }),
                  { every: 100 }
                )
                assert.equal((yield* keysIn(server(), namespace)).length, 100)
                assert.equal((yield* open) - before.watchers, 10)
              }))
              // Its last consumer has left, so its watch closes soon. The others stay.
              yield* untilWatchers(9)
              assert.deepEqual(
                {
                  keepalives: (yield* streams("LeaseKeepAlive", "started")) - before.keepalives,
                  watches: (yield* streams("Watch", "started")) - before.watches,
                  accepted: (yield* proxy.accepted) - accepted,
                  connections: yield* proxy.connections
                },
                { keepalives: 1, watches: 1, accepted: 0, connections: 1 }
              )
            }).pipe(Effect.scoped)
            yield* assertNothingLeft(server(), namespace)
          }).pipe(
            Effect.provide(registryAt(proxy.endpoint, { namespace, progressEvery, requestTimeout: "30 seconds" }))
          )
          yield* untilWatchers(0)
          yield* eventually(
            Effect.flatMap(proxy.connections, (left) => left === 0 ? Effect.void : Effect.fail(`${left} connections`))
          )
        })
    )

    live("discover of hello does not include helloworld", () =>
      Effect.gen(function* () {
        const namespace = freshNamespace()
        yield* Effect.gen(function* () {
          const hello = yield* recorded(discover("hello"))
          const world = yield* recorded(discover("helloworld"))
          yield* registerService("helloworld", { id: "w", endpoints: ["a:1"] })
          yield* world.until(isLiveWith("w"))
          yield* registerService("hello", { id: "h", endpoints: ["a:1"] })
          assert.deepEqual(ids(yield* hello.until(({ size }) => size > 0)), ["h"])
          const later = yield* recorded(discover("hello"))
          assert.deepEqual(ids(yield* later.until(() => true)), ["h"])
          // Not even an equal set at another revision.
          assert.deepEqual(hello.all.map(ids), [[], ["h"]])
        }).pipe(Effect.scoped, Effect.provide(registryAt(server().endpoint, { namespace })))
      }))
  })
})

import { Effect, Schema } from "effect"
import assert from "node:assert/strict"
import { discover, registerService, Registry } from "../../../mod.ts"
import * as ConfigRef from "../../../src/config/ConfigRef.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import { type EtcdServer, startEtcd } from "../../harness/EtcdServer.ts"
import { type FrontKind, startFront } from "../../harness/Front.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { checks } from "../../kv/checks.ts"
import { ids, recorded } from "../../registry/registration/support.ts"
import { watching } from "./support.ts"

const kinds: ReadonlyArray<FrontKind> = ["gateway", "grpc-proxy"]

const behind = Effect.fnUntraced(function* (kind: FrontKind) {
  const server = yield* startEtcd()
  const front = yield* startFront(kind, server)
  return { server, endpoints: [front.endpoint], layer: EtcdGrpc.layer({ endpoints: [front.endpoint] }) }
})

/** A client of the server itself. */
const direct = (server: EtcdServer) => EtcdGrpc.make({ endpoints: [server.endpoint] })

for (const kind of kinds) {
  describe(`EtcdGrpc behind etcd ${kind}`, () => {
    live(`watches behind ${kind} receive the events of their own ranges only`, () =>
      Effect.gen(function* () {
        const { endpoints, server } = yield* behind(kind)
        const etcd = yield* EtcdGrpc.make({ endpoints })
        // So many that grpc-proxy answers creations in another order if several are in flight.
        const names = Array.from({ length: 200 }, (_, index) => `w${index}/`)
        // The proxy answers a creation before its own watch is open, so a watch without a start revision loses a write
        // in between.
        const startRevision = (yield* etcd.range({ key: "w" })).header.revision + 1n
        const watches = yield* Effect.forEach(names, (name) => watching(etcd, { ...prefix(name), startRevision }))
        yield* Effect.forEach(watches, ({ created }) => created)
        const operator = yield* direct(server)
        yield* Effect.forEach(names, (name) => operator.put({ key: `${name}a`, value: name }))
        yield* Effect.forEach(watches, (watch) => watch.until(({ _tag }) => _tag === "Events"))
        assert.deepEqual(watches.map(({ events }) => events), names.map((name) => [[`${name}a`, name]]))
      }))

    live(`an idle watch behind ${kind} stays open and still receives events`, () =>
      Effect.gen(function* () {
        const { endpoints, server } = yield* behind(kind)
        const etcd = yield* EtcdGrpc.make({ endpoints })
        const { header } = yield* etcd.range({ key: "a" })
        const quick = { progressEvery: "200 millis", progressTimeout: "2 seconds" } as const
        const watch = yield* watching(etcd, { key: "a", startRevision: header.revision + 1n, ...quick })
        yield* watch.created
        yield* Effect.sleep("3 seconds")
        assert.equal(watch.error, undefined)
        yield* (yield* direct(server)).put({ key: "a", value: "1" })
        yield* watch.until(({ _tag }) => _tag === "Events")
        assert.deepEqual(watch.events, [["a", "1"]])
      }))

    live(
      `registerService and discover behind ${kind} keep their instances, and update changes one (R1, R2, R5)`,
      () =>
        Effect.gen(function* () {
          const { endpoints, server } = yield* behind(kind)
          yield* Effect.gen(function* () {
            const sets = yield* recorded(discover("orders"))
            const others = yield* recorded(discover("payments"))
            yield* Effect.scoped(Effect.gen(function* () {
              const options = { endpoints: ["http://10.0.0.1:80"], ttl: "3 seconds" } as const
              const a = yield* registerService("orders", { id: "a", ...options })
              const b = yield* registerService("orders", { id: "b", ...options })
              yield* registerService("payments", { id: "p", ...options })
              yield* sets.until(({ size }) => size === 2)
              yield* others.until(({ size }) => size === 1)
              yield* a.update({ weight: 7 })
              yield* sets.until((set) => set.instances.some(({ id, weight }) => id === "a" && weight === 7))
              // Longer than the TTL: heartbeats keep the leases.
              yield* Effect.sleep("5 seconds")
              assert.deepEqual([(yield* a.status.get)._tag, (yield* b.status.get)._tag], ["Registered", "Registered"])
              const { count } = yield* (yield* direct(server)).range(prefix("/services/"))
              assert.equal(count, 3n)
            }))
            assert.deepEqual(ids(yield* sets.until(({ size }) => size === 0)), [])
            assert.deepEqual(ids(yield* others.until(({ size }) => size === 0)), [])
          }).pipe(Effect.provide(Registry.layerEtcd({ endpoints })))
        })
    )

    live(`ConfigRef behind ${kind} follows its own key only`, () =>
      Effect.gen(function* () {
        const { layer, server } = yield* behind(kind)
        const operator = yield* direct(server)
        yield* operator.put({ key: "/cfg/timeout", value: "1" })
        yield* operator.put({ key: "/cfg/replicas", value: "100" })
        yield* Effect.gen(function* () {
          const timeout = yield* ConfigRef.make("/cfg/timeout", Schema.Int)
          const replicas = yield* ConfigRef.make("/cfg/replicas", Schema.Int)
          const valueOf = (ref: typeof timeout) =>
            Effect.map(ref.get, (state) => state._tag === "Present" ? state.value : undefined)
          yield* operator.put({ key: "/cfg/replicas", value: "200" })
          yield* eventually(Effect.filterOrFail(valueOf(replicas), (value) => value === 200, (value) => value))
          assert.equal(yield* valueOf(timeout), 1)
          yield* operator.put({ key: "/cfg/timeout", value: "2" })
          yield* eventually(Effect.filterOrFail(valueOf(timeout), (value) => value === 2, (value) => value))
          assert.equal(yield* valueOf(replicas), 200)
        }).pipe(Effect.provide(layer))
      }))

    live(`every check of Kv passes behind ${kind}`, () =>
      Effect.gen(function* () {
        const { layer } = yield* behind(kind)
        for (const [index, { body, title }] of checks.entries()) {
          // The proxy answers a heartbeat when its own next heartbeat is due, so it reports a revoked lease later.
          if (kind === "grpc-proxy" && title.startsWith("Lease.grant")) continue
          yield* Effect.scoped(body(`/kv-${index}/`)).pipe(
            Effect.provide(layer),
            Effect.mapError((error) => new Error(`${title}: ${error}`, { cause: error })),
            Effect.catchDefect((defect) => Effect.fail(new Error(`${title}: ${defect}`, { cause: defect })))
          )
        }
      }))
  })
}

import { Effect, Option, Stream } from "effect"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { Kv, Lease } from "../../src/kv/mod.ts"
import { eachEtcd, etcdctl, startEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { makeProxy } from "../harness/Proxy.ts"
import { eventually } from "../harness/real.ts"
import { reader, revisionNow } from "./checks.ts"

const at = ({ endpoint }: { readonly endpoint: string }) => Effect.provide(EtcdGrpc.layer({ endpoints: [endpoint] }))

const quick = { progressEvery: "1 second", progressTimeout: "2 seconds" } as const

const show = (event: Kv.Event<string>): string => {
  switch (event._tag) {
    case "Listed":
      return `${event.relisted ? "Relisted" : "Listed"} ${event.entries.map(({ key, value }) => `${key}=${value}`)}`
    case "Put":
      return `${event.entry.key}=${event.entry.value}`
    case "Deleted":
      return `-${event.key}`
    case "Rejected":
      return event.error.message
  }
}

const watched = Stream.map(Kv.watch(Kv.prefix("/app/"), quick), show)

/** The events up to one, inclusive. */
const until = <E>(next: Effect.Effect<string, E>, last: string): Effect.Effect<ReadonlyArray<string>, E> =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    while (seen.at(-1) !== last) seen.push(yield* next)
    return seen
  })

describe("Kv.watch", () => {
  eachEtcd((version) => {
    live("Kv.watch loses and repeats nothing when etcd is killed and started again", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        yield* Effect.gen(function* () {
          yield* Kv.put("/app/a", "1")
          const next = yield* reader(watched)
          assert.equal(yield* next, "Listed /app/a=1")
          yield* Kv.put("/app/a", "2")
          yield* server.kill("SIGKILL")
          yield* server.start
          yield* etcdctl(server, "put", "/app/b", "1")
          yield* etcdctl(server, "del", "/app/a")
          assert.deepEqual(yield* until(next, "-/app/a"), ["/app/a=2", "/app/b=1", "-/app/a"])
        }).pipe(at(server))
      }))

    live("Kv.watch relists if history was compacted while it was disconnected", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const proxy = yield* makeProxy(server)
        yield* Effect.gen(function* () {
          const next = yield* reader(watched)
          assert.equal(yield* next, "Listed ")
          yield* proxy.refuse
          yield* proxy.reset
          yield* Effect.gen(function* () {
            yield* Kv.put("/app/a", "1")
            yield* Kv.put("/app/b", "1")
            yield* Kv.delete("/app/a")
            yield* etcdctl(server, "compact", String(yield* revisionNow))
          }).pipe(at(server))
          yield* proxy.accept
          assert.equal(yield* next, "Relisted /app/b=1")
          yield* Kv.put("/app/b", "2")
          assert.equal(yield* next, "/app/b=2")
        }).pipe(at(proxy))
      }))
  })
})

describe("Lease", () => {
  /** One heartbeat of a program without sessions: it puts its key, and puts it again after the lease was lost. */
  const registration = () => {
    let lease: bigint | undefined
    const register = Effect.gen(function* () {
      const { id } = yield* Lease.grant("4 seconds")
      yield* Kv.put("/app/node", "10.0.0.5", { lease: id })
      lease = id
      return id
    })
    return Effect.suspend(() => lease === undefined ? register : Effect.as(Lease.keepAliveOnce(lease), lease)).pipe(
      Effect.catchIf(
        (error) => error._tag === "EtcdError" && error.reason._tag === "LeaseNotFound",
        () => register
      )
    )
  }

  const leaseOf = (key: string) => Effect.map(Kv.get(key), Option.map(({ lease }) => lease))

  eachEtcd((version) => {
    live(
      "Lease.grant expires without heartbeats, Lease.make does not",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          const gone = Effect.flatMap(Kv.exists("/app/node"), (exists) => exists ? Effect.fail("there") : Effect.void)
          yield* Effect.gen(function* () {
            const etcd = yield* Etcd
            const kept = yield* Lease.make("5 seconds")
            const keptSince = performance.now()
            yield* Kv.put("/app/kept", "10.0.0.6", { lease: kept })
            const heartbeat = registration()
            const began = performance.now()
            const first = yield* heartbeat
            assert.equal(yield* heartbeat, first)
            assert.deepEqual(yield* leaseOf("/app/node"), Option.some(first))
            // trouble.test.ts checks the exact time on the engine's clock.
            yield* eventually(Effect.provideService(gone, Etcd, etcd))
            assert.ok(performance.now() - began >= 3990, `${performance.now() - began} ms`)
            const second = yield* heartbeat
            assert.notEqual(second, first)
            assert.deepEqual(yield* leaseOf("/app/node"), Option.some(second))
            assert.equal(yield* heartbeat, second)

            // Without a heartbeat, the remaining time plus the time since the grant is at most 5 seconds.
            yield* eventually(Effect.filterOrFail(
              etcd.leaseTimeToLive({ id: kept.id }),
              ({ ttl }) => ttl + Math.floor((performance.now() - keptSince) / 1000) > 5,
              ({ ttl }) => `${ttl} seconds are left`
            ))
            assert.deepEqual(yield* leaseOf("/app/kept"), Option.some(kept.id))
            yield* Lease.revoke(kept)
            const cause = yield* kept.lost
            assert.equal(cause.reason._tag, "LeaseNotFound")
          }).pipe(Effect.scoped, at(server))
        })
    )
  })
})

import { Clock, Effect, Exit, Fiber, Latch, Option, Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { RequestOp } from "../../../src/etcd/messages/kv.ts"
import type { WatchResponse } from "../../../src/etcd/messages/watch.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { clockWith } from "../../harness/clock.ts"
import { eachEtcd, eachSharedEtcd, type EtcdServer, startCluster, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"
import { connectedToFirst, failureOf, text, timed, watching } from "./support.ts"

const put = (key: string, value: string | Uint8Array): RequestOp => ({ _tag: "Put", request: { key, value } })

/** The number of streams of one kind that clients have ever opened on the server. */
const opened = (server: EtcdServer, method: "LeaseKeepAlive" | "Watch") =>
  server.metric("grpc_server_started_total", `grpc_method="${method}"`)

/** A signal takes a moment to arrive; until then the server still answers. */
const pause = (server: EtcdServer) => Effect.andThen(server.pause, Effect.sleep("100 millis"))

/** A server that is not silent has 2 seconds to answer. */
const quick = { progressEvery: "300 millis", progressTimeout: "2 seconds" } as const

describe("EtcdGrpc heartbeats", () => {
  eachSharedEtcd((server) => {
    live("leaseKeepAlive renews 300 leases on one stream and one connection", () =>
      Effect.gen(function* () {
        const proxy = yield* makeProxy(server())
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
        const before = yield* opened(server(), "LeaseKeepAlive")
        const ids = Array.from({ length: 300 }, (_, i) => 1_000n + BigInt(i))
        yield* Effect.forEach(ids, (id) => etcd.leaseGrant({ id, ttl: 30 }), { concurrency: 20 })
        for (let round = 0; round < 2; round++) {
          const answers = yield* Effect.forEach(ids, (id) => etcd.leaseKeepAlive({ id }), { concurrency: "unbounded" })
          assert.deepEqual(answers.map(({ id, ttl }) => [id, ttl]), ids.map((id) => [id, 30]))
        }
        assert.equal((yield* opened(server(), "LeaseKeepAlive")) - before, 1)
        assert.equal(yield* proxy.connections, 1)
        yield* Effect.forEach(ids, (id) => etcd.leaseRevoke(id), { concurrency: 20 })
      }))

    live(
      "leaseKeepAlive completes 5,000 concurrent heartbeats, each with its own lease",
      () =>
        Effect.gen(function* () {
          const etcd = yield* EtcdGrpc.make({ endpoints: [server().endpoint], requestTimeout: "20 seconds" })
          yield* etcd.leaseGrant({ id: 7n, ttl: 30 })
          const answers = yield* Effect.forEach(
            Array.from({ length: 5000 }, (_, i) => i),
            (i) => Effect.exit(etcd.leaseKeepAlive({ id: i % 2 === 0 ? 7n : BigInt(1_000_000 + i) })),
            { concurrency: "unbounded" }
          )
          assert.deepEqual(answers.map(Exit.isSuccess), answers.map((_, i) => i % 2 === 0))
          yield* etcd.leaseRevoke(7n)
        })
    )

    live(
      "an interrupted leaseKeepAlive does not shift the answers of others",
      () =>
        Effect.gen(function* () {
          const etcd = yield* EtcdGrpc.make({ endpoints: [server().endpoint] })
          yield* etcd.leaseGrant({ id: 8n, ttl: 30 })
          yield* etcd.leaseKeepAlive({ id: 8n })
          const fiber = yield* Effect.forkChild(etcd.leaseKeepAlive({ id: 8n }), { startImmediately: true })
          const other = yield* Effect.forkChild(etcd.leaseKeepAlive({ id: 8n }), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          assert.equal((yield* Fiber.join(other)).ttl, 30)
          yield* etcd.leaseRevoke(8n)
        })
    )
  })

  live(
    "leaseKeepAlive fails with DeadlineExceeded while the server hangs, and works afterwards",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], dialTimeout: "2 seconds" })
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.leaseKeepAlive({ id })
        yield* pause(server)
        const patient = yield* Effect.forkChild(failureOf(etcd.leaseKeepAlive({ id, timeout: "10 seconds" })), {
          startImmediately: true
        })
        const [failure, millis] = yield* timed(failureOf(etcd.leaseKeepAlive({ id, timeout: "500 millis" })))
        assert.deepEqual(failure, {
          reason: "DeadlineExceeded",
          detail: "no answer to a heartbeat within 500 ms",
          method: "leaseKeepAlive",
          key: id.toString(16),
          endpoint: server.endpoint
        })
        assert.ok(millis >= 490, `${millis} ms`)
        assert.equal((yield* Fiber.join(patient)).reason, "Unavailable")
        assert.equal((yield* failureOf(etcd.leaseKeepAlive({ id }))).reason, "Unavailable")
        yield* server.resume
        yield* eventually(etcd.leaseKeepAlive({ id }))
      })
  )

  live("leaseKeepAlive moves to another endpoint if the first one is silent", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* connectedToFirst(proxy, server)
      const { id } = yield* etcd.leaseGrant({ ttl: 60 })
      yield* etcd.leaseKeepAlive({ id })
      yield* proxy.blackhole()
      const failure = yield* failureOf(etcd.leaseKeepAlive({ id, timeout: "300 millis" }))
      assert.deepEqual([failure.reason, failure.endpoint], ["DeadlineExceeded", proxy.endpoint])
      assert.equal((yield* etcd.leaseKeepAlive({ id, timeout: "30 seconds" })).ttl, 60)
    }))
})

describe("EtcdGrpc watches", () => {
  eachEtcd((version) => {
    live("watches share one stream, and each receives its own events", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const names = Array.from({ length: 20 }, (_, i) => `w${i}/`)
        const watches = yield* Effect.forEach(names, (name) => watching(etcd, prefix(name)))
        yield* Effect.forEach(watches, (watch) => watch.created)
        yield* Effect.forEach(names, (name) => etcd.put({ key: `${name}a`, value: name }))
        yield* Effect.forEach(watches, (watch) => watch.until(({ _tag }) => _tag === "Events"))
        assert.deepEqual(watches.map(({ events }) => events), names.map((name) => [[`${name}a`, name]]))
        assert.equal(yield* opened(server, "Watch"), 1)
        assert.equal(yield* server.metric("etcd_debugging_mvcc_watcher_total"), 20)
      }))

    live(
      "a client sets its timers fewer than 10 times while 500 watches are created at once",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          const clock = yield* Clock.Clock
          let sleeps = 0
          const counting = clockWith(clock, {
            sleep: (duration) => {
              sleeps += 1
              return clock.sleep(duration)
            }
          })
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] }).pipe(
            Effect.provideService(Clock.Clock, counting)
          )
          yield* etcd.range({ key: "w" })
          sleeps = 0
          const created = yield* Effect.forEach(
            Array.from({ length: 500 }, (_, i) => `w${i}`),
            (key) => Stream.runHead(etcd.watch({ key })),
            { concurrency: "unbounded" }
          )
          assert.deepEqual(
            created.map((first) => Option.map(first, ({ _tag }) => _tag)),
            created.map(() => Option.some("Created"))
          )
          assert.ok(sleeps < 10, `${sleeps} timers`)
        })
    )

    live("an interrupted watch is cancelled on the server, and the others continue", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const stays = yield* watching(etcd, { key: "a" })
        const scope = yield* Scope.make()
        const leaves = yield* watching(etcd, { key: "a" }).pipe(Scope.provide(scope))
        yield* stays.created
        yield* leaves.created
        yield* Scope.close(scope, Exit.void)
        yield* eventually(Effect.gen(function* () {
          const watchers = yield* server.metric("etcd_debugging_mvcc_watcher_total")
          if (watchers !== 1) return yield* Effect.fail(`${watchers} watchers`)
        }))
        yield* etcd.put({ key: "a", value: "1" })
        yield* stays.until(({ _tag }) => _tag === "Events")
        assert.deepEqual([stays.events, leaves.events], [[["a", "1"]], []])
        assert.equal(yield* opened(server, "Watch"), 1)
      }))

    live(
      "an idle watch requests progress every progressEvery, even if it starts in the future (D8)",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
          const { header } = yield* etcd.put({ key: "a", value: "1" })
          const received = server.metric("grpc_server_msg_received_total", `grpc_method="Watch"`)
          const future = yield* watching(etcd, { key: "a", startRevision: header.revision + 1n, ...quick })
          yield* future.created
          const before = yield* received
          // Each probe creates a silent watch and cancels it: two messages.
          const [messages, millis] = yield* timed(
            eventually(Effect.filterOrFail(Effect.map(received, (now) => now - before), (sent) => sent >= 6, String))
          )
          assert.ok(messages <= 2 * (Math.floor(millis / 300) + 1), `${messages} messages in ${millis} ms`)
          assert.deepEqual([future.error, future.responses.length], [undefined, 1])
          yield* etcd.put({ key: "a", value: "2" })
          yield* future.until(({ _tag }) => _tag === "Events")
          assert.equal(yield* server.metric("etcd_debugging_mvcc_watcher_total"), 1)
        })
    )

    live("a watch fails with Compacted and the compact revision", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        yield* etcd.put({ key: "a", value: "1" })
        yield* etcd.put({ key: "a", value: "2" })
        const { header } = yield* etcd.put({ key: "a", value: "3" })
        yield* etcd.compact({ revision: header.revision })
        for (let again = 0; again < 3; again++) {
          const watch = yield* watching(etcd, { key: "a", startRevision: 2n })
          const { key, method, reason } = yield* watch.failure
          assert.deepEqual([method, key, { ...reason }], ["watch", "a", {
            _tag: "Compacted",
            detail: "etcdserver: mvcc: required revision has been compacted",
            compactRevision: header.revision
          }])
        }
        const next = yield* watching(etcd, { key: "a", startRevision: header.revision })
        yield* next.until(({ _tag }) => _tag === "Events")
        assert.deepEqual(next.events, [["a", "3"]])
        assert.equal(yield* opened(server, "Watch"), 1)
      }))

    live("a watch receives a revision larger than a message as one response", () =>
      Effect.gen(function* () {
        const server = yield* startEtcd({ version, args: ["--max-request-bytes", "20000000", "--max-txn-ops", "512"] })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], requestTimeout: "10 seconds" })
        const value = new Uint8Array(40_000).fill(120)
        const ops = Array.from({ length: 200 }, (_, i) => put(`big/${String(i).padStart(3, "0")}`, value))
        yield* etcd.txn({ then: ops })
        // From history, which etcd splits into messages of its request limit, and from now on.
        const proxy = yield* makeProxy(server)
        const small = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
        const past = yield* watching(small, { ...prefix("big/"), startRevision: 2n })
        yield* past.until(({ _tag }) => _tag === "Events")
        yield* etcd.txn({ then: ops })
        yield* past.until((response) => response._tag === "Events" && response.header.revision === 3n)
        const batches = past.responses.flatMap((response) => response._tag === "Events" ? [response.events] : [])
        assert.deepEqual(
          batches.map((events) => [events.length, new Set(events.map(({ kv }) => kv.modRevision)).size]),
          [
            [200, 1],
            [200, 1]
          ]
        )
      }))

    live(
      "a silent watch fails with DeadlineExceeded, and so does one that is never created (D8)",
      () =>
        Effect.gen(function* () {
          const server = yield* startEtcd({ version })
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], dialTimeout: "2 seconds" })
          const { id } = yield* etcd.leaseGrant({ ttl: 60 })
          yield* etcd.leaseKeepAlive({ id })
          const one = yield* watching(etcd, { key: "a", ...quick })
          const two = yield* watching(etcd, { key: "b" })
          yield* one.created
          yield* two.created
          yield* pause(server)
          const beat = yield* Effect.forkChild(failureOf(etcd.leaseKeepAlive({ id, timeout: "1 minute" })), {
            startImmediately: true
          })
          const [error, millis] = yield* timed(one.failure)
          assert.deepEqual([error.reason._tag, error.endpoint, error.retryable], [
            "DeadlineExceeded",
            server.endpoint,
            true
          ])
          // Long before the heartbeat's own limit.
          assert.ok(millis < 30_000, `${millis} ms`)
          assert.equal((yield* two.failure).reason._tag, "DeadlineExceeded")
          // No other call uses this connection either.
          assert.equal((yield* Fiber.join(beat)).reason, "Unavailable")
          const none = yield* watching(etcd, { key: "a", ...quick })
          assert.equal((yield* none.failure).reason._tag, "Unavailable")
          yield* server.resume
          yield* eventually(etcd.put({ key: "x", value: "1" }))
          yield* pause(server)
          const uncreated = yield* watching(etcd, { key: "a", ...quick })
          assert.equal((yield* uncreated.failure).reason._tag, "DeadlineExceeded")
          assert.deepEqual(uncreated.responses, [])
          yield* server.resume
        })
    )
  })

  live(
    "a watch fails with Unavailable if its connection is reset, and the next one loses nothing",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
        const first = yield* watching(etcd, prefix("a"))
        const { header } = yield* first.created
        yield* proxy.reset
        const error = yield* first.failure
        assert.deepEqual([error.reason._tag, error.endpoint, error.retryable], ["Unavailable", proxy.endpoint, true])
        yield* Effect.forEach(["a1", "a2"], (key) => etcd.put({ key, value: key }))
        const next = yield* watching(etcd, { ...prefix("a"), startRevision: header.revision + 1n })
        yield* next.until(({ _tag }) => _tag === "Events")
        assert.deepEqual(next.events, [["a1", "a1"], ["a2", "a2"]])
      })
  )

  live("a watch moves to another endpoint if the first one is silent (D8)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* connectedToFirst(proxy, server)
      const first = yield* watching(etcd, { key: "a", ...quick })
      yield* first.created
      yield* proxy.blackhole("down")
      assert.equal((yield* first.failure).reason._tag, "DeadlineExceeded")
      yield* Effect.flatMap(watching(etcd, { key: "a", ...quick }), ({ created }) => created)
    }))

  live(
    "a watch does not start on a member that is shutting down and behind the others",
    () =>
      Effect.gen(function* () {
        const old = yield* startEtcd()
        const current = yield* startEtcd()
        const etcd = yield* connectedToFirst(old, current)
        const first = yield* watching(etcd, { key: "a" })
        yield* first.created
        const { header: { clusterId } } = yield* etcd.range({ key: "a" })
        // It takes no new calls, and keeps its old streams for some seconds.
        yield* Effect.forkScoped(old.stop)
        yield* eventually(
          Effect.filterOrFail(
            etcd.range({ key: "a" }),
            ({ header }) => header.clusterId !== clusterId,
            () => "still the old one"
          )
        )
        yield* Effect.repeat(etcd.put({ key: "a", value: "2" }), { times: 3 })
        // etcd 3.5.16 and older end their streams at once: such a member is never behind.
        if (["3.4.23", "3.5.16"].includes(old.version) && first.error !== undefined) return
        assert.equal(first.error, undefined)
        const behind = yield* watching(etcd, { key: "a", startRevision: 5n })
        const failure = yield* behind.failure
        assert.deepEqual([failure.reason._tag, behind.responses], ["Unavailable", []])
        assert.match(failure.message, /behind/)
        const next = yield* watching(etcd, { key: "a", startRevision: 5n })
        yield* next.until(({ _tag }) => _tag === "Events")
        assert.deepEqual(next.events, [["a", "2"]])
      })
  )

  live("a watch leaves a member that has lost its cluster", () =>
    Effect.gen(function* () {
      const cluster = yield* startCluster(3)
      const [lonely, ...others] = cluster.members
      assert.ok(lonely)
      const etcd = yield* EtcdGrpc.make({ endpoints: [lonely.endpoint] })
      const watch = yield* watching(etcd, { key: "a" })
      yield* watch.created
      yield* Effect.forEach(others, (member) => member.kill("SIGKILL"))
      const { reason } = yield* watch.failure
      assert.deepEqual({ ...reason }, { _tag: "Unavailable", detail: "etcdserver: no leader" })
    }))

  live(
    "a watch fails with Cancelled if its reader falls too far behind, and no other watch does",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], requestTimeout: "20 seconds" })
        const reader = yield* watching(etcd, { key: "a" })
        yield* reader.created
        const written = yield* Latch.make()
        const reading = yield* Latch.make()
        const slow = yield* etcd.watch({ key: "a" }).pipe(
          Stream.runForEachArray(() => Effect.andThen(Latch.open(reading), Latch.await(written))),
          failureOf,
          Effect.forkChild({ startImmediately: true })
        )
        yield* Latch.await(reading)
        yield* Effect.forEach(Array.from({ length: 1500 }, (_, i) => `${i}`), (value) => etcd.put({ key: "a", value }))
        const last = (response: WatchResponse) =>
          response._tag === "Events" && response.events.some(({ kv }) => text(kv.value) === "1499")
        yield* reader.until(last)
        yield* Latch.open(written)
        assert.deepEqual(yield* Fiber.join(slow), {
          reason: "Cancelled",
          detail: "the reader fell 1024 responses behind",
          method: "watch",
          key: "a",
          endpoint: server.endpoint
        })
        assert.deepEqual(reader.events.map(([, value]) => value), Array.from({ length: 1500 }, (_, i) => `${i}`))
      })
  )

  live(
    "watches fail with Cancelled after their client was closed, and so do later ones",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const scope = yield* Scope.make()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] }).pipe(Scope.provide(scope))
        const watch = yield* watching(etcd, { key: "a" })
        yield* watch.created
        yield* Scope.close(scope, Exit.void)
        const late = yield* watching(etcd, { key: "a" })
        for (const { failure } of [watch, late]) {
          assert.deepEqual({ ...(yield* failure).reason }, { _tag: "Cancelled", detail: "client is closed" })
        }
      })
  )
})

import { Effect, Fiber, Redacted } from "effect"
import assert from "node:assert/strict"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { startCluster, startEtcd } from "../../harness/EtcdServer.ts"
import { describe, live } from "../../harness/it.ts"
import { makeProxy } from "../../harness/Proxy.ts"
import { eventually } from "../../harness/real.ts"
import { event, header, startFake } from "./fakeEtcd.ts"
import { failureOf, timed, watching } from "./support.ts"

describe("EtcdGrpc deadlines", () => {
  live(
    "heartbeats fail together when the stream cannot be opened, however long the dialTimeout is (R9)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        yield* proxy.blackhole()
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], dialTimeout: "1 minute" })
        const ids = Array.from({ length: 100 }, (_, index) => BigInt(index + 1))
        const [failures, millis] = yield* timed(
          Effect.forEach(ids, (id) => failureOf(etcd.leaseKeepAlive({ id, timeout: "500 millis" })), {
            concurrency: "unbounded"
          })
        )
        assert.deepEqual(failures.map(({ reason }) => reason), ids.map(() => "DeadlineExceeded"))
        // One after the other would be 50 seconds, and with the dialTimeout a minute or more.
        assert.ok(millis >= 499 && millis < 40_000, `${millis} ms`)
      })
  )

  live(
    "a call fails if its password cannot be read in time, and the next call reads it again",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        let reads = 0
        const etcd = yield* EtcdGrpc.make({
          endpoints: [server.endpoint],
          username: "root",
          password: Effect.andThen(Effect.sync(() => reads++), Effect.never),
          requestTimeout: "200 millis"
        })
        for (const count of [1, 2]) {
          const { detail, reason } = yield* failureOf(etcd.range({ key: "a" }))
          assert.deepEqual([reason, detail, reads], [
            "Unavailable",
            'cannot read the password of "root": no result within 200 ms',
            count
          ])
        }
      })
  )

  live(
    "a call whose authentication hangs takes no longer than dialTimeout and requestTimeout together",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const etcd = yield* EtcdGrpc.make({
          endpoints: [proxy.endpoint],
          username: "root",
          // The connection is open by now. The request for a token then gets no answer.
          password: Effect.as(Effect.delay(proxy.blackhole(), "2 seconds"), Redacted.make("secret")),
          dialTimeout: "1 second",
          requestTimeout: "3 seconds"
        })
        const [{ detail, reason }, millis] = yield* timed(failureOf(etcd.range({ key: "a" })))
        assert.deepEqual([reason, detail], ["DeadlineExceeded", "no auth token in time"])
        assert.ok(millis >= 3999, `${millis} ms`)
      })
  )

  live("heartbeats without a deadline of their own share one failed opening", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      yield* proxy.blackhole()
      const etcd = yield* EtcdGrpc.make({
        endpoints: [proxy.endpoint],
        dialTimeout: "500 millis",
        requestTimeout: "1 minute"
      })
      const ids = Array.from({ length: 10 }, (_, index) => BigInt(index + 1))
      const failures = yield* Effect.forEach(ids, (id) => failureOf(etcd.leaseKeepAlive({ id })), {
        concurrency: "unbounded"
      })
      assert.deepEqual(failures.map(({ detail }) => detail), ids.map(() => "no answer within 500 ms"))
      // The proxy counts the connection of the one attempt.
      assert.equal(yield* proxy.accepted, 1)
    }))

  live(
    "heartbeats and watches survive a process that is busy for longer than their deadlines",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const { id } = yield* etcd.leaseGrant({ ttl: 60 })
        yield* etcd.leaseKeepAlive({ id })
        const watch = yield* watching(etcd, { key: "a", progressEvery: "50 millis", progressTimeout: "1 second" })
        yield* watch.created
        for (let round = 0; round < 2; round++) {
          const beat = yield* Effect.forkChild(etcd.leaseKeepAlive({ id, timeout: "1 second" }), {
            startImmediately: true
          })
          yield* Effect.sleep(0)
          const end = performance.now() + 1500
          while (performance.now() < end);
          assert.equal((yield* Fiber.join(beat)).ttl, 60)
          assert.equal(watch.error, undefined)
        }
      })
  )
})

describe("EtcdGrpc with one endpoint that is a load balancer", () => {
  live("a call that exceeds its deadline makes the next one use a new connection", () =>
    Effect.gen(function* () {
      const hung = yield* startEtcd()
      const healthy = yield* startEtcd()
      const balancer = yield* makeProxy(hung)
      const etcd = yield* EtcdGrpc.make({ endpoints: [balancer.endpoint], requestTimeout: "2 seconds" })
      yield* etcd.put({ key: "a", value: "1" })
      yield* hung.pause
      yield* balancer.retarget(healthy.endpoint)
      assert.equal((yield* failureOf(etcd.put({ key: "a", value: "2" }))).reason, "DeadlineExceeded")
      yield* etcd.put({ key: "a", value: "3" })
      yield* hung.resume
    }))

  live("a member without a leader makes the next call use a new connection", () =>
    Effect.gen(function* () {
      const cluster = yield* startCluster(3)
      const [lonely, ...others] = cluster.members
      const healthy = yield* startEtcd()
      assert.ok(lonely !== undefined)
      const balancer = yield* makeProxy(lonely)
      const etcd = yield* EtcdGrpc.make({ endpoints: [balancer.endpoint] })
      const watch = yield* watching(etcd, { key: "a" })
      yield* watch.created
      yield* balancer.retarget(healthy.endpoint)
      yield* Effect.forEach(others, (member) => member.kill("SIGKILL"))
      assert.match((yield* watch.failure).message, /no leader/)
      yield* etcd.put({ key: "a", value: "1" })
      const next = yield* watching(etcd, { key: "a" })
      yield* next.created
    }))

  live(
    "a watch goes on and calls move to a second connection if the front allows one stream each",
    () =>
      Effect.gen(function* () {
        let send: (response: object) => void = () => {}
        let id = ""
        const server = yield* startFake(({ create_request }, respond) => {
          if (!create_request) return
          send = respond
          id = create_request.watch_id
          respond({ header: header(10), watch_id: id, created: true })
        }, { maxStreams: 1 })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], requestTimeout: "2 seconds" })
        const watch = yield* watching(etcd, { key: "a" })
        yield* watch.created
        assert.equal((yield* failureOf(etcd.range({ key: "a" }))).reason, "DeadlineExceeded")
        yield* etcd.range({ key: "a" })
        send({ header: header(11), watch_id: id, events: [event("a", 11)] })
        yield* watch.until(({ _tag }) => _tag === "Events")
        assert.deepEqual([watch.error, server.streams()], [undefined, 1])
      })
  )
})

describe("Etcd.recovered", () => {
  live("recovered completes when etcd answers again, without any other call (D12)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      yield* etcd.put({ key: "a", value: "1" })
      yield* server.kill("SIGKILL")
      assert.equal((yield* failureOf(etcd.put({ key: "a", value: "2" }))).reason, "Unavailable")
      const waiting = yield* Effect.forEach(
        Array.from({ length: 3 }),
        () => Effect.forkChild(etcd.recovered, { startImmediately: true })
      )
      yield* Effect.sleep("1 second")
      assert.deepEqual(waiting.map((fiber) => fiber.pollUnsafe()), [undefined, undefined, undefined])
      yield* server.start
      yield* Effect.forEach(waiting, Fiber.join)
      yield* etcd.put({ key: "a", value: "3" })
    }))

  live("recovered completes at the first answer of any call, also at a refusal (D12)", () =>
    Effect.gen(function* () {
      const server = yield* startEtcd()
      const proxy = yield* makeProxy(server)
      const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint], requestTimeout: "2 seconds" })
      yield* etcd.status
      yield* proxy.blackhole()
      assert.equal((yield* failureOf(etcd.status)).reason, "DeadlineExceeded")
      const waiting = yield* Effect.forkChild(etcd.recovered, { startImmediately: true })
      yield* proxy.heal
      const refusal = Effect.map(failureOf(etcd.leaseRevoke(99n)), ({ reason }) => reason)
      yield* eventually(Effect.filterOrFail(refusal, (reason) => reason === "LeaseNotFound", (reason) => reason))
      yield* Fiber.join(waiting)
    }))

  live(
    "recovered finds the endpoint that works, past silent ones, and calls use it from then on (D12)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const silent = yield* Effect.forEach([1, 2], () => makeProxy(server))
        const last = yield* makeProxy(server)
        const endpoints = [...silent, last].map(({ endpoint }) => endpoint)
        const etcd = yield* EtcdGrpc.make({ endpoints, dialTimeout: "2 seconds", requestTimeout: "2 seconds" })
        yield* etcd.status
        yield* Effect.forEach([...silent, last], (proxy) => proxy.blackhole())
        yield* failureOf(etcd.status)
        const waiting = yield* Effect.forkChild(etcd.recovered, { startImmediately: true })
        yield* last.heal
        yield* Fiber.join(waiting)
        yield* etcd.put({ key: "a", value: "1" })
      })
  )

  live(
    "recovered does not complete while etcd answers, and interrupting it ends the probing (D11)",
    () =>
      Effect.gen(function* () {
        const server = yield* startEtcd()
        const proxy = yield* makeProxy(server)
        const etcd = yield* EtcdGrpc.make({ endpoints: [proxy.endpoint] })
        yield* etcd.status
        const idle = yield* Effect.forkChild(etcd.recovered, { startImmediately: true })
        yield* Effect.sleep("500 millis")
        assert.equal(idle.pollUnsafe(), undefined)
        yield* server.kill("SIGKILL")
        yield* failureOf(etcd.status)
        yield* Fiber.interrupt(idle)
        yield* Effect.sleep("500 millis")
        const probes = yield* proxy.accepted
        yield* Effect.sleep("1 second")
        assert.equal(yield* proxy.accepted, probes)
      })
  )
})

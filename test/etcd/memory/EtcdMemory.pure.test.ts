/*
 * Behaviour of the engine beyond the contract: exact virtual time, several clients, and its end.
 * `test/etcd/conformance` tests the contract.
 */
import { Clock, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { WatchResponse } from "../../../src/etcd/messages/watch.ts"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import { assertEqual, keysIn, kv, open, refusal } from "../conformance/subject.ts"
import { clockWith } from "../../harness/clock.ts"
import { describe, effect, live } from "../../harness/it.ts"
import assert from "node:assert/strict"

const clientOf = EtcdMemory.make

describe("EtcdMemory.layer", () => {
  effect("EtcdMemory.layer provides Etcd, with a new store for each build", () =>
    Effect.gen(function* () {
      const count = Effect.gen(function* () {
        const etcd = yield* Etcd
        yield* etcd.put({ key: "a", value: "1" })
        return (yield* etcd.range({ key: "a" })).header.revision
      })
      const layer = EtcdMemory.layer()
      assert.deepEqual([yield* Effect.provide(count, layer), yield* Effect.provide(count, layer)], [2n, 2n])
    }))

  effect("EtcdMemory.layer returns the same ids and revisions in each run", () =>
    Effect.gen(function* () {
      const run = Effect.gen(function* () {
        const etcd = yield* clientOf()
        const granted = [yield* etcd.leaseGrant({ ttl: 10 }), yield* etcd.leaseGrant({ ttl: 10 })]
        return [granted, yield* etcd.put({ key: "a", value: "1" }), yield* etcd.status]
      })
      assert.deepEqual(yield* Effect.scoped(run), yield* Effect.scoped(run))
    }))

  effect(
    "EtcdMemory.layer begins at revision 1 and takes its identity and limits from the options",
    () =>
      Effect.gen(function* () {
        const etcd = yield* clientOf({ clusterId: 7n, memberId: 8n, minLeaseTtl: 5, maxTxnOps: 1, maxRequestBytes: 3 })
        assert.deepEqual((yield* etcd.range({ key: "a" })).header, {
          clusterId: 7n,
          memberId: 8n,
          revision: 1n,
          raftTerm: 2n
        })
        assert.equal((yield* etcd.leaseGrant({ ttl: 1 })).ttl, 5)
        const range = { _tag: "Range", request: { key: "a" } } as const
        assert.equal(yield* refusal(etcd.txn({ then: [range, range] })), "InvalidArgument")
        assert.equal(yield* refusal(etcd.put({ key: "ab", value: "cd" })), "TooLarge")
        yield* etcd.put({ key: "ab", value: "c" })
      })
  )
})

describe("EtcdMemory on virtual time", () => {
  effect(
    "EtcdMemory expires a lease exactly when its TTL has passed",
    () =>
      Effect.gen(function* () {
        const etcd = yield* clientOf()
        const { id } = yield* etcd.leaseGrant({ ttl: 10 })
        yield* etcd.put({ key: "a", value: "1", lease: id })
        yield* TestClock.adjust(9_999)
        assert.deepEqual([yield* keysIn(etcd, { key: "a" }), (yield* etcd.leaseTimeToLive({ id })).ttl], [["a"], 0])
        yield* TestClock.adjust(1)
        assert.deepEqual([yield* keysIn(etcd, { key: "a" }), (yield* etcd.leaseTimeToLive({ id })).ttl], [[], -1])
      })
  )

  effect("EtcdMemory emits the expiry of a lease to watches without any request", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      const watch = yield* open(etcd, { key: "a" })
      const { id } = yield* etcd.leaseGrant({ ttl: 10 })
      yield* etcd.put({ key: "a", value: "1", lease: id })
      yield* watch.events(1)
      const event = yield* Effect.forkChild(watch.events(1), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.ok(event.pollUnsafe() !== undefined)
    }))

  effect(
    "EtcdMemory expires leases in order, each at its own revision",
    () =>
      Effect.gen(function* () {
        const etcd = yield* clientOf()
        for (const ttl of [30, 10, 20, 10]) {
          const { id } = yield* etcd.leaseGrant({ ttl })
          yield* etcd.put({ key: `${ttl}/${id}`, value: "", lease: id })
        }
        const watch = yield* open(etcd, { ...prefix(""), filters: ["noPut"] })
        yield* TestClock.adjust("1 hour")
        const events = yield* watch.events(4)
        assert.deepEqual(
          events.map((event) => (event as { kv: { key: string; modRevision: bigint } }).kv).map(
            ({ key, modRevision }) => [key.slice(0, 2), modRevision]
          ),
          [["10", 6n], ["10", 7n], ["20", 8n], ["30", 9n]]
        )
      })
  )

  effect(
    "EtcdMemory starts the TTL of a renewed lease again, for a thousand leases",
    () =>
      Effect.gen(function* () {
        const etcd = yield* clientOf()
        const ids = yield* Effect.forEach(
          Array.from({ length: 1_000 }, (_, i) => 3 + i % 7),
          (ttl) => Effect.map(etcd.leaseGrant({ ttl }), ({ id }) => id)
        )
        for (let second = 0; second < 20; second++) {
          yield* Effect.forEach(ids, (id) => etcd.leaseKeepAlive({ id }))
          yield* TestClock.adjust("2 seconds")
        }
        assert.equal((yield* etcd.leaseLeases).leases.length, 1_000)
        yield* TestClock.adjust("9 seconds")
        assert.deepEqual((yield* etcd.leaseLeases).leases, [])
      })
  )

  effect("EtcdMemory lists leases in order of expiry", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      for (const [id, ttl] of [[1n, 30], [2n, 10], [3n, 20]] as const) yield* etcd.leaseGrant({ id, ttl })
      assert.deepEqual((yield* etcd.leaseLeases).leases, [2n, 3n, 1n])
    }))

  effect(
    "EtcdMemory reports progress after progressEvery without a message",
    () =>
      Effect.gen(function* () {
        const etcd = yield* clientOf()
        const seen: Array<readonly [number, string]> = []
        yield* etcd.watch({ key: "a", progressEvery: "10 seconds" }).pipe(
          Stream.runForEach(({ _tag }) =>
            Effect.map(Clock.currentTimeMillis, (now) => {
              seen.push([now / 1000, _tag])
            })
          ),
          Effect.forkScoped({ startImmediately: true })
        )
        yield* TestClock.adjust("14 seconds")
        yield* etcd.put({ key: "a", value: "1" })
        yield* etcd.put({ key: "b", value: "1" })
        yield* TestClock.adjust("21 seconds")
        assert.deepEqual(seen, [[0, "Created"], [10, "Progress"], [14, "Events"], [24, "Progress"], [34, "Progress"]])
      })
  )

  effect("EtcdMemory uses the clock of its layer, whatever the clock of its caller", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      const { id } = yield* etcd.leaseGrant({ ttl: 10 })
      yield* TestClock.adjust("4 seconds")
      assert.equal((yield* TestClock.withLive(etcd.leaseTimeToLive({ id }))).ttl, 6)
    }))
})

describe("EtcdMemory on the real clock", () => {
  live("EtcdMemory expires leases and reports progress on the real clock", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf({ minLeaseTtl: 1 })
      const { id } = yield* etcd.leaseGrant({ ttl: 1 })
      yield* etcd.put({ key: "a", value: "1", lease: id })
      const responses = yield* etcd.watch({ key: "a", progressEvery: "400 millis" }).pipe(
        Stream.take(4),
        Stream.runCollect
      )
      assert.deepEqual(responses.map(({ _tag }) => _tag), ["Created", "Progress", "Progress", "Events"])
    }))
})

describe("EtcdMemory.engine", () => {
  effect(
    "EtcdMemory.engine opens clients of one engine; closing one keeps its keys, its leases and the others",
    () =>
      Effect.gen(function* () {
        const engine = yield* EtcdMemory.engine()
        const scope = yield* Scope.make()
        const first = yield* Scope.provide(engine.connect, scope)
        const second = yield* engine.connect
        const { id } = yield* first.leaseGrant({ ttl: 10 })
        yield* first.put({ key: "a", value: "1", lease: id })
        yield* Scope.close(scope, Exit.void)
        assert.equal(yield* refusal(first.range({ key: "a" })), "Cancelled")
        assertEqual((yield* second.range({ key: "a" })).kvs, [kv("a", "1", { create: 2n, lease: id })])
        yield* TestClock.adjust("10 seconds")
        assert.deepEqual(yield* keysIn(second, { key: "a" }), [])
      })
  )

  effect("EtcdMemory makes layers of one engine for programs that share keys", () =>
    Effect.gen(function* () {
      const engine = yield* EtcdMemory.engine()
      const put = Etcd.use((etcd) => etcd.put({ key: "a", value: "1" }))
      const keys = Etcd.use((etcd) => keysIn(etcd, { key: "a" }))
      yield* Effect.provide(put, EtcdMemory.layerEngine(engine))
      assert.deepEqual(yield* Effect.provide(keys, EtcdMemory.layerEngine(engine)), ["a"])
    }))
})

describe("EtcdMemory.engine", () => {
  effect(
    "EtcdMemory.engine fails operations, watches and later clients with Cancelled after its end",
    () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const engine = yield* Scope.provide(EtcdMemory.engine(), scope)
        const etcd = yield* engine.connect
        yield* etcd.leaseGrant({ ttl: 10 })
        const watch = yield* open(etcd, { key: "a" })
        const next = yield* Effect.forkChild(refusal(watch.next), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.equal(yield* Fiber.join(next), "Cancelled")
        const late = yield* engine.connect
        for (const client of [etcd, late]) {
          assert.equal(yield* refusal(client.put({ key: "a", value: "1" })), "Cancelled")
          assert.equal(yield* refusal(Stream.runDrain(client.watch({ key: "a" }))), "Cancelled")
          assert.equal(yield* refusal<unknown>(client.status), "Cancelled")
        }
      })
  )

  effect(
    "EtcdMemory.engine runs one sleeping fiber for any number of leases and watches, and none after its end",
    () =>
      Effect.gen(function* () {
        let sleeping = 0
        const clock = yield* Clock.Clock
        const counting = clockWith(clock, {
          sleep: (duration) =>
            Effect.suspend(() => {
              sleeping++
              return Effect.ensuring(clock.sleep(duration), Effect.sync(() => sleeping--))
            })
        })
        const scope = yield* Scope.make()
        const made = Effect.provideService(EtcdMemory.make(), Clock.Clock, counting)
        const etcd = yield* Scope.provide(made, scope)
        assert.equal(sleeping, 0)
        yield* Effect.forEach(Array.from({ length: 100 }, (_, i) => 1_000 - i), (ttl) => etcd.leaseGrant({ ttl }))
        yield* open(etcd, { key: "a" })
        yield* open(etcd, prefix("b"))
        yield* Effect.yieldNow
        assert.equal(sleeping, 1)
        yield* TestClock.adjust("15 minutes")
        assert.equal(sleeping, 1)
        yield* Scope.close(scope, Exit.void)
        assert.equal(sleeping, 0)
      })
  )
})

describe("EtcdMemory's compact", () => {
  effect("EtcdMemory's compact frees exactly what cannot be read any more", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      const bytes = Effect.map(etcd.status, ({ dbSize }) => dbSize)
      for (const value of ["1234", "12", ""]) yield* etcd.put({ key: "ab", value })
      yield* etcd.put({ key: "cd", value: "1" })
      yield* etcd.deleteRange({ key: "cd" })
      assert.equal(yield* bytes, 6n + 4n + 2n + 3n + 2n)
      yield* etcd.compact({ revision: 3n })
      assert.equal(yield* bytes, 4n + 2n + 3n + 2n)
      yield* etcd.compact({ revision: 6n })
      assert.equal(yield* bytes, 2n)
    }))
})

describe("an unread watch of EtcdMemory", () => {
  const fill = (etcd: Etcd, count: number) =>
    Effect.forEach(Array.from({ length: count }, (_, i) => String(i)), (value) => etcd.put({ key: "a", value }), {
      discard: true
    })
  const values = (responses: ReadonlyArray<WatchResponse>) =>
    responses.flatMap((response) =>
      response._tag === "Events" ? response.events.map(({ kv }) => new TextDecoder().decode(kv.value)) : []
    )

  effect("an unread watch of EtcdMemory continues from history, then is live", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      const pull = yield* Stream.toPull(etcd.watch({ key: "a" }))
      yield* pull
      yield* fill(etcd, 10_000)
      const seen: Array<string> = []
      while (seen.length < 10_000) seen.push(...values(yield* pull))
      assert.deepEqual(seen, Array.from({ length: 10_000 }, (_, i) => String(i)))
      yield* etcd.put({ key: "a", value: "live" })
      assert.deepEqual(values(yield* pull), ["live"])
    }))

  effect("an unread watch of EtcdMemory fails with Compacted if its history is gone", () =>
    Effect.gen(function* () {
      const etcd = yield* clientOf()
      const pull = yield* Stream.toPull(etcd.watch({ key: "a" }))
      yield* pull
      yield* fill(etcd, 10_000)
      yield* etcd.compact({ revision: 9_000n })
      yield* pull
      const error = yield* Effect.flip(pull)
      assert.ok(error._tag === "EtcdError" && error.reason._tag === "Compacted")
      assert.equal(error.reason.compactRevision, 9_000n)
    }))
})

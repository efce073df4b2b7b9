/**
 * The checks of upstream's suites of `RateLimiterStore`, and of further promises.
 *
 * @module
 */
import { Context, Duration, Effect, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import { EtcdRateLimiterStore } from "../../src/persistence/mod.ts"
import { randomOf, seed } from "../harness/seed.ts"
import type { Check } from "./Check.ts"

type Store = RateLimiter.RateLimiterStore["Service"]

/** Calls of a limiter with 5 tokens per minute, in one line each: `[remaining, delay, resetAfter]` in milliseconds. */
const caller = (
  prefix: string,
  algorithm: "fixed-window" | "token-bucket",
  onExceeded: "fail" | "delay"
): Effect.Effect<(tokens: number) => Effect.Effect<ReadonlyArray<number | string>, unknown>, unknown, Etcd> =>
  Effect.gen(function* () {
    const store = yield* EtcdRateLimiterStore.make({ prefix })
    const limiter = yield* Effect.provideService(RateLimiter.make, RateLimiter.RateLimiterStore, store)
    return (tokens) =>
      limiter.consume({ algorithm, onExceeded, key: "a", limit: 5, window: "5 minutes", tokens }).pipe(
        Effect.map(({ delay, remaining, resetAfter }) => [
          remaining,
          Duration.toMillis(delay),
          Duration.toMillis(resetAfter)
        ]),
        Effect.catchIf(
          ({ reason }) => reason._tag === "RateLimitExceeded",
          ({ reason }) =>
            Effect.succeed(
              reason._tag === "RateLimitExceeded" ? ["exceeded", Duration.toMillis(reason.retryAfter)] : []
            )
        )
      )
  })

const minute = 60_000

/** Both stores, and a call that runs on both and fails if they return different results. */
const withModel = (prefix: string) =>
  Effect.gen(function* () {
    const ours = yield* EtcdRateLimiterStore.make({ prefix })
    const model = Context.get(yield* Layer.build(RateLimiter.layerStoreMemory), RateLimiter.RateLimiterStore)
    return (where: string, run: (store: Store) => Effect.Effect<unknown, unknown>) =>
      Effect.gen(function* () {
        const [result, expected] = yield* Effect.all([run(ours), run(model)])
        assert.deepEqual(result, expected, where)
        return result
      })
  })

const admission = { key: "a", fallbackLimit: 5, fallbackWindow: Duration.minutes(1) }

export const checks: ReadonlyArray<Check> = [
  {
    title: "RateLimiter on EtcdRateLimiterStore refuses calls of a full fixed window until it is over",
    body: (prefix) =>
      Effect.gen(function* () {
        const consume = yield* caller(prefix, "fixed-window", "fail")
        assert.deepEqual(yield* consume(4), [1, 0, 4 * minute])
        yield* TestClock.adjust("1 minute")
        assert.deepEqual(yield* consume(1), [0, 0, 4 * minute])
        assert.deepEqual(yield* consume(1), ["exceeded", 4 * minute])
        yield* TestClock.adjust("239 seconds")
        assert.deepEqual(yield* consume(1), ["exceeded", 1000])
        yield* TestClock.adjust("1 second")
        assert.deepEqual(yield* consume(1), [4, 0, minute])
      })
  },
  {
    title: "RateLimiter on EtcdRateLimiterStore delays calls of a full fixed window by whole windows",
    body: (prefix) =>
      Effect.gen(function* () {
        const consume = yield* caller(prefix, "fixed-window", "delay")
        assert.deepEqual(yield* consume(5), [0, 0, 5 * minute])
        assert.deepEqual(yield* consume(1), [-1, 5 * minute, 6 * minute])
        assert.deepEqual(yield* consume(4), [-5, 5 * minute, 10 * minute])
        assert.deepEqual(yield* consume(1), [-6, 10 * minute, 11 * minute])
        yield* TestClock.adjust("150 seconds")
        assert.deepEqual(yield* consume(1), [-7, 450_000, 12 * minute - 150_000])
      })
  },
  ...([[59_000, 1, 1000, 301_000], [59_500, 1, 500, 300_500], [59_000, 2, 61_000, 361_000], [
    119_000,
    2,
    1000,
    301_000
  ]] as const)
    .map(([elapsed, tokens, wait, reset]): Check => ({
      title:
        `RateLimiter on EtcdRateLimiterStore waits ${wait} ms for ${tokens} tokens of a bucket after ${elapsed} ms`,
      body: (prefix) =>
        Effect.gen(function* () {
          const failing = yield* caller(`${prefix}fail`, "token-bucket", "fail")
          const delaying = yield* caller(`${prefix}delay`, "token-bucket", "delay")
          yield* failing(5)
          yield* delaying(5)
          yield* TestClock.adjust(elapsed)
          assert.deepEqual(yield* failing(tokens), ["exceeded", wait])
          assert.deepEqual(yield* delaying(tokens), [Math.floor(elapsed / minute) - tokens, wait, reset])
        })
    })),
  {
    title: "EtcdRateLimiterStore restarts the refill interval when a bucket is full",
    body: (prefix) =>
      Effect.gen(function* () {
        const consume = yield* caller(prefix, "token-bucket", "fail")
        assert.deepEqual(yield* consume(0), [5, 0, 0])
        yield* TestClock.adjust("30 seconds")
        assert.deepEqual(yield* consume(1), [4, 0, minute])
        yield* TestClock.adjust("61 seconds")
        assert.deepEqual(yield* consume(5), [0, 0, 5 * minute])
        assert.deepEqual(yield* consume(1), ["exceeded", minute])
        yield* TestClock.adjust("59 seconds")
        // Refused calls change nothing.
        assert.deepEqual(yield* consume(1), ["exceeded", 1000])
        yield* TestClock.adjust("1 second")
        assert.deepEqual(yield* consume(1), [0, 0, 5 * minute])
      })
  },
  {
    title: "EtcdRateLimiterStore keeps fractions of tokens",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdRateLimiterStore.make({ prefix })
        for (const allowOverflow of [false, true]) {
          const options = { key: String(allowOverflow), limit: 5, refillRate: Duration.minutes(1), allowOverflow }
          assert.deepEqual(yield* store.tokenBucket({ ...options, tokens: 4.5 }), [0.5, 0])
          assert.deepEqual(yield* store.tokenBucket({ ...options, tokens: 1 }), [-0.5, 0])
          assert.deepEqual(yield* store.tokenBucket({ ...options, tokens: 0 }), [allowOverflow ? -0.5 : 0.5, 0])
        }
        const thirds = { key: "thirds", limit: 3, refillRate: Duration.millis(1000 / 3), allowOverflow: true }
        yield* store.tokenBucket({ ...thirds, tokens: 3 })
        yield* TestClock.adjust(500)
        const [remaining, elapsed] = yield* store.tokenBucket({ ...thirds, tokens: 1 })
        assert.equal(remaining, 0)
        assert.ok(Math.abs(elapsed - 1000 / 6) < 1e-6, `${elapsed}`)
      })
  },
  {
    title: "EtcdRateLimiterStore learns a server's limit from its 429 responses",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdRateLimiterStore.make({ prefix })
        const consume = (tokens: number) =>
          Effect.map(store.adaptiveConsume({ ...admission, tokens }), ({ delay, epoch, phase }) => [
            phase,
            epoch,
            Duration.toMillis(delay)
          ])
        const refused = (epoch: number, tokens: number, retryAfter: Duration.Input | undefined, status = 429) =>
          store.adaptiveFeedback({
            key: "a",
            epoch,
            tokens,
            status,
            retryAfter: retryAfter === undefined ? undefined : Duration.fromInputUnsafe(retryAfter)
          })
        yield* refused(0, 1, "1 second", 200)
        yield* refused(0, 1, undefined)
        yield* refused(7, 1, "1 second")
        assert.deepEqual(yield* consume(1), ["inactive", 0, 0])

        yield* refused(0, 1, "2 hours")
        assert.deepEqual(yield* consume(1), ["cooldown", 0, 60 * minute], "an hour at most")
        yield* TestClock.adjust("1 hour")
        assert.deepEqual(yield* consume(2), ["learning", 1, 0])
        yield* TestClock.adjust("4 seconds")
        yield* refused(0, 2, "10 seconds")
        assert.deepEqual(yield* consume(3), ["learning", 1, 0], "feedback of an older epoch is ignored")
        yield* refused(1, 3, "6 seconds")
        yield* refused(1, 3, "30 seconds")
        // Two tokens were accepted in 4 + 6 seconds.
        yield* TestClock.adjust("6 seconds")
        assert.deepEqual(yield* consume(1), ["learned", 2, 0])
        assert.deepEqual(yield* consume(1), ["learned", 2, 0])
        assert.deepEqual(yield* consume(1), ["learned", 2, 10_000])

        yield* refused(2, 1, "5 seconds")
        yield* refused(2, 1, "10 seconds")
        yield* refused(2, 1, Duration.zero)
        assert.deepEqual(yield* consume(1), ["cooldown", 2, 10_000], "a cooldown is only extended")
        yield* TestClock.adjust("70 seconds")
        assert.deepEqual(yield* consume(1), ["inactive", 0, 0], "forgotten a minute after its end")
      })
  },
  {
    title: "EtcdRateLimiterStore returns what Effect's store in memory returns, over 400 random calls",
    body: (prefix) =>
      Effect.gen(function* () {
        const random = randomOf(seed)
        const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(random() * list.length)] as A
        const both = yield* withModel(prefix)
        const epochs = new Map<string, number>()
        for (let index = 0; index < 400; index++) {
          const where = `seed ${seed}, call ${index}`
          const key = pick(["a", "b"])
          const tokens = pick([0, 0.5, 1, 1, 2, 5])
          const refillRate = Duration.millis(250)
          const kind = Math.floor(random() * 6)
          if (kind === 0) yield* TestClock.adjust(pick([1, 125, 250, 1000, 5000, 70_000]))
          if (kind === 1) {
            const limit = pick([undefined, 5])
            yield* both(where, (store) => store.fixedWindow({ key, tokens, refillRate, limit }))
          }
          if (kind === 2) {
            const allowOverflow = pick([true, false])
            yield* both(where, (store) => store.tokenBucket({ key, tokens, refillRate, limit: 5, allowOverflow }))
          }
          if (kind === 3 || kind === 4) {
            const result = yield* both(where, (store) => store.adaptiveConsume({ ...admission, key, tokens }))
            epochs.set(key, (result as RateLimiter.AdaptiveConsumeResult).epoch)
          }
          if (kind === 5) {
            const epoch = (epochs.get(key) ?? 0) - pick([0, 0, 0, 1])
            const retryAfter = Duration.millis(pick([0, 100, 1000, 5000]))
            yield* both(where, (store) => store.adaptiveFeedback({ key, tokens, epoch, status: 429, retryAfter }))
          }
        }
      })
  },
  {
    title: "EtcdRateLimiterStore admits exactly the limit to two processes that compete",
    body: (prefix) =>
      Effect.gen(function* () {
        const stores = yield* Effect.all([
          EtcdRateLimiterStore.make({ prefix }),
          EtcdRateLimiterStore.make({ prefix })
        ])
        const options = { key: "a", tokens: 1, limit: 10, refillRate: Duration.minutes(1) }
        let admitted = 0
        for (let round = 0; round < 8; round++) {
          // The two read before either writes, so one of them is too late and reads again.
          const counts = yield* TestClock.withLive(
            Effect.all(stores.map((store) => store.fixedWindow(options)), { concurrency: 2 })
          )
          admitted += counts.filter(([count]) => count <= 10).length
        }
        assert.equal(admitted, 10)
      })
  },
  {
    title: "EtcdRateLimiterStore follows the fastest clock of the fleet",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdRateLimiterStore.make({ prefix })
        const take = store.fixedWindow({ key: "a", tokens: 1, limit: 5, refillRate: Duration.seconds(10) })
        yield* TestClock.setTime(1_000_000)
        assert.deepEqual(yield* take, [1, 10_000])
        yield* TestClock.setTime(970_000)
        assert.deepEqual(yield* take, [2, 20_000], "not 50 s, though this clock is 30 s behind")
      })
  },
  {
    title: "EtcdRateLimiterStore never refills without an end of the window, and needs one lease",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        let grants = 0
        const leaseGrant: Etcd["leaseGrant"] = (request) =>
          Effect.andThen(Effect.sync(() => grants += 1), etcd.leaseGrant(request))
        const store = yield* Effect.provideService(EtcdRateLimiterStore.make({ prefix }), Etcd, { ...etcd, leaseGrant })
        const endless = { key: "a", tokens: 1, limit: 3, refillRate: Duration.infinity }
        const bucket = store.tokenBucket({ ...endless, allowOverflow: false })
        for (const expected of [1, 2, 3, 4]) {
          yield* TestClock.adjust("1 hour")
          assert.equal((yield* store.fixedWindow(endless))[0], expected)
          assert.equal((yield* bucket)[0], 3 - expected)
        }
        assert.equal(grants, 1)
      })
  },
  {
    title: "EtcdRateLimiterStore writes nothing for a call that it refuses, and leaves no state without a lease",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* EtcdRateLimiterStore.make({ prefix })
        const bucket = { key: "a", limit: 5, refillRate: Duration.minutes(1), allowOverflow: false }
        yield* store.tokenBucket({ ...bucket, tokens: 5 })
        const before = yield* etcd.range(prefixRange(prefix))
        yield* store.tokenBucket({ ...bucket, tokens: 1 })
        yield* store.fixedWindow({ key: "a", tokens: 6, limit: 5, refillRate: Duration.minutes(1) })
        const after = yield* etcd.range(prefixRange(prefix))
        // Not the revision of etcd: leases of other tests may expire meanwhile.
        assert.deepEqual(after.kvs, before.kvs)
        assert.deepEqual(after.kvs.map(({ lease }) => lease > 0n), [true])
      })
  },
  {
    title: "EtcdRateLimiterStore fails with RateLimitStoreError for a state that it cannot read",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* EtcdRateLimiterStore.make({ prefix })
        const numbers = { at: 0, state: { tokens: 0, intervalStart: 0 } }
        const outOfRange = [
          { ...numbers, at: 1e308 },
          { ...numbers, at: -1 },
          { ...numbers, state: { tokens: -1e308, intervalStart: 0 } },
          { ...numbers, state: { tokens: 0, intervalStart: 1e308 } }
        ]
        for (const value of ["no JSON", "{}", ...outOfRange.map((state) => JSON.stringify(state))]) {
          yield* etcd.put({ key: `${prefix}token-bucket/a`, value })
          const { reason } = yield* Effect.flip(
            store.tokenBucket({ key: "a", tokens: 1, limit: 5, refillRate: Duration.minutes(1), allowOverflow: false })
          )
          assert.equal(reason._tag, "RateLimitStoreError")
          assert.match(reason.message, /cannot take tokens of "a"/)
        }
      })
  }
]

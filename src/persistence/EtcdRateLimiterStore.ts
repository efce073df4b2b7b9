/**
 * Effect's `RateLimiterStore` on etcd: rate limits that all processes of a fleet share.
 *
 * **When to use**
 *
 * For limits of a few calls per second over the whole fleet, such as a quota of a foreign API or jobs per minute.
 *
 * **Details**
 *
 * The state of a key is one small JSON value below `<prefix>fixed-window/`, `<prefix>token-bucket/` or
 * `<prefix>adaptive/`. A call reads the state and writes it back. If another client has written in between, the call
 * starts over, up to 20 times. Calls for one key in one process queue. A call that is refused writes nothing. etcd
 * deletes the state some time after the limit is idle.
 *
 * Time is that of the calling process. It never goes back for a key: the fleet follows its fastest clock.
 *
 * **Gotchas**
 *
 * - A call that is admitted costs a read and a write of etcd's log. One key admits some hundred calls per second from
 *   one process, and fewer from several that compete for it. To throttle requests, limit each process by itself.
 * - After `Unavailable` or `DeadlineExceeded` the tokens may have been taken.
 *
 * @stability unstable
 * @module
 */
import { Clock, Duration, Effect, Layer, Result, Schema, Semaphore } from "effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { hash } from "../internal/hash.ts"
import { keyPrefix } from "../internal/keyPrefix.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { parseJson } from "../internal/text/json.ts"
import { retryConflicts } from "../kv/conflict.ts"
import { ExpiryLeases } from "./ExpiryLeases.ts"
import * as Adaptive from "./limits/adaptive.ts"
import * as FixedWindow from "./limits/fixedWindow.ts"
import { type Step, Time } from "./limits/Step.ts"
import * as TokenBucket from "./limits/tokenBucket.ts"

/**
 * The options of {@link make} and {@link layer}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** The start of all keys. A slash is added if it does not end with one. Default: `/effect/rate-limits/`. */
  readonly prefix?: string
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** The queues of calls. Keys with the same hash share one. */
const maxQueues = 64

const failed = (key: string, cause: Error): RateLimiter.RateLimiterError =>
  new RateLimiter.RateLimiterError({
    reason: new RateLimiter.RateLimitStoreError({
      message: `cannot take tokens of ${JSON.stringify(key)}: ${cause.message}`,
      cause
    })
  })

/** The keys of an algorithm's state, and the schema of the state. */
interface Kind<S> {
  readonly folder: string
  readonly decode: (stored: Uint8Array) => Result.Result<{ readonly at: number; readonly state: S }, Error>
}

const kind = <S>(folder: string, state: Schema.Codec<S, S>): Kind<S> => {
  const decode = Schema.decodeUnknownResult(Schema.Struct({ at: Time, state }))
  return {
    folder,
    decode: (stored) =>
      Result.flatMap(
        Result.try({
          try: () => parseJson(decoder.decode(stored)),
          catch: () => new Error("its state is not JSON; delete the key")
        }),
        decode
      )
  }
}

const fixedWindows = kind("fixed-window/", FixedWindow.State)
const tokenBuckets = kind("token-bucket/", TokenBucket.State)
const adaptiveLimits = kind("adaptive/", Adaptive.State)

/**
 * Makes a `RateLimiterStore` on etcd. Nothing is sent before it is used.
 *
 * **Details**
 *
 * Fails with `InvalidOption` for a bad `prefix`. Its operations fail with a `RateLimitStoreError`. Its `cause` is the
 * `EtcdError`, or an `UpdateConflict` after 20 conflicts with other processes.
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<RateLimiter.RateLimiterStore["Service"], InvalidOption, Etcd> =>
  Effect.gen(function* () {
    const prefix = yield* Effect.fromResult(
      checkOptions("EtcdRateLimiterStore", (check) => keyPrefix(check, options.prefix ?? "/effect/rate-limits/"))
    )
    const etcd = yield* Etcd
    const leases = new ExpiryLeases(etcd)
    const queues = Array.from({ length: maxQueues }, () => Semaphore.makeUnsafe(1))

    const run = <S, A>(
      { decode, folder }: Kind<S>,
      limit: string,
      step: (current: S | undefined, now: number) => Step<S, A>
    ): Effect.Effect<A, RateLimiter.RateLimiterError> => {
      const key = `${prefix}${folder}${limit}`
      const attempt = Effect.gen(function* () {
        const { kvs: [kv] } = yield* etcd.range({ key })
        const stored = kv === undefined ? undefined : yield* Effect.fromResult(decode(kv.value))
        const at = Math.max(yield* Clock.currentTimeMillis, stored?.at ?? 0)
        const { next, result } = step(stored?.state, at)
        if (next === undefined) return Result.succeed(result)
        const value = JSON.stringify({ at, state: next.state })
        const { succeeded } = yield* leases.use(next.expiresAt - at, (lease) =>
          etcd.txn({
            compare: [{ key, target: "mod", result: "equal", value: kv?.modRevision ?? 0n }],
            then: [{ _tag: "Put", request: { key, value, lease } }]
          }))
        return succeeded ? Result.succeed(result) : Result.fail(key)
      })
      const queue = queues[hash(key) % maxQueues] as Semaphore.Semaphore
      return Effect.mapError(
        queue.withPermit(retryConflicts<A, Error, never>(attempt)),
        (cause: Error | EtcdError) => failed(limit, cause)
      )
    }

    return RateLimiter.RateLimiterStore.of({
      fixedWindow: ({ key, limit, refillRate, tokens }) =>
        run(fixedWindows, key, (state, now) =>
          FixedWindow.take(state, { tokens, limit, millisPerToken: Duration.toMillis(refillRate) }, now)),
      tokenBucket: ({ allowOverflow, key, limit, refillRate, tokens }) =>
        run(tokenBuckets, key, (state, now) =>
          TokenBucket.take(
            state,
            { tokens, limit, millisPerToken: Duration.toMillis(refillRate), allowOverflow },
            now
          )),
      adaptiveConsume: ({ fallbackWindow, key, tokens }) =>
        Effect.map(
          run(adaptiveLimits, key, (state, now) =>
            Adaptive.consume(state, { tokens, fallbackWindowMillis: Duration.toMillis(fallbackWindow) }, now)),
          ({ delayMillis, epoch, phase }) => ({ delay: Duration.millis(delayMillis), epoch, phase })
        ),
      adaptiveFeedback: ({ epoch, key, retryAfter, status, tokens }) =>
        status !== 429 || retryAfter === undefined ?
          Effect.void :
          run(adaptiveLimits, key, (state, now) =>
            Adaptive.feedback(state, { epoch, tokens, retryAfterMillis: Duration.toMillis(retryAfter) }, now))
    })
  })

/**
 * `RateLimiterStore` on etcd, for `RateLimiter.layer`.
 *
 * **Example**
 *
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { EtcdRateLimiterStore } from "@effect-etcd/discovery/persistence"
 * import { Effect, Layer } from "effect"
 * import { RateLimiter } from "effect/persistence"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   // At most 60 reports per minute, in all processes together.
 *   const { remaining } = yield* limiter.consume({ key: "reports", limit: 60, window: "1 minute" })
 *   assert.equal(remaining, 59)
 * })
 *
 * // With etcd: EtcdGrpc.layer({ endpoints: ["http://127.0.0.1:2379"] })
 * const layer = RateLimiter.layer.pipe(
 *   Layer.provide(EtcdRateLimiterStore.layer()),
 *   Layer.provide(EtcdMemory.layer())
 * )
 * await Effect.runPromise(program.pipe(Effect.provide(layer)))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<RateLimiter.RateLimiterStore, InvalidOption, Etcd> =>
  Layer.effect(RateLimiter.RateLimiterStore, make(options))

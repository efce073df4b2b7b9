/**
 * The newest value of a stream of discovery, for requests at any time.
 *
 * @module
 */
import { Deferred, Effect, Exit, FiberSet, type Scope, Stream } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import type { Freshness } from "../etcd/Freshness.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"
import { logWarning } from "../internal/log.ts"

/** The last known value at the time of a request. */
export interface Known<A> {
  readonly value: A
  /** How long ago the value was last known to be current. 0 while it is live. */
  readonly ageMillis: number
}

/** See the module's description. */
export interface Follower<A> {
  /**
   * Starts to follow at the first use, and waits briefly for the first value. Returns `undefined` if there is none yet.
   */
  readonly known: Effect.Effect<Known<A> | undefined>
}

/** How long a request waits for the first value. */
const firstValueMillis = 2000

/** Follows a stream until the scope closes. Logs and retries a failure; meanwhile the last value ages. */
export const make = Effect.fnUntraced(function* <A extends { readonly freshness: Freshness }>(
  what: string,
  stream: Stream.Stream<A, DiscoveryError>
): Effect.fn.Return<Follower<A>, never, Scope.Scope> {
  // Run in the context of the caller, not of the first request.
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const first = Deferred.makeUnsafe<void>()
  let value: A | undefined
  /**
   * When the value became `Stale` or the stream ended, in milliseconds of the monotonic clock. Once the stream has
   * ended, the value ages even if it is `Live`.
   */
  let oldSince: number | undefined
  let isStarted = false

  const take = (next: A) =>
    Effect.map(monotonicMillis, (now) => {
      value = next
      oldSince = next.freshness._tag === "Stale" ? oldSince ?? now : undefined
      Deferred.doneUnsafe(first, Exit.void)
    })
  const ended = Effect.map(monotonicMillis, (now) => {
    oldSince ??= now
  })
  const following = Stream.runForEach(stream, take).pipe(
    Effect.sandbox,
    Effect.tapError((cause) => logWarning(`cannot follow ${what}; retrying`, cause)),
    Effect.ensuring(ended),
    Effect.retry(Backoff.refused),
    Effect.ignore
  )

  return {
    known: Effect.gen(function* () {
      if (!isStarted) {
        isStarted = true
        run(following)
      }
      if (value === undefined) yield* Effect.timeoutOption(Deferred.await(first), firstValueMillis)
      const newest: A | undefined = value
      if (newest === undefined) return undefined
      return { value: newest, ageMillis: oldSince === undefined ? 0 : (yield* monotonicMillis) - oldSince }
    })
  }
})

/**
 * The newest value of a stream of discovery, for requests that come at any time.
 *
 * @module
 */
import { Clock, Deferred, Effect, Exit, FiberSet, type Scope, Stream } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import type { Freshness } from "../etcd/Freshness.ts"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"

/** What is known at the time of a request. */
export interface Known<A> {
  readonly value: A
  /** How long ago the value was known to be current; 0 while it follows etcd. */
  readonly ageMillis: number
}

/** See the module's description. */
export interface Follower<A> {
  /** Starts to follow at the first use, and waits a moment for the first value. `undefined` while nothing is known. */
  readonly known: Effect.Effect<Known<A> | undefined>
}

/** How long a request waits for the first value. */
const firstValueMillis = 2000

/** Follows a stream until the scope closes. A failure is logged and retried; the last value then grows old. */
export const make = Effect.fnUntraced(function* <A extends { readonly freshness: Freshness }>(
  what: string,
  stream: Stream.Stream<A, DiscoveryError>
): Effect.fn.Return<Follower<A>, never, Scope.Scope> {
  // In the context of this moment, not in that of the first request.
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const first = Deferred.makeUnsafe<void>()
  let value: A | undefined
  /** When the stream ended. A value that follows nothing any more is not `Live`, whatever it says. */
  let endedAt: number | undefined
  let isStarted = false

  const take = (next: A) => {
    value = next
    endedAt = undefined
    Deferred.doneUnsafe(first, Exit.void)
  }
  const ended = Effect.map(Clock.currentTimeMillis, (now) => {
    endedAt ??= now
  })
  const following = Stream.runForEach(stream, (next) => Effect.sync(() => take(next))).pipe(
    Effect.sandbox,
    Effect.tapError((cause) => Effect.logWarning(`cannot follow ${what}; retrying`, cause)),
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
      const { freshness } = newest
      const staleSince = freshness._tag === "Stale" ? Math.min(freshness.since, endedAt ?? Infinity) : endedAt
      const now = yield* Clock.currentTimeMillis
      return { value: newest, ageMillis: staleSince === undefined ? 0 : Math.max(0, now - staleSince) }
    })
  }
})

/**
 * Service clients by key: created on first use, shared, and closed when idle.
 *
 * `RcMap` has idle times as well, but starts a fiber whenever the last user of a value leaves: for each request of a
 * quiet client. Here one fiber per key checks periodically, and requests only count.
 *
 * @module
 */
import { type Clock, Duration, Effect, Exit, RcMap, Scope } from "effect"

interface Entry<A> {
  readonly value: A
  readonly scope: Scope.Closeable
  inUse: number
  /** Milliseconds on a monotonic clock. */
  lastUse: number
}

/** Values by key, until the scope closes. */
export class SharedClients<A, E> {
  readonly #values: RcMap.RcMap<string, A, E>
  readonly #idleMillis: number
  readonly #scope: Scope.Scope
  readonly #now: () => number
  readonly #entries = new Map<string, Entry<A>>()

  constructor(values: RcMap.RcMap<string, A, E>, idle: Duration.Duration, scope: Scope.Scope, clock: Clock.Clock) {
    this.#values = values
    this.#idleMillis = Duration.toMillis(idle)
    this.#scope = scope
    this.#now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Runs an effect with the value of a key. */
  use<B, E2, R>(key: string, effect: (value: A) => Effect.Effect<B, E2, R>): Effect.Effect<B, E | E2, R> {
    return Effect.suspend(() => {
      const entry = this.#entries.get(key)
      return entry === undefined ?
        Effect.flatMap(this.#open(key), (entry) => this.#run(entry, effect)) :
        this.#run(entry, effect)
    })
  }

  #run<B, E2, R>(entry: Entry<A>, effect: (value: A) => Effect.Effect<B, E2, R>): Effect.Effect<B, E2, R> {
    return Effect.suspend(() => {
      entry.inUse += 1
      return Effect.onExit(effect(entry.value), () => {
        entry.inUse -= 1
        entry.lastUse = this.#now()
        return Effect.void
      })
    })
  }

  #open(key: string): Effect.Effect<Entry<A>, E> {
    return Effect.suspend(() => {
      const scope = Scope.forkUnsafe(this.#scope)
      return RcMap.get(this.#values, key).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void)),
        Effect.flatMap((value) => {
          // Meanwhile another request may have opened it.
          const existing = this.#entries.get(key)
          if (existing !== undefined) return Effect.as(Scope.close(scope, Exit.void), existing)
          const entry: Entry<A> = { value, scope, inUse: 0, lastUse: this.#now() }
          this.#entries.set(key, entry)
          return this.#idleMillis === Infinity ?
            Effect.succeed(entry) :
            Effect.as(Effect.forkIn(this.#closeWhenIdle(key, entry), this.#scope), entry)
        })
      )
    })
  }

  #closeWhenIdle(key: string, entry: Entry<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = entry.inUse > 0 ? this.#idleMillis : entry.lastUse + this.#idleMillis - this.#now()
      if (left > 0) return Effect.andThen(Effect.sleep(Math.ceil(left)), this.#closeWhenIdle(key, entry))
      this.#entries.delete(key)
      return Scope.close(entry.scope, Exit.void)
    })
  }
}

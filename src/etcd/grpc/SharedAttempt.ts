import { Deferred, Effect, Exit } from "effect"
import { clientClosed, type Failure } from "./failures.ts"

/**
 * Runs an attempt once for all its waiters, which share its failure.
 *
 * Interrupting a waiter does not interrupt the attempt, which belongs to the client. After its end, the next waiter
 * starts another.
 */
export class SharedAttempt<A> {
  readonly #run: (effect: Effect.Effect<void>) => void
  #pending: Deferred.Deferred<A, Failure> | undefined

  /** `run` runs an effect for as long as the client lives. */
  constructor(run: (effect: Effect.Effect<void>) => void) {
    this.#run = run
  }

  /** Waits for the pending attempt, or starts this one. */
  join(attempt: Effect.Effect<A, Failure>): Effect.Effect<A, Failure> {
    return Effect.suspend(() => {
      if (this.#pending !== undefined) return Deferred.await(this.#pending)
      const started = this.#pending = Deferred.makeUnsafe<A, Failure>()
      this.#run(Effect.ignore(Effect.onExit(attempt, (exit) =>
        Effect.sync(() => {
          this.#pending = undefined
          Deferred.doneUnsafe(started, Exit.hasInterrupts(exit) ? Exit.fail(clientClosed) : exit)
        }))))
      return Deferred.await(started)
    })
  }
}

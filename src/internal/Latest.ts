/**
 * A changing value for readers that want the newest one.
 *
 * A late or slow reader skips values and costs constant memory. A waiting reader is an entry of a list.
 *
 * @module
 */
import { Cause, Effect, Exit, type Pull, Stream } from "effect"
import { unchainedCallback } from "./unchained.ts"

type Values<A, E> = Pull.Pull<readonly [A], E>

/** The newest value, which may not exist yet. */
export class Latest<A, E = never> {
  #newest: { readonly value: A } | undefined
  #ended: Values<A, E> | undefined
  #waiting = new Set<() => void>()

  /** Replaces the value. */
  set(value: A): void {
    if (this.#ended !== undefined) return
    this.#newest = { value }
    this.#wake()
  }

  /** Ends the changes: readers get the last value, then end or fail. */
  end(exit: Exit.Exit<void, E>): void {
    this.#ended ??= Exit.isSuccess(exit) ? Cause.done() : Exit.failCause(exit.cause)
    this.#wake()
  }

  /** The newest value, if there is one, then newer ones. A slow reader skips values. */
  get changes(): Stream.Stream<A, E> {
    return Stream.fromPull(Effect.sync(() => {
      let seen: { readonly value: A } | undefined
      const pull: Values<A, E> = Effect.suspend(() => {
        const newest = this.#newest
        if (newest !== undefined && newest !== seen) {
          seen = newest
          return Effect.succeed([newest.value])
        }
        return this.#ended ?? unchainedCallback<readonly [A], E | Cause.Done>((resume) => {
          const reader = () => resume(pull)
          this.#waiting.add(reader)
          return Effect.sync(() => this.#waiting.delete(reader))
        })
      })
      return pull
    }))
  }

  #wake(): void {
    if (this.#waiting.size === 0) return
    const readers = this.#waiting
    this.#waiting = new Set()
    for (const resume of readers) resume()
  }
}

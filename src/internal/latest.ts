/**
 * A value that changes, for readers who want the newest: a late or slow reader skips what it missed and costs constant
 * memory, a reader who waits costs nothing but a place in a list.
 *
 * @module
 */
import { Cause, Effect, Exit, type Pull, Stream } from "effect"

/** The newest value of something. */
export interface Latest<A, E = never> {
  /** Replaces the value. */
  readonly set: (value: A) => Effect.Effect<void>
  /** No value follows: readers get the last one and then end, or fail. */
  readonly end: (exit: Exit.Exit<void, E>) => Effect.Effect<void>
  /** The newest value, if there is one yet, and each later one that the reader is quick enough to see. */
  readonly changes: Stream.Stream<A, E>
}

/** A value that is not there yet. */
export const make = <A, E = never>(): Latest<A, E> => {
  type Values = Pull.Pull<readonly [A], E>
  let newest: { readonly value: A } | undefined
  let ended: Values | undefined
  let waiting = new Set<() => void>()

  const wake = (): void => {
    const readers = waiting
    waiting = new Set()
    for (const resume of readers) resume()
  }

  return {
    set: (value) =>
      Effect.sync(() => {
        if (ended !== undefined) return
        newest = { value }
        wake()
      }),
    end: (exit) =>
      Effect.sync(() => {
        ended ??= Exit.isSuccess(exit) ? Cause.done() : Exit.failCause(exit.cause)
        wake()
      }),
    changes: Stream.fromPull(Effect.sync(() => {
      let seen: typeof newest
      const pull: Values = Effect.suspend(() => {
        if (newest !== undefined && newest !== seen) {
          seen = newest
          return Effect.succeed([newest.value])
        }
        return ended ?? Effect.callback<readonly [A], E | Cause.Done>((resume) => {
          const reader = () => resume(pull)
          waiting.add(reader)
          return Effect.sync(() => waiting.delete(reader))
        })
      })
      return pull
    }))
  }
}

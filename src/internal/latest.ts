/**
 * A value that changes, for readers who want the newest: a late or slow reader skips what it missed and costs constant
 * memory.
 *
 * @module
 */
import { Effect, type Exit, PubSub, Stream, type Take } from "effect"

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
export const make = <A, E = never>(): Effect.Effect<Latest<A, E>> =>
  Effect.map(
    PubSub.sliding<Take.Take<A, E>>({ capacity: 1, replay: 1 }),
    (pubsub) => ({
      set: (value) => Effect.asVoid(PubSub.publish(pubsub, [value])),
      end: (exit) => Effect.asVoid(PubSub.end(pubsub, exit)),
      changes: Stream.fromPubSubTake(pubsub)
    })
  )

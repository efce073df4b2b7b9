/**
 * A key or a prefix, followed: what is there, and then every change.
 *
 * A reader that is slow holds up nothing and costs constant memory. When {@link capacity} events wait for it, the watch
 * is closed; once they have been taken, it is opened again from the revision after the last of them, and what happened
 * meanwhile comes from etcd's history, answer by answer (etcd puts at most 1,000 revisions into one). When that has been
 * compacted, everything is listed again.
 *
 * @module
 */
import { Deferred, Duration, Effect, Option, Queue, Result, type Schedule, Stream } from "effect"
import { Etcd, invalidArgument, type KeyValue, type WatchEvent } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import * as Backoff from "../etcd/Backoff.ts"
import { type Entry, type Listing, readEntry, readListing } from "./Entry.ts"
import {
  type AnyPrefix,
  codecFor,
  type InvalidValue,
  type KeyLike,
  keyText,
  nameOf,
  rangeOf,
  type ValueCodec,
  type ValueOf
} from "./Key.ts"

/** What is told of a key or a prefix. */
export type KvEvent<A> =
  /** All there is at `revision`; whatever was known before is replaced. */
  | ({
    readonly _tag: "Listed"
    /**
     * `false` for the first event. `true` when the history since the last event is gone (compacted, or another one
     * has taken its place): changes were missed.
     */
    readonly relisted: boolean
  } & Listing<A>)
  /** A key was written. */
  | {
    readonly _tag: "Put"
    readonly revision: bigint
    readonly entry: Entry<A>
    /** What the key held before; none unless asked for, when it was created, and when that is compacted or no `A`. */
    readonly previous: Option.Option<Entry<A>>
  }
  /** A key was deleted, or its lease has ended. */
  | {
    readonly _tag: "Deleted"
    readonly revision: bigint
    readonly key: string
    /** What the key held before; none unless asked for, and when that is compacted or no `A`. */
    readonly previous: Option.Option<Entry<A>>
  }
  /** A key was written with a value that is none. */
  | { readonly _tag: "Rejected"; readonly revision: bigint; readonly key: string; readonly error: InvalidValue }

/** How to watch. */
export interface WatchOptions {
  /**
   * The first revision of interest: nothing is listed, and all changes from there on are told. Default: everything is
   * listed, and all changes after that are told.
   */
  readonly revision?: bigint
  /** Tell what a key held before it was written or deleted. Default `false`. */
  readonly previous?: boolean
  /** When to try again after a failure. Default: `Backoff.reregister`, endless. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /** An idle watch hears from etcd at least this often. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to show that it is there. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
}

/** Events that may wait for a slow reader. */
const capacity = 1024

/**
 * Follows a key (a plain string is one) or a prefix made with `Kv.prefix`.
 *
 * First `Listed`, then `Put`, `Deleted` and `Rejected` in the order of their revisions, none missing and none twice,
 * whatever happens to the connection; events of one transaction have the same revision. When the history in between is
 * gone there is another `Listed`, with `relisted`.
 *
 * It never ends by itself. It fails with `InvalidArgument` before anything is sent, with what trying again cannot mend
 * (permission denied, authentication refused), and when a finite `retry` runs out. A value that does not decode is an
 * event, or in `rejected` of a `Listed`. While etcd cannot be reached there are no events.
 *
 * One fiber starts; it ends, and the watch with it, when the stream does. A slow reader costs constant memory: some
 * thousand events wait for it, later ones stay in etcd until it has caught up.
 *
 * @example
 * ```ts
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Kv } from "@effect-etcd/discovery/kv"
 * import { Effect, Schema, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const limits = Kv.prefix("/limits/", Schema.Int)
 *
 * const program = Effect.gen(function* () {
 *   yield* Kv.put(limits.key("reads"), 100)
 *   yield* Kv.watch(limits).pipe(
 *     Stream.take(3),
 *     Stream.runForEach((event) => {
 *       switch (event._tag) {
 *         case "Listed":
 *           assert.deepEqual(event.entries.map(({ value }) => value), [100])
 *           return Kv.put(limits.key("writes"), 10)
 *         case "Put":
 *           assert.deepEqual([event.entry.key, event.entry.value], ["/limits/writes", 10])
 *           return Kv.delete(limits.key("reads"))
 *         case "Deleted":
 *           assert.equal(event.key, "/limits/reads")
 *           return Effect.void
 *         case "Rejected":
 *           return Effect.logWarning(event.error)
 *       }
 *     })
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(EtcdMemory.layer())))
 * ```
 */
export const watch = <T extends KeyLike | AnyPrefix>(
  target: T,
  options: WatchOptions = {}
): Stream.Stream<KvEvent<ValueOf<T>>, EtcdError, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    const settings = yield* Effect.fromResult(settingsOf(target, options))
    const etcd = yield* Etcd
    const codec = codecFor(target)
    let knownAt = options.revision === undefined ? undefined : options.revision - 1n

    /** Follows until the reader is too slow. */
    const stretch = Stream.callback<KvEvent<ValueOf<T>>, EtcdError>(Effect.fnUntraced(function* (queue) {
      const full = yield* Deferred.make<void>()
      // Waits only for its end: `follow` would take a reader's pace for the server's silence.
      const tell = (followed: Followed) =>
        Effect.suspend(() => {
          if (followed._tag !== "Listed" && followed._tag !== "Changed") return Effect.void
          Queue.offerAllUnsafe(queue, eventsOf(codec, followed, knownAt !== undefined))
          knownAt = followed.revision
          if (Queue.sizeUnsafe(queue) < capacity) return Effect.void
          return Effect.andThen(Deferred.succeed(full, undefined), Effect.never)
        })
      yield* follow(etcd, { ...settings, ...(knownAt === undefined ? {} : { knownAt }) }, tell).pipe(
        Effect.raceFirst(Deferred.await(full))
      )
      yield* Queue.end(queue)
    }))
    return Stream.forever(stretch)
  }))

const eventsOf = <A>(
  codec: ValueCodec<A>,
  followed: Extract<Followed, { readonly _tag: "Listed" | "Changed" }>,
  relisted: boolean
): ReadonlyArray<KvEvent<A>> =>
  followed._tag === "Listed" ?
    [{ _tag: "Listed", relisted, ...readListing(codec, followed.kvs, followed.revision) }] :
    followed.events.map((event) => eventOf(codec, event))

const eventOf = <A>(codec: ValueCodec<A>, { kv, prevKv, type }: WatchEvent): KvEvent<A> => {
  const { modRevision: revision } = kv
  const read = (kv: KeyValue) => readEntry(codec, kv)
  const told: Result.Result<KvEvent<A>, InvalidValue> = Result.gen(function* () {
    const previous = prevKv === undefined ? Option.none() : Result.getSuccess(read(prevKv))
    return type === "put" ?
      { _tag: "Put" as const, revision, entry: yield* read(kv), previous } :
      { _tag: "Deleted" as const, revision, key: yield* keyText(kv.key, revision), previous }
  })
  return Result.getOrElse(told, (error) => ({ _tag: "Rejected", revision, key: error.key, error }))
}

const settingsOf = (target: KeyLike | AnyPrefix, options: WatchOptions) =>
  Result.gen(function* () {
    const refuse = (rule: string) => Result.fail(invalidArgument("watch", rule, nameOf(target)))
    const range = yield* rangeOf("watch", target)
    const { progressEvery = "10 seconds", progressTimeout = "5 seconds", revision } = options
    const positive = (name: string, value: Duration.Input) => {
      const duration = Option.getOrUndefined(Duration.fromInput(value))
      return duration !== undefined && Duration.isPositive(duration) ?
        Result.succeed(duration) :
        refuse(`${name} must be a duration above 0`)
    }
    if (revision !== undefined && revision <= 0n) {
      return yield* refuse(`the revision must be above 0, got ${revision}`)
    }
    return {
      range,
      prevKv: options.previous ?? false,
      progressEvery: yield* positive("progressEvery", progressEvery),
      progressTimeout: yield* positive("progressTimeout", progressTimeout),
      retry: options.retry ?? Backoff.reregister
    }
  })

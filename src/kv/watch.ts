/**
 * Watching a key or a prefix: its state, and then every change.
 *
 * A slow reader blocks nothing and costs constant memory. When {@link capacity} events wait for the reader, the watch
 * closes. Once the reader has taken them, the watch reopens at the revision after the last of them. etcd's history then
 * supplies what happened in between, in responses of at most 1,000 revisions. If that history was compacted, the range
 * is listed again.
 *
 * @module
 */
import { Cause, Deferred, type Duration, Effect, Option, Result, type Schedule, Stream } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { Etcd } from "../etcd/Etcd.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { WatchEvent } from "../etcd/messages/watch.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "../etcd/follow.ts"
import { Inbox } from "../internal/Inbox.ts"
import { withJson } from "../internal/json.ts"
import { logWarning } from "../internal/log.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { mapInSlices } from "../internal/time/slices.ts"
import { type Entry, type Listing, readEntry, readListingInSlices } from "./Entry.ts"
import {
  codecFor,
  type InvalidValue,
  type KeyLike,
  keyText,
  type PrefixLike,
  rangeOf,
  type ValueCodec,
  type ValueOf
} from "./Key.ts"
import { isRevision, revisionRule } from "./requests.ts"

/**
 * What {@link watch} emits.
 *
 * @since 0.1.0
 * @category models
 */
export type Event<A> =
  /** The complete state at `revision`. It replaces everything emitted before. */
  | ({
    readonly _tag: "Listed"
    /**
     * `true` if changes were missed, because the history since the last event was compacted or replaced. `false` for
     * the first event.
     */
    readonly relisted: boolean
  } & Listing<A>)
  /** A key was written. */
  | {
    readonly _tag: "Put"
    readonly revision: bigint
    readonly entry: Entry<A>
    /**
     * The previous entry. None without the option `previous`, for a new key, or if it is compacted or does not decode.
     */
    readonly previous: Option.Option<Entry<A>>
  }
  /** A key was deleted, or its lease ended. */
  | {
    readonly _tag: "Deleted"
    readonly revision: bigint
    readonly key: string
    /** The previous entry. None without the option `previous`, or if it is compacted or does not decode. */
    readonly previous: Option.Option<Entry<A>>
  }
  /** A key was written, and its value does not decode. */
  | { readonly _tag: "Rejected"; readonly revision: bigint; readonly key: string; readonly error: InvalidValue }

/**
 * The options of {@link watch}.
 *
 * @since 0.1.0
 * @category options
 */
export interface WatchOptions {
  /**
   * Emit the changes from this revision on, without a first `Listed`. It may be a future revision.
   *
   * Default: list the current state, then emit all changes after it.
   */
  readonly revision?: bigint
  /** Emit the previous entry of a key with each change. Default: `false`. */
  readonly previous?: boolean
  /** The schedule of retries after a failure. Default: `Backoff.standard`, which never ends. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /** How often etcd reports progress on an idle watch. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to respond before the watch is replaced. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
}

/** The number of events that may wait for a slow reader. */
const capacity = 1024

/**
 * Watches a key (a plain string is one) or a prefix made with `Kv.prefix`.
 *
 * **Details**
 *
 * It emits `Listed`, then `Put`, `Deleted` and `Rejected` in the order of their revisions. None is missing or repeated,
 * whatever happens to the connection. Events of one transaction have the same revision. If the history in between is
 * gone, it emits another `Listed` with `relisted`. While etcd is unreachable it emits nothing and logs a warning.
 *
 * It never ends by itself. Invalid input fails with `InvalidOption` or `InvalidArgument` before anything is sent. It
 * also fails if etcd refuses the first read (permission denied, authentication refused), and when a finite `retry`
 * ends. A later refusal counts as an outage. A value that does not decode is a `Rejected` event, or in `rejected` of a
 * `Listed`.
 *
 * One fiber starts. It and the watch end when the stream ends. A slow reader costs constant memory: about a thousand
 * events wait for it, and later ones stay in etcd's history until it has caught up.
 *
 * **Example**
 *
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
 *
 * @since 0.1.0
 * @category watches
 */
export const watch = <T extends KeyLike | PrefixLike>(
  target: T,
  options: WatchOptions = {}
): Stream.Stream<Event<ValueOf<T>>, EtcdError | InvalidOption, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    const settings = yield* Effect.fromResult(settingsOf(options))
    const range = yield* Effect.fromResult(rangeOf("watch", target))
    const etcd = yield* Etcd
    const codec = codecFor(target)
    let knownAt = options.revision === undefined ? undefined : yield* startAt(etcd, range, options.revision, settings)
    // Nothing before the first revision is emitted.
    let firstRevision = options.revision ?? 0n
    let isAccepted = false

    /** Follows until the reader is too slow. */
    const run = Stream.unwrap(Effect.gen(function* () {
      const waiting = new Inbox<Event<ValueOf<T>>, EtcdError | Cause.Done>()
      const full = yield* Deferred.make<void>()
      // Never wait for the reader here: the transport bounds what waits for `follow`.
      const report = (followed: Followed) =>
        Effect.gen(function* () {
          if (followed._tag === "Interrupted") return yield* warn(followed.cause)
          if (followed._tag === "Resumed") return
          isAccepted = true
          const events = yield* eventsOf(codec, followed, firstRevision, knownAt !== undefined)
          knownAt = followed.revision
          if (events.length === 0) return
          firstRevision = 0n
          for (const event of events) waiting.offer(event)
          if (waiting.size < capacity) return
          yield* Deferred.succeed(full, undefined)
          return yield* Effect.never
        })
      const known = knownAt === undefined ? {} : { knownAt }
      yield* follow(etcd, { ...settings, range, isAccepted, ...known }, report).pipe(
        Effect.raceFirst(Deferred.await(full)),
        Effect.andThen(Cause.done()),
        Effect.onError((cause) => Effect.sync(() => waiting.end(cause))),
        Effect.forkScoped
      )
      return Stream.fromPull(Effect.succeed(waiting.takeAll))
    }))
    return Stream.forever(run)
  }))

const warn = ({ message }: EtcdError): Effect.Effect<void> => logWarning(`lost a watch; reconnecting: ${message}`)

/**
 * The revision after which to watch in order to receive all changes from `first` on.
 *
 * For a future `first` it is the current revision: `follow` would mistake a server that is behind `first` for another
 * history.
 */
const startAt = (
  etcd: Etcd,
  range: Pick<FollowOptions, "range">["range"],
  first: bigint,
  { retry }: Pick<FollowOptions, "retry">
): Effect.Effect<bigint, EtcdError> =>
  etcd.range({ ...range, countOnly: true }).pipe(
    Effect.retry(Backoff.untilBack(retry, etcd.recovered)),
    Effect.map(({ header: { revision } }) => revision < first - 1n ? revision : first - 1n)
  )

/** Decodes in slices, because a list may be long and a codec slow. */
const eventsOf = <A>(
  codec: ValueCodec<A>,
  followed: Extract<Followed, { readonly _tag: "Listed" | "Changed" }>,
  firstRevision: bigint,
  relisted: boolean
): Effect.Effect<ReadonlyArray<Event<A>>> => {
  if (followed._tag === "Changed") {
    const events = followed.events.filter(({ kv }) => kv.modRevision >= firstRevision)
    return mapInSlices(events, (event) => eventOf(codec, event), ({ kv }) => kv.value.length)
  }
  const { kvs, revision } = followed
  return revision < firstRevision ? Effect.succeed([]) : Effect.map(
    readListingInSlices(codec, kvs, revision),
    (listing) => [withJson({ _tag: "Listed" as const, relisted, ...listing })]
  )
}

const eventOf = <A>(codec: ValueCodec<A>, { kv, prevKv, type }: WatchEvent): Event<A> => {
  const { modRevision: revision } = kv
  const read = (kv: KeyValue) => readEntry(codec, kv)
  const event: Result.Result<Event<A>, InvalidValue> = Result.gen(function* () {
    const previous = prevKv === undefined ? Option.none() : Result.getSuccess(read(prevKv))
    return type === "put" ?
      { _tag: "Put" as const, revision, entry: yield* read(kv), previous } :
      { _tag: "Deleted" as const, revision, key: yield* keyText(kv.key, revision), previous }
  })
  return withJson(
    Result.getOrElse(event, (error): Event<A> => ({ _tag: "Rejected", revision, key: error.key, error }))
  )
}

const settingsOf = (options: WatchOptions) =>
  checkOptions("Kv.watch", (check) => {
    const { previous = false, progressEvery = "10 seconds", progressTimeout = "5 seconds", revision } = options
    if (revision !== undefined && !isRevision(revision)) check.refuse("revision", revision, revisionRule)
    return {
      prevKv: previous,
      progressEvery: check.duration("progressEvery", progressEvery),
      progressTimeout: check.duration("progressTimeout", progressTimeout),
      retry: check.schedule("retry", options.retry ?? Backoff.standard)
    }
  })

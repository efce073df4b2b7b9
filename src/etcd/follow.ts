/**
 * Following a range of keys: list it, watch it from the next revision, and keep doing so whatever happens.
 *
 * This is the one place that knows how a watch is resumed. Its states:
 *
 * - *listing*: a linearizable, paginated read at one revision `r`, told as `Listed`.
 * - *watching* from `r + 1`: each answer with events is told as `Changed` and moves the next revision behind its last.
 * - *interrupted*: the watch broke, or nothing was heard for `progressEvery + progressTimeout`, or the list failed. Told
 *   once as `Interrupted`; the watch is opened again from the next revision under the backoff of `retry`. Once it has
 *   caught up that is told: as `Changed` when something was missed, as `Resumed` when nothing was. The backoff starts
 *   afresh when a watch has lived for {@link healthySpell}.
 *
 * A compacted revision, another cluster id, and a revision or a raft term lower than one already seen mean that the
 * history between is gone or replaced: the range is listed again. A history that was replaced and has already run past
 * the next revision shows in none of these, so whoever comes back reads the newest write it was told of once more.
 *
 * @module
 */
import { Deferred, Duration, Effect, identity, Option, type Schedule, Semaphore, Stream } from "effect"
import { monotonicMillis, sleepUntil } from "../internal/time/monotonic.ts"
import { Steps } from "../internal/time/Steps.ts"
import { type Etcd, type KeyRange, type KeyValue, rangeAll, type ResponseHeader, type WatchEvent } from "./Etcd.ts"
import { Compacted, DeadlineExceeded, EtcdError } from "./EtcdError.ts"

/** What is told of a range. */
export type Followed =
  /** All of the range at `revision`; whatever was known before is replaced. */
  | { readonly _tag: "Listed"; readonly revision: bigint; readonly kvs: ReadonlyArray<KeyValue> }
  /** All changes since what was told before, up to and including `revision`. Never empty. */
  | { readonly _tag: "Changed"; readonly revision: bigint; readonly events: ReadonlyArray<WatchEvent> }
  /** From now on changes may be missed, until something else is told. */
  | { readonly _tag: "Interrupted"; readonly cause: EtcdError }
  /** Nothing was missed. */
  | { readonly _tag: "Resumed" }

/** How to follow. */
export interface FollowOptions {
  readonly range: KeyRange
  /** The state at this revision is known already: begin with the watch. Default: begin with the list. */
  readonly knownAt?: bigint
  /** Events carry what the key held before. Default `false`. */
  readonly prevKv?: boolean
  readonly progressEvery: Duration.Duration
  readonly progressTimeout: Duration.Duration
  readonly retry: Schedule.Schedule<unknown, EtcdError>
}

/** A watch that lived this long ends a spell of trouble: the backoff starts afresh. */
const healthySpell = Duration.toMillis("10 seconds")

/**
 * How long a watch that was opened again may take to tell what it missed, or that it is compacted: etcd looks after
 * watches that are behind every 100 ms.
 */
const catchUp = Duration.millis(500)

/** What was known belongs to another history: the answer is the same as to a compaction. */
const replaced = new EtcdError({
  reason: new Compacted({ detail: "the history was replaced, or this member is behind it", compactRevision: 0n }),
  method: "watch"
})

/** A write without its value. Its key is a copy: a view would keep all of the answer that it came with. */
type Witness = Pick<KeyValue, "key" | "modRevision" | "createRevision" | "lease"> & Pick<WatchEvent, "type">

const witnessOf = ({ kv: { createRevision, key, lease, modRevision }, type }: WatchEvent): Witness => ({
  type,
  key: key.slice(),
  modRevision,
  createRevision,
  lease
})

const newestOf = (kvs: ReadonlyArray<KeyValue>): Witness | undefined => {
  let newest: KeyValue | undefined
  for (const kv of kvs) {
    if (newest === undefined || kv.modRevision > newest.modRevision) newest = kv
  }
  return newest === undefined ? undefined : witnessOf({ type: "put", kv: newest })
}

const isSameWrite = (found: KeyValue, told: Witness | undefined): boolean =>
  found.modRevision === told?.modRevision && found.createRevision === told.createRevision && found.lease === told.lease

/**
 * Follows a range until it is interrupted, telling `tell` what happens, one after the other. Fails only for what trying
 * again cannot mend: permission denied, authentication refused, an invalid request.
 */
export const follow = Effect.fnUntraced(function* (
  etcd: Etcd,
  options: FollowOptions,
  tell: (followed: Followed) => Effect.Effect<void>
): Effect.fn.Return<never, EtcdError> {
  const silence = Duration.sum(options.progressEvery, options.progressTimeout)
  const backoff = new Steps(options.retry)
  const turn = yield* Semaphore.make(1)
  let next = options.knownAt === undefined ? undefined : options.knownAt + 1n
  let newest: ResponseHeader | undefined
  /** The newest write that was told. */
  let witness: Witness | undefined
  let interrupted = false
  let listedOnly = false
  let heardAt = 0

  const list = Effect.gen(function* () {
    const { header, kvs } = yield* rangeAll(etcd, options.range)
    next = header.revision + 1n
    newest = header
    witness = newestOf(kvs)
    interrupted = false
    listedOnly = true
    yield* tell({ _tag: "Listed", revision: header.revision, kvs })
  })

  const isReplaced = (header: ResponseHeader): boolean =>
    newest !== undefined && (
      header.clusterId !== newest.clusterId || header.raftTerm < newest.raftTerm || header.revision < newest.revision
    )

  /** Whether the newest write that was told is still part of history; yes when nobody can tell any more. */
  const isSameHistory = Effect.suspend(() => {
    if (witness === undefined) return Effect.succeed(true)
    const { key, modRevision, type } = witness
    const read = (revision: bigint) => Effect.map(etcd.range({ key, revision, keysOnly: true }), ({ kvs }) => kvs[0])
    const known = type === "put" ?
      Effect.map(read(modRevision), (found) => found !== undefined && isSameWrite(found, witness)) :
      Effect.map(
        Effect.all([read(modRevision - 1n), read(modRevision)]),
        ([before, after]) => before !== undefined && after === undefined
      )
    return Effect.catch(known, (error) => {
      if (error.reason._tag === "Compacted") return Effect.succeed(true)
      // The revision is one of the future: replaced between the watch and this read.
      return error.reason._tag === "InvalidArgument" ? Effect.succeed(false) : Effect.fail(error)
    })
  })

  const resume = Effect.suspend(() => {
    if (!interrupted) return Effect.void
    interrupted = false
    return tell({ _tag: "Resumed" })
  })

  const watch = Effect.fnUntraced(function* (startRevision: bigint) {
    const opened = yield* Deferred.make<void>()
    const caughtUp = Deferred.await(opened).pipe(
      Effect.andThen(Effect.sleep(catchUp)),
      Effect.andThen(Effect.uninterruptible(turn.withPermit(resume))),
      Effect.andThen(Effect.never)
    )
    // Only a watch that is catching up has two that tell.
    const inTurn: typeof turn.withPermit = interrupted ? turn.withPermit : identity
    const watching = etcd.watch({
      ...options.range,
      startRevision,
      prevKv: options.prevKv ?? false,
      progressEvery: options.progressEvery,
      progressTimeout: options.progressTimeout
    }).pipe(
      Stream.runForEachArray(Effect.fnUntraced(function* (responses) {
        heardAt = yield* monotonicMillis
        for (const response of responses) {
          const { header } = response
          if (response._tag === "Created") {
            if (isReplaced(header) || header.revision + 1n < startRevision) return yield* replaced
            if (interrupted && !(yield* isSameHistory)) return yield* replaced
            listedOnly = false
            if (header.revision < startRevision) yield* resume
            else if (interrupted) yield* Deferred.succeed(opened, undefined)
          } else if (response._tag === "Events") {
            const from = next ?? startRevision
            const events = response.events.filter(({ kv }) => kv.modRevision >= from)
            const last = events.at(-1)
            if (last === undefined) continue
            next = last.kv.modRevision + 1n
            witness = witnessOf(last)
            interrupted = false
            yield* tell({ _tag: "Changed", revision: last.kv.modRevision, events })
          } else if (response.complete) {
            if (header.revision >= (next ?? startRevision)) next = header.revision + 1n
            yield* resume
          }
          newest = header
        }
      }, inTurn)),
      Effect.andThen(Effect.never),
      Effect.raceFirst(hung)
    )
    return yield* (interrupted ? Effect.raceFirst(watching, caughtUp) : watching)
  })

  const hung = Effect.gen(function* () {
    heardAt = yield* monotonicMillis
    let since: number
    do {
      since = heardAt
      yield* sleepUntil(since + Duration.toMillis(silence))
    } while (since !== heardAt)
    return yield* new EtcdError({
      reason: new DeadlineExceeded({ detail: `nothing was heard for ${Duration.format(silence)}` }),
      method: "watch"
    })
  })

  while (true) {
    const openedAt = yield* monotonicMillis
    const failure = yield* Effect.flip(
      Effect.suspend(() => next === undefined ? list : Effect.void).pipe(
        Effect.andThen(Effect.suspend(() => watch(next ?? 1n)))
      )
    )
    if ((yield* monotonicMillis) - openedAt >= healthySpell) backoff.reset()
    const lostHistory = failure.reason._tag === "Compacted"
    if (lostHistory) {
      next = undefined
      newest = undefined
      // Only a list that was of no use has to wait for another.
      if (!listedOnly) continue
    } else if (!failure.retryable) {
      return yield* failure
    }
    if (!interrupted) {
      interrupted = true
      yield* tell({ _tag: "Interrupted", cause: failure })
    }
    const delay = yield* backoff.next(failure)
    if (Option.isNone(delay)) return yield* failure
    yield* Effect.sleep(delay.value)
  }
})

/**
 * Follows a range of keys: lists it, watches it from the next revision, and resumes after every failure.
 *
 * This is the one place that resumes a watch. The states and their transitions are in `followState.ts`. This module
 * runs them: it lists, watches, waits, and passes each report to the caller, one after the other.
 *
 * - A list is a linearizable read in pages at one revision `r`. The watch starts at `r + 1`.
 * - A watch that fails is opened again from the next revision, under the backoff of `retry`. The backoff starts afresh
 *   after a watch that lived for {@link healthySpellMillis}.
 * - A compacted revision, another cluster id, or a lower revision or raft term than before means that the history in
 *   between is gone: `follow` relists. None of these reveals another history that has already passed the known
 *   revision. So before resuming, `follow` reads the last write that it reported, and relists if etcd no longer has it.
 *
 * The transport detects a silent watch: `Etcd.watch` fails with `DeadlineExceeded`.
 *
 * @module
 */
import { Channel, Clock, Duration, Effect, Fiber, Option, Pull, Random, type Schedule, type Scope } from "effect"
import { lasting } from "../internal/lasting.ts"
import { Slice } from "../internal/time/slices.ts"
import { Steps } from "../internal/time/Steps.ts"
import type { Etcd } from "./Etcd.ts"
import type { KeyRange } from "./KeyRange.ts"
import type { KeyValue } from "./messages/kv.ts"
import type { WatchResponse } from "./messages/watch.ts"
import { rangeAll } from "./rangeAll.ts"
import { Cancelled, EtcdError } from "./EtcdError.ts"
import {
  type Followed,
  initial,
  type Input,
  isReplaced,
  replacedHistory,
  type Retry,
  type Step,
  step,
  type Write
} from "./followState.ts"

export type { Followed } from "./followState.ts"

/** How to follow. */
export interface FollowOptions {
  readonly range: KeyRange
  /** The revision at which the caller has read the range: begin with the watch. Default: begin with a list. */
  readonly knownAt?: bigint
  /** Whether the caller has read this range before: then even the first refusal is retried. Default: `false`. */
  readonly isAccepted?: boolean
  /** Whether events carry the previous value of the key. Default: `false`. */
  readonly prevKv?: boolean
  readonly progressEvery: Duration.Duration
  readonly progressTimeout: Duration.Duration
  readonly retry: Schedule.Schedule<unknown, EtcdError>
}

/** Receives a report. Returns what is left to do, or nothing if it is done. */
export type Report = (followed: Followed) => Effect.Effect<void> | undefined

/** After a watch that lived this long, the backoff starts afresh. */
const healthySpellMillis = Duration.toMillis("10 seconds")

/**
 * How long a new watch may take to report missed changes, or a compaction. etcd serves watches that are behind every
 * 100 ms.
 */
const catchUpGrace = Duration.millis(500)

/** The mean delay after a refusal. */
const refusalPauseMillis = Duration.toMillis("5 seconds")

const endedWatch = new EtcdError({
  reason: new Cancelled({ detail: "the watch ended without an error" }),
  method: "watch"
})

/**
 * Follows a range until it is interrupted. Calls `report` for each report and waits for what it returns.
 *
 * **Details**
 *
 * Fails if etcd itself refuses the first list or watch: permission denied, authentication refused, invalid request. Once
 * etcd has accepted the request, a refusal interrupts the watch and is retried every few seconds. Fails with the last
 * error if a finite `retry` runs out.
 */
export const follow = Effect.fnUntraced(function* (
  etcd: Etcd,
  options: FollowOptions,
  report: Report
): Effect.fn.Return<never, EtcdError, Scope.Scope> {
  const backoff = new Steps(options.retry)
  const scope = yield* Effect.scope
  let recovering: Fiber.Fiber<void> | undefined
  let state = initial(options.knownAt, options.isAccepted ?? false)
  /** When the open watch was created; `Infinity` if none is open. */
  let watchedSince = Infinity

  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

  /** Applies an input to the state. */
  const advance = (input: Input): Step => {
    const next = step(state, input, now())
    state = next.state
    return next
  }

  /** Applies an input and reports it. Returns what is left to do of the report. */
  const take = (input: Input): Effect.Effect<void> | undefined => {
    const { report: followed } = advance(input)
    return followed === undefined ? undefined : report(followed)
  }

  const list = Effect.gen(function* () {
    const { header, kvs } = yield* rangeAll(etcd, options.range)
    yield* take({ _tag: "Listed", header, kvs }) ?? Effect.void
    return header.revision + 1n
  })

  const takeCreated = Effect.fnUntraced(
    function* (created: Extract<WatchResponse, { readonly _tag: "Created" }>): Effect.fn.Return<void, EtcdError> {
      if (isReplaced(state, created.header)) return yield* replacedHistory
      if (state._tag === "Interrupted" && !(yield* hasWrite(etcd, state.position.lastWrite))) {
        return yield* replacedHistory
      }
      watchedSince = now()
      yield* take(created) ?? Effect.void
    }
  )

  /**
   * Receives the next responses. If the grace passes first, it reports that nothing was missed. The pull continues
   * meanwhile, because interrupting it could lose responses that it has taken.
   */
  const receiveInGrace = Effect.fnUntraced(function* <A>(receive: Effect.Effect<A, EtcdError>) {
    const receiving = yield* Effect.forkScoped(receive, { startImmediately: true })
    const received = yield* Effect.timeoutOption(Fiber.await(receiving), catchUpGrace)
    if (Option.isNone(received)) yield* take({ _tag: "CaughtUp" }) ?? Effect.void
    return yield* Fiber.join(receiving)
  })

  const watch = Effect.fnUntraced(function* (startRevision: bigint): Effect.fn.Return<never, EtcdError, Scope.Scope> {
    const responses = etcd.watch({
      ...options.range,
      startRevision,
      prevKv: options.prevKv ?? false,
      progressEvery: options.progressEvery,
      progressTimeout: options.progressTimeout
    })
    // Unlike `Stream.toPull`, without a semaphore around each pull: this loop is the only reader.
    const pull = yield* Channel.toPullScoped(responses.channel, yield* Effect.scope)
    const receive = Pull.catchDone(pull, () => Effect.fail(endedWatch))
    while (true) {
      const isCatchingUp = state._tag === "Interrupted" && state.isOpen
      const received = yield* isCatchingUp ? receiveInGrace(receive) : receive
      const slice = new Slice()
      for (const response of received) {
        const rest = response._tag === "Created" ? takeCreated(response) : take(response)
        if (rest !== undefined) yield* rest
        else if (slice.isOver()) yield* Effect.yieldNow
      }
    }
  }, Effect.scoped)

  /**
   * Completes when etcd is back (D12). The fiber outlives the attempts in between, so that a return during a failing
   * attempt counts, too.
   */
  const recovery = Effect.gen(function* () {
    recovering ??= yield* Effect.forkIn(etcd.recovered, scope, { startImmediately: true })
    yield* Fiber.await(recovering)
    recovering = undefined
  })

  const pause = (retry: Retry | undefined, error: EtcdError): Effect.Effect<void, EtcdError> => {
    switch (retry) {
      case "never":
        return Effect.fail(error)
      case "backoff":
        return Effect.flatMap(
          backoff.next(error),
          Option.match({
            onNone: () => Effect.fail(error),
            onSome: (delay) => Effect.raceFirst(Effect.sleep(delay), recovery)
          })
        )
      case "slowly":
        return Effect.flatMap(Random.next, (draw) => Effect.sleep(refusalPauseMillis * (0.5 + draw)))
      default:
        return Effect.void
    }
  }

  const run = Effect.gen(function* () {
    const startRevision = state._tag === "Listing" ? yield* list : state.position.next
    return yield* watch(startRevision)
  })

  return yield* lasting(Effect.gen(function* () {
    watchedSince = Infinity
    const error = yield* Effect.flip(run)
    if (now() - watchedSince >= healthySpellMillis) backoff.reset()
    const { report: followed, retry } = advance({ _tag: "Failed", error })
    if (followed !== undefined) yield* report(followed) ?? Effect.void
    yield* pause(retry, error)
  }))
}, Effect.scoped)

/** Whether etcd still has a write. A compacted write counts as present, since etcd cannot tell. */
const hasWrite = (etcd: Etcd, write: Write | undefined): Effect.Effect<boolean, EtcdError> => {
  if (write === undefined) return Effect.succeed(true)
  const { key, modRevision, type } = write
  // Read the value too: on etcd 3.7 a read without values carries no lease.
  const read = (revision: bigint) => Effect.map(etcd.range({ key, revision }), ({ kvs }) => kvs[0])
  const has = type === "put" ?
    Effect.map(read(modRevision), (found) => found !== undefined && isSameWrite(found, write)) :
    Effect.map(
      Effect.all([read(modRevision - 1n), read(modRevision)]),
      ([before, after]) => before !== undefined && after === undefined
    )
  return Effect.catch(has, (error) => {
    if (error.reason._tag === "Compacted") return Effect.succeed(true)
    // A future revision: the history was replaced between the watch and this read.
    return error.reason._tag === "InvalidArgument" ? Effect.succeed(false) : Effect.fail(error)
  })
}

const isSameWrite = (found: KeyValue, write: Write): boolean =>
  found.modRevision === write.modRevision && found.createRevision === write.createRevision &&
  found.lease === write.lease

/**
 * An election: one of the candidates leads, and every process can observe which.
 *
 * **Details**
 *
 * Keys and order are those of Go's `clientv3/concurrency`, so `etcdctl elect`, Go programs and this module compete for
 * one name on equal terms. A name is the start of keys; nothing is added before it.
 *
 * **Gotchas**
 *
 * A leader that is paused can act after another one was elected. Use the fencing token, as described at {@link Lock}.
 *
 * @module
 */
import { Cause, Data, Duration, Effect, Exit, Option, Scope, Stream } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { prefix } from "../etcd/KeyRange.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { EtcdError } from "../etcd/EtcdError.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import { Latest } from "../internal/Latest.ts"
import { withJson } from "../internal/json.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"
import { Steps } from "../internal/time/Steps.ts"
import { LockLost, type LockTimeout } from "./errors.ts"
import * as Line from "./Line.ts"
import { type AcquireOptions, plan, validName } from "./options.ts"
import { logWarning } from "../internal/log.ts"

/**
 * The options of {@link campaign} and {@link whileLeader}.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends AcquireOptions {}

/**
 * A leadership that this process holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Leadership extends Line.Held {
  /** Publishes another value. Fails with `LockLost` if this process no longer leads. */
  readonly proclaim: (value: string) => Effect.Effect<void, LockLost | EtcdError>
  /** Ends the leadership before the scope closes. The next candidate leads. */
  readonly resign: Effect.Effect<void>
}

/**
 * The current leader.
 *
 * @since 0.1.0
 * @category models
 */
export interface Leader {
  readonly key: string
  /** What the leader published. */
  readonly value: string
  readonly leaseId: LeaseId
  /** The create revision of the key: the fencing token of this leadership. */
  readonly revision: bigint
}

/**
 * Waits until this process is elected, and leads until the scope closes.
 *
 * **Details**
 *
 * `value` is what {@link observe} shows, for example an address. Waits, fails and releases as `Lock.acquire` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const campaign = (
  name: string,
  value: string,
  options: Options = {}
): Effect.Effect<Leadership, InvalidOption | LockLost | LockTimeout | EtcdError, Etcd | Scope.Scope> =>
  Effect.gen(function* () {
    const planned = yield* Effect.fromResult(checkOptions("Election.campaign", (check) => {
      check.text("value", value)
      return plan(check, name, options)
    }))
    const etcd = yield* Etcd
    const scope = yield* Scope.fork(yield* Effect.scope)
    const held = yield* Line.acquire(planned, { value, permits: 1 }).pipe(
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    return withJson({
      ...held,
      proclaim: (value) =>
        etcd.txn({
          compare: [held.fence],
          then: [{ _tag: "Put", request: { key: held.key, value, ignoreLease: true } }]
        }).pipe(
          Effect.flatMap(({ succeeded }) =>
            succeeded ? Effect.void : Effect.fail(
              new LockLost({ target: name, key: held.key, detail: "its key was deleted" })
            )
          )
        ),
      resign: Scope.close(scope, Exit.void)
    })
  })

/** A leadership that lasted this long starts the backoff of {@link whileLeader} afresh. */
const healthyMillis = Duration.toMillis("10 seconds")

class Ended<A, E> extends Data.TaggedClass("Ended")<{ readonly exit: Exit.Exit<A, E> }> {}

/**
 * Runs an effect while this process leads, interrupts it on loss, and campaigns again, forever.
 *
 * **When to use**
 *
 * For a worker that may run only once at a time in a fleet.
 *
 * **Details**
 *
 * If the effect succeeds, the process keeps leading and does not run it again under the same leadership. If it fails,
 * `whileLeader` fails with it, and the next candidate leads. A loss is logged and followed by a new campaign, with the
 * backoff of `Backoff.standard`. `timeout` has no effect.
 *
 * Fails with `InvalidOption` before anything is sent, and with the `EtcdError` of a request that etcd refuses.
 * Interrupting it interrupts the effect and resigns.
 *
 * @example
 * ```ts
 * import { Election } from "@effect-etcd/discovery/coordination"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Deferred, Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const started = yield* Deferred.make<void>()
 *   const worker = Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
 *   yield* Election.whileLeader("/elections/worker", "10.0.0.5")(worker).pipe(Effect.forkScoped)
 *   yield* Deferred.await(started)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const whileLeader = (
  name: string,
  value: string,
  options: Options = {}
): <A, E, R>(
  effect: Effect.Effect<A, E, R> | ((leadership: Leadership) => Effect.Effect<A, E, R>)
) => Effect.Effect<never, E | InvalidOption | EtcdError, Etcd | Exclude<R, Scope.Scope>> =>
(effect) =>
  Effect.gen(function* () {
    const { timeout: _, ...rest } = options
    const backoff = new Steps<unknown>(Backoff.standard)
    while (true) {
      const startedAt = yield* monotonicMillis
      const term = Effect.gen(function* () {
        const leadership = yield* campaign(name, value, rest)
        const work = typeof effect === "function" ? effect(leadership) : effect
        const ended = Effect.flatMap(
          Effect.exit(work),
          (exit) => Exit.isSuccess(exit) ? Effect.never : Effect.succeed(new Ended({ exit }))
        )
        return yield* Effect.raceFirst(ended, leadership.lost)
      })
      const outcome = yield* Effect.result(Effect.scoped(term))
      if (outcome._tag === "Success") return yield* Effect.failCause(causeOf(outcome.success.exit))
      const failure = outcome.failure
      const isLost = failure instanceof LockLost || (failure instanceof EtcdError && failure.retryable)
      if (!isLost) return yield* Effect.fail(failure as Exclude<typeof failure, LockLost | LockTimeout>)
      yield* logWarning(failure.message)
      if ((yield* monotonicMillis) - startedAt >= healthyMillis) backoff.reset()
      const delay = yield* backoff.next(failure)
      yield* Effect.sleep(Option.getOrElse(delay, () => Duration.zero))
    }
  })

const causeOf = <E>(exit: Exit.Exit<unknown, E>): Cause.Cause<E> => Exit.isFailure(exit) ? exit.cause : Cause.empty

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** The first of the candidates by create revision. */
const leaderOf = (candidates: ReadonlyMap<string, KeyValue>): KeyValue | undefined => {
  let first: KeyValue | undefined
  for (const kv of candidates.values()) {
    if (first === undefined || kv.createRevision < first.createRevision) first = kv
  }
  return first
}

/**
 * Emits the current leader, then each later one; `None` while nobody leads. It never ends by itself.
 *
 * **Details**
 *
 * The first element follows the first answer of etcd. A slow consumer gets the newest leader. While etcd is unreachable
 * the stream emits nothing; afterwards it continues with what it missed. Fails with `InvalidOption` before anything is
 * sent, and with the `EtcdError` of a request that etcd refuses. One fiber and one watch last as long as the consumer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const observe = (name: string): Stream.Stream<Option.Option<Leader>, InvalidOption | EtcdError, Etcd> =>
  Stream.unwrap(Effect.gen(function* () {
    yield* Effect.fromResult(checkOptions("Election.observe", (check) => validName(check, name)))
    const etcd = yield* Etcd
    const leaders = new Latest<Option.Option<Leader>, EtcdError>()
    let candidates = new Map<string, KeyValue>()
    let leading: KeyValue | undefined
    let isKnown = false

    const apply = (followed: Followed): void => {
      if (followed._tag === "Interrupted" || followed._tag === "Resumed") return
      const next = new Map(followed._tag === "Listed" ? [] : candidates)
      const puts = followed._tag === "Listed" ?
        followed.kvs.map((kv) => ({ type: "put" as const, kv })) :
        followed.events
      for (const { kv, type } of puts) {
        const key = decoder.decode(kv.key)
        if (type === "put") next.set(key, kv)
        else next.delete(key)
      }
      candidates = next
      const leader = leaderOf(candidates)
      if (
        isKnown && leader?.modRevision === leading?.modRevision && leader?.createRevision === leading?.createRevision
      ) {
        return
      }
      isKnown = true
      leading = leader
      leaders.set(
        leader === undefined ? Option.none() : Option.some(withJson({
          key: decoder.decode(leader.key),
          value: decoder.decode(leader.value),
          leaseId: leader.lease,
          revision: leader.createRevision
        }))
      )
    }

    yield* follow(
      etcd,
      { ...Line.followOptions, range: prefix(`${name}/`) },
      (followed) => Effect.sync(() => apply(followed))
    ).pipe(
      Effect.onExit((exit) => Effect.sync(() => leaders.end(exit))),
      Effect.ignore,
      Effect.forkScoped({ startImmediately: true })
    )
    return leaders.changes
  }))

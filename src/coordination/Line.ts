/**
 * The line of contenders for one name, in the keys of Go's `clientv3/concurrency`.
 *
 * A contender puts the key `<name>/<lease in hexadecimal>`. The line is ordered by create revision, and the first
 * `permits` of it hold. A contender that waits watches one place only, so a release wakes one waiter:
 *
 * - The first one behind the holders watches the holders.
 * - Any other one watches its predecessor. With several permits, a predecessor that starts to hold rewrites its key,
 *   which wakes its successor. With one permit only a predecessor that leaves counts.
 *
 * Algorithm: etcd, client/v3/concurrency/key.go and mutex.go.
 *
 * @module
 */
import { Deferred, Duration, Effect, Exit, Option, Result, Scope } from "effect"
import * as Backoff from "../etcd/Backoff.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { type KeyRange, prefix } from "../etcd/KeyRange.ts"
import type { Compare, KeyValue } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { EtcdError, Unknown } from "../etcd/EtcdError.ts"
import { follow, type Followed } from "../etcd/follow.ts"
import { withJson } from "../internal/json.ts"
import { LockLost, LockTimeout } from "./errors.ts"
import type { Plan } from "./options.ts"
import * as Session from "./Session.ts"
import { logWarning } from "../internal/log.ts"

/**
 * A comparison that proves inside a transaction that the lock is still held.
 *
 * **Details**
 *
 * Pass it to `etcd.txn` or to `Txn.make({ if: [fence] })`.
 *
 * @since 0.1.0
 * @category models
 */
export type Fence = Compare & { readonly compare: Result.Result<Compare> }

/**
 * A place at the head of a line.
 *
 * @since 0.1.0
 * @category models
 */
export interface Held {
  /** The key in etcd: `<name>/<lease in hexadecimal>`. */
  readonly key: string
  readonly leaseId: LeaseId
  /** The create revision of the key: a fencing token that grows with each holder. */
  readonly revision: bigint
  /** Holds as long as the key of this holder exists. */
  readonly fence: Fence
  /** Fails when the lock is lost or may be lost soon. Never succeeds. */
  readonly lost: Effect.Effect<never, LockLost>
}

/** A contender in the line. */
interface Contender {
  readonly etcd: Etcd
  readonly name: string
  readonly value: string
  readonly permits: number
  readonly session: Session.Session
  readonly key: string
}

/**
 * Retries after retryable failures, at once when etcd is back (D12). An attempt is never interrupted, so none is applied
 * after the contender has left.
 */
const retrying = <A>(etcd: Etcd, effect: Effect.Effect<A, EtcdError>): Effect.Effect<A, EtcdError> =>
  Effect.retry(Effect.uninterruptible(effect), Backoff.untilBack(Backoff.standard, etcd.recovered))

const lostBy = ({ key, name }: Contender, detail: string, cause?: EtcdError): LockLost =>
  new LockLost({ target: name, key, detail, ...(cause === undefined ? {} : { cause }) })

/** Fails when the lease of the session is lost. */
const sessionLost = (contender: Contender): Effect.Effect<never, LockLost> =>
  Effect.flatMap(contender.session.lost, (cause) => Effect.fail(lostBy(contender, "its lease is lost", cause)))

/** Puts the key, if this session has not put it before. The create revision is the place in the line. */
const enter = Effect.fnUntraced(function* (
  contender: Contender
): Effect.fn.Return<bigint, LockLost | EtcdError> {
  const { etcd, key, session: { leaseId: lease }, value } = contender
  const answer = yield* retrying(
    etcd,
    etcd.txn({
      compare: [{ key, target: "create", result: "equal", value: 0n }],
      then: [{ _tag: "Put", request: { key, value, lease } }],
      else: [{ _tag: "Range", request: { key } }]
    })
  ).pipe(
    Effect.catchIf(
      ({ reason }) => reason._tag === "LeaseNotFound",
      (cause) => Effect.fail(lostBy(contender, "its lease is gone", cause))
    )
  )
  if (answer.succeeded) return answer.header.revision
  const [op] = answer.responses
  const found = op?._tag === "Range" ? op.response.kvs[0] : undefined
  if (found?.lease === lease) return found.createRevision
  return yield* new EtcdError({
    reason: new Unknown({ detail: "the key exists under another lease" }),
    method: "txn",
    key
  })
})

/** What a waiting contender watches. */
interface Obstacle {
  readonly range: KeyRange
  /** The number of keys in the range that are ahead. */
  readonly count: number
  /** The revision of that number. */
  readonly since: bigint
}

/** What a contender has to wait for; none if it holds. */
const obstacle = Effect.fnUntraced(function* (
  { etcd, name, permits }: Contender,
  revision: bigint
): Effect.fn.Return<Option.Option<Obstacle>, EtcdError> {
  const line = { ...prefix(`${name}/`), maxCreateRevision: revision - 1n, keysOnly: true }
  const { header: { revision: since }, kvs } = yield* retrying(
    etcd,
    etcd.range({ ...line, limit: permits === 1 ? 1 : permits + 1, sort: { target: "create", order: "descend" } })
  )
  const [predecessor] = kvs
  if (predecessor === undefined || kvs.length < permits) return Option.none()
  const isFirstWaiter = permits > 1 && kvs.length === permits
  return Option.some(
    isFirstWaiter ?
      { range: prefix(`${name}/`), count: permits, since } :
      { range: { key: predecessor.key }, count: 1, since }
  )
})

/** How a watch of a line resumes. */
export const followOptions = {
  progressEvery: Duration.seconds(10),
  progressTimeout: Duration.seconds(5),
  retry: Backoff.standard
}

/**
 * Waits for an event in the range that can move the line.
 *
 * A list without a change is none: leaving `follow` then would start its backoff afresh for each list.
 */
const awaitMove = Effect.fnUntraced(function* (
  { etcd, permits }: Contender,
  revision: bigint,
  { count, range, since }: Obstacle
): Effect.fn.Return<void, EtcdError> {
  const moved = yield* Deferred.make<void>()
  const isAsBefore = (kv: KeyValue): boolean => kv.createRevision < revision && kv.modRevision <= since
  const isMove = (followed: Followed): boolean =>
    (followed._tag === "Listed" && followed.kvs.filter(isAsBefore).length < count) ||
    (followed._tag === "Changed" && followed.events.some(({ type }) => type === "delete" || permits > 1))
  yield* Effect.raceFirst(
    follow(
      etcd,
      { ...followOptions, range, knownAt: since },
      (followed) => isMove(followed) ? Effect.asVoid(Deferred.succeed(moved, undefined)) : Effect.void
    ),
    Deferred.await(moved)
  )
})

/** Waits until fewer than `permits` contenders are ahead. */
const awaitTurn = Effect.fnUntraced(function* (
  contender: Contender,
  revision: bigint
): Effect.fn.Return<void, EtcdError> {
  while (true) {
    const ahead = yield* obstacle(contender, revision)
    if (Option.isNone(ahead)) return
    yield* awaitMove(contender, revision, ahead.value)
  }
})

/**
 * Reads the own key once more, linearizably and without a revision: the lease may have expired while the contender
 * waited (etcd-io/etcd #11456). Returns the revision of that read.
 */
const confirm = Effect.fnUntraced(function* (
  contender: Contender,
  revision: bigint
): Effect.fn.Return<bigint, LockLost | EtcdError> {
  const { header, kvs } = yield* retrying(contender.etcd, contender.etcd.range({ key: contender.key }))
  if (kvs[0]?.createRevision === revision) return header.revision
  return yield* lostBy(contender, "its key disappeared while it waited")
})

/** Rewrites the own key, which wakes the contender behind it. */
const announce = ({ etcd, key, value }: Contender, revision: bigint): Effect.Effect<unknown, EtcdError> =>
  retrying(
    etcd,
    etcd.txn({
      compare: [{ key, target: "create", result: "equal", value: revision }],
      then: [{ _tag: "Put", request: { key, value, ignoreLease: true } }]
    })
  )

/** Fails when the own key is deleted or was replaced. Never ends otherwise. */
const keyLost = Effect.fnUntraced(function* (
  contender: Contender,
  revision: bigint,
  confirmedAt: bigint
): Effect.fn.Return<never, LockLost> {
  const lost = yield* Deferred.make<never, LockLost>()
  const isLost = (followed: Followed): boolean =>
    (followed._tag === "Listed" && followed.kvs[0]?.createRevision !== revision) ||
    (followed._tag === "Changed" &&
      followed.events.some(({ kv, type }) => type === "delete" || kv.createRevision !== revision))
  const watching = follow(
    contender.etcd,
    { ...followOptions, range: { key: contender.key }, knownAt: confirmedAt },
    (followed) =>
      isLost(followed) ? Effect.asVoid(Deferred.fail(lost, lostBy(contender, "its key was deleted"))) : Effect.void
  ).pipe(
    Effect.catch((error) =>
      logWarning(`cannot watch ${JSON.stringify(contender.key)}; heartbeats still show a lost lease`, error)
    ),
    Effect.andThen(Effect.never)
  )
  return yield* Effect.raceFirst(watching, Deferred.await(lost))
})

/** Deletes the own key; the session's lease stays. */
const leave = ({ etcd, key, session: { leaseId } }: Contender): Effect.Effect<void> =>
  retrying(
    etcd,
    etcd.txn({
      compare: [{ key, target: "lease", result: "equal", value: leaseId }],
      then: [{ _tag: "DeleteRange", request: { key } }]
    })
  ).pipe(
    Effect.interruptible,
    Effect.timeoutOption(Session.releaseTimeout),
    Effect.flatMap(Option.match({
      onNone: () => logWarning(`etcd did not answer in time; ${JSON.stringify(key)} stays until its lease ends`),
      onSome: () => Effect.void
    })),
    Effect.catch((error) => logWarning(`cannot delete ${JSON.stringify(key)}; it stays until its lease ends`, error))
  )

/** Takes a turn on a shared session until the scope closes; none if another one has it and `wait` is false. */
const takeTurn = (
  session: Session.Session,
  name: string,
  wait: boolean
): Effect.Effect<boolean, never, Scope.Scope> => {
  const turn = Session.turnOf(session, name)
  return Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const isTaken = wait ? yield* Effect.as(restore(turn.take(1)), true) : yield* turn.takeIfAvailable(1)
      if (isTaken) yield* Effect.addFinalizer(() => turn.release(1))
      return isTaken
    })
  )
}

/** The value that a contender puts, and the number of permits. */
export interface Entry<E = never> {
  readonly value: string
  readonly permits: number
  /** Checks, before waiting, the value of the first key of the line. That may be the own key. */
  readonly admit?: (first: Uint8Array) => Effect.Effect<void, E>
}

/** Applies `admit` to the first key of the line. */
const checkFirst = <E>({ etcd, name }: Contender, { admit }: Entry<E>): Effect.Effect<void, E | EtcdError> =>
  admit === undefined ? Effect.void : Effect.flatMap(
    retrying(etcd, etcd.range({ ...prefix(`${name}/`), limit: 1, sort: { target: "create", order: "ascend" } })),
    ({ kvs: [first] }) => first === undefined ? Effect.void : admit(first.value)
  )

const contend = Effect.fnUntraced(function* <E = never>(
  plan: Plan,
  entry: Entry<E>,
  wait: boolean
): Effect.fn.Return<Option.Option<Held>, E | LockLost | EtcdError, Etcd | Scope.Scope> {
  const { name } = plan
  const etcd = yield* Etcd
  const isOwn = plan.session === undefined
  const session = plan.session ?? (yield* Session.open(plan.ttl))
  if (!isOwn && !(yield* takeTurn(session, name, wait))) return Option.none()
  const key = `${name}/${session.leaseId.toString(16)}`
  const contender: Contender = { etcd, name, value: entry.value, permits: entry.permits, session, key }
  // Revoking a lease of its own deletes the key.
  if (!isOwn) yield* Effect.addFinalizer(() => leave(contender))

  const place = Effect.gen(function* () {
    const revision = yield* enter(contender)
    yield* checkFirst(contender, entry)
    if (wait) yield* awaitTurn(contender, revision)
    else if (Option.isSome(yield* obstacle(contender, revision))) return undefined
    const confirmedAt = yield* confirm(contender, revision)
    if (entry.permits > 1) yield* announce(contender, revision)
    return { revision, confirmedAt }
  })
  const found = yield* Effect.raceFirst(place, sessionLost(contender))
  if (found === undefined) return Option.none()

  const { confirmedAt, revision } = found
  const lost = yield* Deferred.make<never, LockLost>()
  yield* Effect.raceFirst(keyLost(contender, revision, confirmedAt), sessionLost(contender)).pipe(
    Effect.catch((error) => Deferred.fail(lost, error)),
    Effect.forkScoped({ startImmediately: true })
  )
  const compare: Compare = { key, target: "create", result: "equal", value: revision }
  return Option.some(withJson({
    key,
    leaseId: session.leaseId,
    revision,
    fence: { ...compare, compare: Result.succeed(compare) },
    lost: Deferred.await(lost)
  }))
})

/**
 * Runs an acquisition in a child of the caller's scope. The child closes at once if the acquisition fails, is
 * interrupted, or finds the line busy.
 */
const inOwnScope = <A, E, R>(
  acquisition: Effect.Effect<Option.Option<A>, E, R>
): Effect.Effect<Option.Option<A>, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.fork(yield* Effect.scope)
    return yield* acquisition.pipe(
      Scope.provide(scope),
      Effect.onExit((exit) =>
        Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : Scope.close(scope, exit)
      )
    )
  })

/** Waits in line until the contender holds, or until `timeout`. */
export const acquire = <E = never>(
  plan: Plan,
  entry: Entry<E>
): Effect.Effect<Held, E | LockLost | LockTimeout | EtcdError, Etcd | Scope.Scope> => {
  const acquisition = Effect.map(inOwnScope(contend(plan, entry, true)), Option.getOrThrow)
  return Option.match(plan.timeout, {
    onNone: () => acquisition,
    onSome: (after) =>
      Effect.timeoutOrElse(acquisition, {
        duration: after,
        orElse: () => Effect.fail(new LockTimeout({ target: plan.name, after }))
      })
  })
}

/** Holds if no contender is ahead, and leaves the line otherwise. */
export const tryAcquire = <E = never>(
  plan: Plan,
  entry: Entry<E>
): Effect.Effect<Option.Option<Held>, E | LockLost | EtcdError, Etcd | Scope.Scope> =>
  inOwnScope(contend(plan, entry, false))

/**
 * A registration: one instance kept in etcd for a scope.
 *
 * One fiber owns it. It lives through *tenures*, one after the other: a tenure grants a lease (a session), claims the key
 * in one Txn, and then handles messages until the lease or the key is lost. Between tenures it waits for the backoff.
 *
 * ```
 * Registering ── claimed ──▶ Registered ──▶ Draining
 *      │                      │      ▲         │
 *      │ refused, taken       │ lost │ claimed │ lost
 *      ▼                      ▼      │         │
 *   Failed ◀── retry ends ── Recovering ◀──────┘        any ── scope closes ──▶ Released
 *                             │
 *                             └── key under another lease ──▶ Superseded
 * ```
 *
 * Everything that is written goes through this fiber, so nothing is written once it has been interrupted.
 *
 * @module
 */
import {
  Clock,
  Data,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Metric,
  Option,
  Queue,
  Result,
  Scope,
  type Stream
} from "effect"
import type { Etcd, KeyValue, LeaseId } from "./etcd/Etcd.ts"
import type { EtcdError } from "./etcd/EtcdError.ts"
import { follow, type Followed, type FollowOptions } from "./etcd/follow.ts"
import * as Latest from "./internal/latest.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import * as Steps from "./internal/steps.ts"
import type { ServiceInstance } from "./model/Instance.ts"
import * as Claim from "./registration/claim.ts"
import { checkPatch, encode, type InstancePatch, type RegistrationPlan } from "./registration/RegisterOptions.ts"
import {
  type Holder,
  InstanceIdTaken,
  InvalidRegistration,
  type RegistrationError,
  RegistrationLost,
  RegistrationRefused,
  StartupTimeout
} from "./registration/RegistrationError.ts"
import * as Session from "./Session.ts"

/** Where a registration stands. `since` is in milliseconds of the epoch. */
export type RegistrationStatus = Data.TaggedEnum<{
  /** Not in etcd yet; `attempt` counts from 1. */
  Registering: { readonly attempt: number }
  /** In etcd under this lease, since this revision. */
  Registered: { readonly leaseId: LeaseId; readonly revision: bigint }
  /** Was in etcd and is on its way back. */
  Recovering: { readonly since: number; readonly attempt: number; readonly cause: EtcdError | RegistrationLost }
  /** Another process took the id; final. */
  Superseded: { readonly by: Holder }
  /** In etcd, and asks for no more traffic. */
  Draining: Record<never, never>
  /** Given up; final. */
  Failed: { readonly error: RegistrationError }
  /** The scope has closed; final. */
  Released: Record<never, never>
}>

/** Constructors and `$match` of {@link RegistrationStatus}. */
export const RegistrationStatus: Data.TaggedEnum.Constructor<RegistrationStatus> = Data.taggedEnum<RegistrationStatus>()

/** An instance that is kept in etcd until its scope closes. */
export interface Registration<M = Readonly<Record<string, string>>> {
  /** The instance as it is, or as it will be once etcd takes it. */
  readonly instance: ServiceInstance<M>
  readonly key: string
  /** The lease of the key, while it is in etcd. */
  readonly leaseId: Effect.Effect<Option.Option<LeaseId>>
  readonly status: {
    readonly get: Effect.Effect<RegistrationStatus>
    /** The current status first, then each newer one; a slow reader sees the newest. Ends when the scope closes. */
    readonly changes: Stream.Stream<RegistrationStatus>
  }
  /**
   * Changes the instance in one Txn, without a moment of absence, and completes once it is in etcd; during an outage,
   * after it. Fails with `InvalidRegistration` before anything is sent, with `RegistrationRefused` when etcd refuses
   * (the instance stays as it was), and with the failure of the registration when it ends before. An interrupted update
   * may still take place.
   */
  readonly update: (patch: InstancePatch<M>) => Effect.Effect<void, RegistrationError>
  /** Publishes `"draining"`, and completes once that is in etcd or the registration has ended. */
  readonly drain: Effect.Effect<void>
  /** Fails when the registration can no longer be kept (`Superseded`, `Failed`); it never succeeds. */
  readonly awaitFailure: Effect.Effect<never, RegistrationError>
}

type Message<M> =
  | { readonly _tag: "LeaseLost"; readonly leaseId: LeaseId; readonly cause: EtcdError }
  | { readonly _tag: "KeySeen"; readonly leaseId: LeaseId; readonly kv: KeyValue | undefined; readonly listed: boolean }
  | {
    readonly _tag: "Change"
    readonly change: (instance: ServiceInstance<M>) => ServiceInstance<M>
    readonly done: Deferred.Deferred<void, RegistrationError>
  }

type Change<M> = Extract<Message<M>, { readonly _tag: "Change" }>

/** What ends a tenure: the lease or the key is lost, or the key belongs to another process. */
type Ended = EtcdError | RegistrationLost | InstanceIdTaken

const registered = Metric.counter("etcd_discovery_registrations", {
  description: "Claims that put an instance into etcd, first ones and after a loss",
  incremental: true
})
const lost = Metric.counter("etcd_discovery_registrations_lost", {
  description: "Registrations that were lost and had to be made again",
  incremental: true
})

/** What another attempt with the same options cannot mend. */
const isRefusal = ({ reason }: EtcdError): boolean =>
  reason._tag === "PermissionDenied" || reason._tag === "Unauthenticated" || reason._tag === "InvalidArgument" ||
  reason._tag === "TooLarge"

/** Keeps an instance registered until the scope closes. */
export const make = <M>(
  etcd: Etcd,
  plan: RegistrationPlan<M>,
  followOptions: Omit<FollowOptions, "range" | "knownAt">
): Effect.Effect<Registration<M>, RegistrationError, Scope.Scope> =>
  Effect.uninterruptibleMask(Effect.fnUntraced(function* (restore) {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const { registration, started } = yield* keep(etcd, plan, followOptions).pipe(Scope.provide(scope))
    if (plan.startup === "await") {
      yield* restore(started).pipe(
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
      )
    }
    return registration
  }))

const keep = Effect.fnUntraced(function* <M>(
  etcd: Etcd,
  plan: RegistrationPlan<M>,
  followOptions: Omit<FollowOptions, "range" | "knownAt">
): Effect.fn.Return<
  { readonly registration: Registration<M>; readonly started: Effect.Effect<void, RegistrationError> },
  never,
  Scope.Scope
> {
  const { key, codec } = plan
  const inbox = yield* Queue.unbounded<Message<M>>()
  const claimed = yield* Deferred.make<void>()
  const failed = yield* Deferred.make<never, RegistrationError>()
  const released = yield* Deferred.make<void>()
  const statuses = yield* Latest.make<RegistrationStatus>()
  const backoff = yield* Steps.make(plan.retry)

  let instance = plan.instance
  let status: RegistrationStatus = RegistrationStatus.Registering({ attempt: 1 })
  let lease: LeaseId | undefined
  /** The lease that was lost last, as long as etcd may still hold it and the key with it. */
  let remaining: LeaseId | undefined
  let lastRevision: bigint | undefined
  let lastFailure: EtcdError | RegistrationLost | undefined
  let attempt = 1
  let lostAt: number | undefined
  let isExhausted = false
  let isWaiting = false
  let pending: Change<M> | undefined
  let drainingSince: number | undefined
  let isReleasing = false
  let releaseTimeout = plan.releaseTimeout
  const ownLeases = new Set<LeaseId>()

  const setStatus = (next: RegistrationStatus) =>
    Effect.suspend(() => {
      status = next
      return statuses.set(next)
    })
  const isFinal = () => status._tag === "Superseded" || status._tag === "Failed"

  /** Waits for the next attempt; false when `retry` has run out. */
  const awaitAttempt = Effect.fnUntraced(function* (cause: EtcdError | RegistrationLost) {
    lastFailure = cause
    attempt += 1
    if (attempt === 2 && lostAt === undefined) {
      yield* Effect.logWarning(`${JSON.stringify(key)} is not registered yet; trying again: ${cause.message}`)
    }
    yield* setStatus(
      lostAt === undefined ?
        RegistrationStatus.Registering({ attempt }) :
        RegistrationStatus.Recovering({ since: lostAt, attempt, cause })
    )
    const delay = yield* backoff.next(cause)
    isExhausted = Option.isNone(delay)
    if (Option.isSome(delay)) yield* Effect.sleep(delay.value)
    return !isExhausted
  })

  /** Repeats what can succeed unchanged, under the backoff of the registration. */
  const persist = Effect.fnUntraced(function* <A, E>(effect: Effect.Effect<A, EtcdError | E>) {
    while (true) {
      const result = yield* Effect.result(effect)
      if (Result.isSuccess(result)) return result.success
      const { failure } = result
      if (!isEtcdError(failure) || !failure.retryable || !(yield* awaitAttempt(failure))) {
        return yield* Effect.fail(failure)
      }
    }
  })

  const value = (): Uint8Array => Result.getOrThrow(encode(codec, instance))

  const claim = Claim.make(etcd, {
    plan,
    followOptions,
    value,
    isOwn: (id) => ownLeases.has(id),
    lastRevision: () => lastRevision,
    onWait: Effect.sync(() => {
      isWaiting = true
    })
  })

  /** Puts the instance again, if the key is still there under the lease; otherwise answers with what is there. */
  const publish = Effect.fnUntraced(function* (leaseId: LeaseId) {
    const response = yield* etcd.txn({
      compare: [{ target: "lease", key, result: "equal", value: leaseId }],
      then: [{ _tag: "Put", request: { key, value: value(), lease: leaseId } }],
      else: [{ _tag: "Range", request: { key } }]
    })
    if (!response.succeeded) return endedBy(Claim.readBack(response))
    lastRevision = response.header.revision
    return undefined
  })

  const endedBy = (kv: KeyValue | undefined): Ended =>
    kv !== undefined && lastRevision !== undefined && kv.modRevision > lastRevision ?
      new InstanceIdTaken({ key, by: Claim.holderOf(kv) }) :
      new RegistrationLost({ key })

  const settle = Effect.fnUntraced(function* (leaseId: LeaseId, revision: bigint) {
    const isDraining = instance.status === "draining"
    drainingSince = isDraining ? drainingSince ?? (yield* monotonicMillis) : undefined
    yield* setStatus(
      isDraining ? RegistrationStatus.Draining() : RegistrationStatus.Registered({ leaseId, revision })
    )
  })

  /** Publishes until etcd has answered or the lease is lost. */
  const publishing = (session: Session.Session) =>
    publish(session.leaseId).pipe(
      Effect.retry({ schedule: plan.retry, while: (error) => error.retryable }),
      Effect.raceFirst(session.lost)
    )

  const change = Effect.fnUntraced(function* (session: Session.Session, message: Change<M>) {
    const before = instance
    const candidate = message.change(before)
    const encoded = encode(codec, candidate)
    if (Result.isFailure(encoded)) {
      yield* Deferred.fail(message.done, encoded.failure)
      return undefined
    }
    instance = candidate
    pending = message
    const answer = yield* Effect.result(publishing(session))
    if (Result.isFailure(answer)) {
      if (answer.failure.reason._tag === "LeaseNotFound") return answer.failure
      instance = before
      pending = undefined
      yield* Deferred.fail(message.done, new RegistrationRefused({ key, cause: answer.failure }))
      return undefined
    }
    if (answer.success !== undefined) return answer.success
    pending = undefined
    const hasTurned = (before.status === "draining") !== (candidate.status === "draining")
    if (hasTurned) yield* settle(session.leaseId, lastRevision ?? 0n)
    yield* Deferred.succeed(message.done, undefined)
    return undefined
  })

  const seen = Effect.fnUntraced(function* (session: Session.Session, kv: KeyValue | undefined, listed: boolean) {
    if (kv === undefined || kv.lease !== session.leaseId) return endedBy(kv)
    const isNews = listed || (lastRevision !== undefined && kv.modRevision > lastRevision)
    if (!isNews || Claim.sameBytes(kv.value, value())) return undefined
    const answer = yield* Effect.result(publishing(session))
    return Result.isSuccess(answer) ? answer.success : undefined
  })

  const tenure = Effect.gen(function* () {
    const session = yield* Session.make(etcd, { ttl: plan.ttl, releaseTimeout: () => releaseTimeout, retry: persist })
    const { leaseId } = session
    const previousLeases = Array.from(ownLeases)
    ownLeases.add(leaseId)
    const revision = yield* persist(claim(leaseId)).pipe(
      Effect.raceFirst(Effect.flatMap(session.lost, Effect.fail))
    )
    lease = leaseId
    remaining = undefined
    lastRevision = revision
    attempt = 1
    lostAt = undefined
    isWaiting = false
    yield* settle(leaseId, revision)
    yield* Deferred.succeed(claimed, undefined)
    yield* Metric.update(registered, 1)
    const claimedAt = yield* monotonicMillis

    yield* Effect.forEach(previousLeases.slice(-1), (id) => Effect.ignore(etcd.leaseRevoke(id))).pipe(Effect.forkScoped)
    yield* session.lost.pipe(
      Effect.flatMap((cause) => Queue.offer(inbox, { _tag: "LeaseLost", leaseId, cause })),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* follow(
      etcd,
      { ...followOptions, range: { key }, knownAt: revision },
      (followed) =>
        Effect.forEach(seenKeys(followed), (found) => Queue.offer(inbox, { _tag: "KeySeen", leaseId, ...found }), {
          discard: true
        })
    ).pipe(
      Effect.catch((error) =>
        Effect.logWarning(`the key ${JSON.stringify(key)} cannot be watched; its loss will be noticed late`, error)
      ),
      Effect.forkScoped({ startImmediately: true })
    )

    let ended: Ended | undefined
    while (ended === undefined) {
      const message: Message<M> = pending ?? (yield* Queue.take(inbox))
      if (message._tag === "Change") ended = yield* change(session, message)
      else if (message.leaseId !== leaseId) continue
      else if (message._tag === "LeaseLost") ended = message.cause
      else ended = yield* seen(session, message.kv, message.listed)
    }
    lease = undefined
    if (ended._tag !== "InstanceIdTaken") {
      remaining = leaseId
      lostAt = yield* Clock.currentTimeMillis
      attempt = 0
      if ((yield* monotonicMillis) - claimedAt >= plan.ttl.seconds * 1000) yield* backoff.reset
      yield* setStatus(RegistrationStatus.Recovering({ since: lostAt, attempt: 0, cause: ended }))
      yield* Effect.logWarning(`the registration of ${JSON.stringify(key)} was lost; registering again`, ended)
      yield* Metric.update(lost, 1)
    }
    return ended
  })

  const fail = (next: RegistrationStatus, error: RegistrationError) =>
    Effect.andThen(setStatus(next), Deferred.fail(failed, error))

  const main = Effect.gen(function* () {
    while (true) {
      const result = yield* Effect.result(Effect.scoped(tenure))
      const isFirst = lastRevision === undefined
      const cause = Result.isSuccess(result) ? result.success : result.failure
      if (cause._tag === "InstanceIdTaken") {
        const { by } = cause
        return yield* fail(
          isFirst ? RegistrationStatus.Failed({ error: cause }) : RegistrationStatus.Superseded({ by }),
          cause
        )
      }
      if (isReleasing) return
      const isRefused = isFirst && cause._tag === "EtcdError" && isRefusal(cause)
      if (isRefused || isExhausted || !(yield* awaitAttempt(cause))) {
        const error = new RegistrationRefused({ key, cause })
        return yield* fail(RegistrationStatus.Failed({ error }), error)
      }
    }
  })

  const update = (apply: Change<M>["change"]): Effect.Effect<void, RegistrationError> =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<void, RegistrationError>()
      yield* Queue.offer(inbox, { _tag: "Change", change: apply, done })
      yield* Effect.raceAllFirst([
        Deferred.await(done),
        Deferred.await(failed),
        Effect.andThen(Deferred.await(released), Effect.fail(isReleased))
      ])
    })

  const drain = update((current) => ({ ...current, status: "draining" }))

  const drainBeforeRelease = Effect.gen(function* () {
    isReleasing = true
    // What is not in etcd has nothing to announce.
    if (lease === undefined || Duration.isZero(plan.drain)) return
    const ended = Fiber.await(keeper)
    const published = yield* Effect.raceFirst(Effect.result(drain), ended).pipe(Effect.timeoutOption(releaseTimeout))
    if (Option.isNone(published)) {
      releaseTimeout = Duration.zero
      yield* Effect.logWarning(`etcd did not answer; ${JSON.stringify(key)} leaves without being drained`)
    } else {
      const drained = (yield* monotonicMillis) - (drainingSince ?? 0)
      yield* Effect.raceFirst(Effect.sleep(Math.max(0, Duration.toMillis(plan.drain) - drained)), ended)
    }
  })

  yield* statuses.set(status)
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      lease = undefined
      // etcd extends the leases that it finds when it starts: what was lost during an outage may be there after it.
      if (remaining !== undefined) yield* Session.release(etcd, remaining, releaseTimeout)
      if (!isFinal()) yield* setStatus(RegistrationStatus.Released())
      yield* statuses.end(Exit.void)
      yield* Deferred.succeed(released, undefined)
    })
  )
  const keeper = yield* Effect.forkScoped(main)
  if (Option.isSome(plan.health)) {
    const { check, every, threshold } = plan.health.value
    yield* gate(
      check,
      every,
      threshold,
      (next) =>
        Effect.ignore(update((current) => current.status === "draining" ? current : { ...current, status: next }))
    ).pipe(
      Effect.forkScoped
    )
  }
  yield* Effect.addFinalizer(() => drainBeforeRelease)

  const startupTimeout = Effect.gen(function* () {
    yield* Effect.sleep(plan.startupTimeout)
    if (isWaiting) yield* Effect.sleep(Duration.seconds(plan.ttl.seconds + 2))
    return yield* new StartupTimeout({
      key,
      after: plan.startupTimeout,
      ...(isEtcdError(lastFailure) ? { cause: lastFailure } : {})
    })
  })

  return {
    started: Effect.raceAllFirst([Deferred.await(claimed), Deferred.await(failed), startupTimeout]),
    registration: {
      get instance() {
        return instance
      },
      key,
      leaseId: Effect.sync(() => Option.fromNullishOr(lease)),
      status: { get: Effect.sync(() => status), changes: statuses.changes },
      update: (patch) =>
        Effect.gen(function* () {
          const changes = yield* Effect.fromResult(checkPatch(patch))
          yield* Effect.fromResult(encode(codec, { ...instance, ...changes }))
          yield* update((current) => ({ ...current, ...changes }))
        }),
      drain: Effect.ignore(drain),
      awaitFailure: Deferred.await(failed)
    }
  }
})

const isReleased = new InvalidRegistration({
  field: "scope",
  value: "closed",
  rule: "a registration can be changed while its scope is open"
})

const isEtcdError = (error: unknown): error is EtcdError =>
  error instanceof Error && "_tag" in error && error._tag === "EtcdError"

/** What a followed key says: one entry for each time it was seen. */
const seenKeys = (
  followed: Followed
): ReadonlyArray<{ readonly kv: KeyValue | undefined; readonly listed: boolean }> => {
  if (followed._tag === "Listed") return [{ kv: followed.kvs[0], listed: true }]
  if (followed._tag === "Changed") {
    return followed.events.map(({ type, kv }) => ({ kv: type === "put" ? kv : undefined, listed: false }))
  }
  return []
}

/** Checks health for ever and tells each change of it. */
const gate = Effect.fnUntraced(function* (
  check: Effect.Effect<unknown, unknown>,
  every: Duration.Duration,
  threshold: number,
  tell: (status: "up" | "down") => Effect.Effect<void>
) {
  let told: "up" | "down" | undefined
  let failures = 0
  while (true) {
    const exit = yield* Effect.exit(Effect.timeout(check, every))
    failures = Exit.isSuccess(exit) ? 0 : failures + 1
    const now = failures === 0 ? "up" : failures >= threshold ? "down" : told
    if (now !== undefined && now !== told) {
      told = now
      yield* tell(now)
    }
    yield* Effect.sleep(every)
  }
})

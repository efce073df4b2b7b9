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
import type { FollowOptions } from "./etcd/follow.ts"
import { Deadline } from "./internal/Deadlines.ts"
import * as Latest from "./internal/latest.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import * as Steps from "./internal/steps.ts"
import { Timers } from "./internal/Timers.ts"
import type { ServiceInstance } from "./model/Instance.ts"
import * as Claim from "./registration/claim.ts"
import * as OwnKeys from "./registration/ownKeys.ts"
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
import * as Recovery from "./registration/recovery.ts"
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
  /**
   * Publishes `"draining"`, and completes once that is in etcd or the registration has ended. In a format that has no
   * such status it does nothing.
   */
  readonly drain: Effect.Effect<void>
  /** Fails when the registration can no longer be kept (`Superseded`, `Failed`); it never succeeds. */
  readonly awaitFailure: Effect.Effect<never, RegistrationError>
}

type Message<M> =
  | { readonly _tag: "LeaseLost"; readonly leaseId: LeaseId; readonly cause: EtcdError }
  | { readonly _tag: "KeySeen"; readonly leaseId: LeaseId; readonly seen: OwnKeys.SeenKey }
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

/** What the registrations of one registry share. */
export interface Registrar {
  readonly etcd: Etcd
  readonly sessions: Session.Sessions
  readonly ownKeys: OwnKeys.OwnKeys
  readonly recovery: Recovery.Recovery
  readonly timers: Timers
  readonly followOptions: Omit<FollowOptions, "range" | "knownAt">
}

/** What registrations share, run in the context in which this is made. Nothing runs while there are none. */
export const makeRegistrar = (
  etcd: Etcd,
  followOptions: Omit<FollowOptions, "range" | "knownAt">
): Effect.Effect<Registrar> =>
  Effect.map(Effect.context<never>(), (context) => {
    const timers = new Timers(context)
    return {
      etcd,
      sessions: Session.make(etcd, timers, context),
      ownKeys: OwnKeys.make(etcd, followOptions, context),
      recovery: Recovery.make(),
      timers,
      followOptions
    }
  })

/** Keeps an instance registered until the scope closes. */
export const make = <M>(
  registrar: Registrar,
  plan: RegistrationPlan<M>
): Effect.Effect<Registration<M>, RegistrationError, Scope.Scope> =>
  Effect.uninterruptibleMask(Effect.fnUntraced(function* (restore) {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const { registration, started } = yield* keep(registrar, plan).pipe(Scope.provide(scope))
    if (plan.startup === "await") {
      yield* restore(started).pipe(
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
      )
    }
    return registration
  }))

const keep = Effect.fnUntraced(function* <M>(
  { etcd, followOptions, ownKeys, recovery, sessions, timers }: Registrar,
  plan: RegistrationPlan<M>
): Effect.fn.Return<
  { readonly registration: Registration<M>; readonly started: Effect.Effect<void, RegistrationError> },
  never,
  Scope.Scope
> {
  const { key, codec } = plan
  const inbox = yield* Queue.unbounded<Message<M>>()
  /** Claimed for the first time, or failed before. */
  const started = Deferred.makeUnsafe<void, RegistrationError>()
  const failed = Deferred.makeUnsafe<never, RegistrationError>()
  const released = Deferred.makeUnsafe<void>()
  const statuses = Latest.make<RegistrationStatus>()
  const backoff = Steps.make(plan.retry)

  let instance = plan.instance
  let status: RegistrationStatus = RegistrationStatus.Registering({ attempt: 1 })
  let lease: LeaseId | undefined
  /** The lease that was lost last, as long as etcd may still hold it and the key with it. */
  let remaining: LeaseId | undefined
  let lastRevision: bigint | undefined
  /** What is told of the key counts when it is newer than this. */
  let seenAt = 0n
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
    if (Option.isSome(delay)) yield* recovery.rest(delay.value)
    return !isExhausted
  })

  /** Repeats what can succeed unchanged, under the backoff of the registration; gives up when the lease is lost. */
  const persist = <A, E>(
    effect: Effect.Effect<A, EtcdError | E>,
    lost: Effect.Effect<EtcdError> = Effect.never
  ): Effect.Effect<A, EtcdError | E> => {
    const again = (failure: EtcdError | E): Effect.Effect<A, EtcdError | E> =>
      isEtcdError(failure) && failure.retryable ?
        Effect.flatMap(
          awaitAttempt(failure),
          (isWorthIt) => isWorthIt ? Effect.catch(effect, again) : Effect.fail(failure)
        ) :
        Effect.fail(failure)
    return Effect.catch(effect, (failure) => Effect.raceFirst(again(failure), Effect.flatMap(lost, Effect.fail)))
  }

  let encoded: { readonly instance: ServiceInstance<M>; readonly value: Uint8Array } | undefined
  const value = (): Uint8Array => {
    if (encoded?.instance !== instance) {
      encoded = { instance, value: Result.getOrThrow(encode(codec, instance)) }
    }
    return encoded.value
  }

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

  const see = Effect.fnUntraced(function* (session: Session.Session, { kv, listed }: OwnKeys.SeenKey) {
    if (kv === undefined || kv.lease !== session.leaseId) return endedBy(kv)
    const isNews = listed || (lastRevision !== undefined && kv.modRevision > lastRevision)
    if (!isNews || Claim.sameBytes(kv.value, value())) return undefined
    const answer = yield* Effect.result(publishing(session))
    return Result.isSuccess(answer) ? answer.success : undefined
  })

  /** Passes over what is older than what is known. A list that seems so may be of another history: etcd is asked. */
  const look = Effect.fnUntraced(function* (session: Session.Session, seen: OwnKeys.SeenKey) {
    if (seen.revision > seenAt) {
      if (seen.listed) seenAt = seen.revision
      return yield* see(session, seen)
    }
    if (!seen.listed) return undefined
    const answer = yield* Effect.result(
      etcd.range({ key }).pipe(
        Effect.retry({ schedule: plan.retry, while: (error) => error.retryable }),
        Effect.raceFirst(Effect.flatMap(session.lost, Effect.fail))
      )
    )
    if (Result.isFailure(answer)) return undefined
    const { header, kvs } = answer.success
    seenAt = header.revision
    return yield* see(session, { ...seen, kv: kvs[0] })
  })

  const tenure = Effect.gen(function* () {
    const session = yield* sessions.open({
      ttl: plan.ttl,
      releaseTimeout: () => releaseTimeout,
      retry: persist,
      onLost: (leaseId, cause) => Queue.offerUnsafe(inbox, { _tag: "LeaseLost", leaseId, cause })
    })
    const { leaseId, grantedAt } = session
    const ownKey = yield* ownKeys.enter(
      key,
      grantedAt,
      (seen) => {
        const isKnown = !seen.listed && seen.revision <= seenAt
        if (!isKnown) Queue.offerUnsafe(inbox, { _tag: "KeySeen", leaseId, seen })
      }
    )
    const previousLease = Array.from(ownLeases).at(-1)
    ownLeases.add(leaseId)
    const revision = yield* persist(claim(session), session.lost)
    ownKey.claimed(revision)
    lease = leaseId
    remaining = undefined
    if (attempt > 1 || lostAt !== undefined) yield* recovery.succeeded
    lastRevision = revision
    seenAt = revision
    attempt = 1
    lostAt = undefined
    isWaiting = false
    yield* settle(leaseId, revision)
    Deferred.doneUnsafe(started, Exit.void)
    yield* Metric.update(registered, 1)
    const claimedAt = yield* monotonicMillis

    if (previousLease !== undefined) yield* Effect.forkScoped(Effect.ignore(etcd.leaseRevoke(previousLease)))
    let ended: Ended | undefined
    while (ended === undefined) {
      const message: Message<M> = pending ?? (yield* Queue.take(inbox))
      if (message._tag === "Change") ended = yield* change(session, message)
      else if (message.leaseId !== leaseId) continue
      else if (message._tag === "LeaseLost") ended = message.cause
      else ended = yield* look(session, message.seen)
    }
    lease = undefined
    if (ended._tag !== "InstanceIdTaken") {
      remaining = leaseId
      lostAt = yield* Clock.currentTimeMillis
      attempt = 0
      if ((yield* monotonicMillis) - claimedAt >= plan.ttl.seconds * 1000) backoff.reset()
      yield* setStatus(RegistrationStatus.Recovering({ since: lostAt, attempt: 0, cause: ended }))
      yield* Effect.logWarning(`the registration of ${JSON.stringify(key)} was lost; registering again`, ended)
      yield* Metric.update(lost, 1)
    }
    return ended
  })

  const fail = (next: RegistrationStatus, error: RegistrationError) =>
    Effect.map(setStatus(next), () => {
      Deferred.doneUnsafe(started, Exit.fail(error))
      Deferred.doneUnsafe(failed, Exit.fail(error))
    })

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

  /** Waits for the first claim, and for a holder of the key one TTL longer. */
  const awaitStart = Effect.suspend(() => {
    let isProlonged = false
    const deadline = new Deadline((now) => {
      if (isWaiting && !isProlonged) {
        isProlonged = true
        return timers.set(deadline, now + (plan.ttl.seconds + 2) * 1000)
      }
      const cause = isEtcdError(lastFailure) ? { cause: lastFailure } : {}
      Deferred.doneUnsafe(started, Exit.fail(new StartupTimeout({ key, after: plan.startupTimeout, ...cause })))
    })
    timers.set(deadline, timers.now() + Duration.toMillis(plan.startupTimeout))
    return Effect.onExit(Deferred.await(started), () => Effect.sync(() => timers.delete(deadline)))
  })

  return {
    started: awaitStart,
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

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
  Result,
  Scope,
  type Stream
} from "effect"
import type { Etcd, KeyValue, LeaseId } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import type { FollowOptions } from "../../etcd/follow.ts"
import { Deadline } from "../../internal/time/Deadlines.ts"
import { Inbox } from "../../internal/Inbox.ts"
import { Latest } from "../../internal/Latest.ts"
import { InvalidOption } from "../../internal/options.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import { Steps } from "../../internal/time/Steps.ts"
import { Timers } from "../../internal/time/Timers.ts"
import type { Labels, ServiceInstance } from "../model/Instance.ts"
import * as Claim from "./claim.ts"
import * as Health from "./health.ts"
import * as OwnKeys from "./ownKeys.ts"
import { checkPatch, encode, type InstancePatch, type RegistrationPlan } from "./RegisterOptions.ts"
import {
  InstanceIdTaken,
  type RegistrationError,
  RegistrationLost,
  RegistrationRefused,
  StartupTimeout
} from "./RegistrationError.ts"
import * as Recovery from "./recovery.ts"
import * as Session from "../../etcd/Session.ts"

/** Where a registration stands. `since` is in milliseconds of the epoch. */
export type RegistrationStatus = Data.TaggedEnum<{
  /** Not in etcd yet; `attempt` counts from 1. */
  Registering: { readonly attempt: number }
  /** In etcd under this lease, since this revision. */
  Registered: { readonly leaseId: LeaseId; readonly revision: bigint }
  /** Was in etcd and is on its way back. */
  Recovering: { readonly since: number; readonly attempt: number; readonly cause: EtcdError | RegistrationLost }
  /** Another process took the id; final. */
  Superseded: { readonly by: InstanceIdTaken["by"] }
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
export interface Registration<M = Labels> {
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
   * after it. Fails with `InvalidOption` before anything is sent, with `RegistrationRefused` when etcd refuses
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
  /** A scope within the caller's that ends, at the latest, while the client of the registry still works. */
  readonly openScope: Effect.Effect<Scope.Closeable, never, Scope.Scope>
}

/** What registrations share, run in the context in which this is made. Nothing runs while there are none. */
export const makeRegistrar = (
  etcd: Etcd,
  followOptions: Omit<FollowOptions, "range" | "knownAt">,
  openScope: Registrar["openScope"]
): Effect.Effect<Registrar> =>
  Effect.map(Effect.context<never>(), (context) => {
    const timers = new Timers(context)
    return {
      etcd,
      sessions: Session.make(etcd, timers, context),
      ownKeys: OwnKeys.make(etcd, followOptions, context),
      recovery: Recovery.make(),
      timers,
      followOptions,
      openScope
    }
  })

/** Keeps an instance registered until the scope closes. */
export const make = <M>(
  registrar: Registrar,
  plan: RegistrationPlan<M>
): Effect.Effect<Registration<M>, RegistrationError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => register(registrar, plan, restore))

const register = Effect.fnUntraced(function* <M>(
  registrar: Registrar,
  plan: RegistrationPlan<M>,
  restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
): Effect.fn.Return<Registration<M>, RegistrationError, Scope.Scope> {
  const scope = yield* registrar.openScope
  const owner = new Owner(registrar, plan)
  yield* Scope.provide(keep(owner), scope)
  if (plan.startup === "await") {
    yield* Effect.onExit(
      restore(awaitStart(owner)),
      (exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)
    )
  }
  return registrationOf(owner)
})

/** What is known of a registration. While its fiber runs, nobody else changes it. */
class Owner<M> implements Claim.Claimant<M> {
  readonly registrar: Registrar
  readonly plan: RegistrationPlan<M>
  readonly inbox = new Inbox<Message<M>>()
  /** Claimed for the first time, or failed before. */
  readonly started = Deferred.makeUnsafe<void, RegistrationError>()
  readonly failed = Deferred.makeUnsafe<never, RegistrationError>()
  readonly released = Deferred.makeUnsafe<void>()
  readonly statuses: Latest<RegistrationStatus> = new Latest()
  readonly backoff: Steps<EtcdError | RegistrationLost>
  readonly leases = new Set<LeaseId>()

  instance: ServiceInstance<M>
  status: RegistrationStatus = RegistrationStatus.Registering({ attempt: 1 })
  lease: LeaseId | undefined
  /** The lease that was lost last, as long as etcd may still hold it and the key with it. */
  remaining: LeaseId | undefined
  lastRevision: bigint | undefined
  /** What is told of the key counts when it is newer than this. */
  seenAt = 0n
  lastFailure: EtcdError | RegistrationLost | undefined
  attempt = 1
  lostAt: number | undefined
  isExhausted = false
  waitUntil: number | undefined
  pending: Change<M> | undefined
  drainingSince: number | undefined
  isReleasing = false
  releaseTimeout: Duration.Duration
  #encoded: { readonly instance: ServiceInstance<M>; readonly value: Uint8Array }

  constructor(registrar: Registrar, plan: RegistrationPlan<M>) {
    this.registrar = registrar
    this.plan = plan
    this.backoff = new Steps(plan.retry)
    this.instance = plan.instance
    this.releaseTimeout = plan.releaseTimeout
    this.#encoded = plan
  }

  get value(): Uint8Array {
    const { instance } = this
    if (this.#encoded.instance !== instance) {
      this.#encoded = { instance, value: Result.getOrThrow(encode(this.plan.codec, instance)) }
    }
    return this.#encoded.value
  }

  isOwn(lease: LeaseId): boolean {
    return this.leases.has(lease)
  }

  setStatus(status: RegistrationStatus): Effect.Effect<void> {
    return Effect.sync(() => {
      this.status = status
      this.statuses.set(status)
    })
  }

  /** What it means that the key holds something else, or nothing. */
  endedBy(kv: KeyValue | undefined): Ended {
    const { key } = this.plan
    return kv !== undefined && this.lastRevision !== undefined && kv.modRevision > this.lastRevision ?
      new InstanceIdTaken({ key, by: Claim.holderOf(kv) }) :
      new RegistrationLost({ key })
  }
}

/** Waits for the next attempt; false when `retry` has run out. */
const awaitAttempt = Effect.fnUntraced(function* <M>(owner: Owner<M>, cause: EtcdError | RegistrationLost) {
  const { lostAt, plan: { key } } = owner
  owner.lastFailure = cause
  const attempt = owner.attempt += 1
  if (attempt === 2 && lostAt === undefined) {
    yield* Effect.logWarning(`${JSON.stringify(key)} is not registered yet; trying again: ${cause.message}`)
  }
  yield* owner.setStatus(
    lostAt === undefined ?
      RegistrationStatus.Registering({ attempt }) :
      RegistrationStatus.Recovering({ since: lostAt, attempt, cause })
  )
  const delay = yield* owner.backoff.next(cause)
  owner.isExhausted = Option.isNone(delay)
  if (Option.isSome(delay)) yield* owner.registrar.recovery.rest(delay.value)
  return !owner.isExhausted
})

/** Repeats what can succeed unchanged, under the backoff of the registration; gives up when the lease is lost. */
const persist = <M, A, E>(
  owner: Owner<M>,
  effect: Effect.Effect<A, EtcdError | E>,
  lost: Effect.Effect<EtcdError> = Effect.never
): Effect.Effect<A, EtcdError | E> => {
  const again = (failure: EtcdError | E): Effect.Effect<A, EtcdError | E> =>
    isEtcdError(failure) && failure.retryable ?
      Effect.flatMap(
        awaitAttempt(owner, failure),
        (isWorthIt) => isWorthIt ? Effect.catch(effect, again) : Effect.fail(failure)
      ) :
      Effect.fail(failure)
  return Effect.catch(effect, (failure) => Effect.raceFirst(again(failure), Effect.flatMap(lost, Effect.fail)))
}

/** Puts the instance again, if the key is still there under the lease; otherwise answers with what is there. */
const publish = Effect.fnUntraced(function* <M>(owner: Owner<M>, leaseId: LeaseId) {
  const { plan: { key }, registrar: { etcd }, value } = owner
  const response = yield* etcd.txn({
    compare: [{ target: "lease", key, result: "equal", value: leaseId }],
    then: [{ _tag: "Put", request: { key, value, lease: leaseId } }],
    else: [{ _tag: "Range", request: { key } }]
  })
  if (!response.succeeded) return owner.endedBy(Claim.readBack(response))
  owner.lastRevision = response.header.revision
  return undefined
})

/** Publishes until etcd has answered or the lease is lost. */
const publishing = <M>(owner: Owner<M>, session: Session.Session) =>
  publish(owner, session.leaseId).pipe(
    Effect.retry({ schedule: owner.plan.retry, while: (error) => error.retryable }),
    Effect.raceFirst(session.lost)
  )

const settle = Effect.fnUntraced(function* <M>(owner: Owner<M>, leaseId: LeaseId, revision: bigint) {
  const isDraining = owner.instance.status === "draining"
  owner.drainingSince = isDraining ? owner.drainingSince ?? (yield* monotonicMillis) : undefined
  yield* owner.setStatus(
    isDraining ? RegistrationStatus.Draining() : RegistrationStatus.Registered({ leaseId, revision })
  )
})

const change = Effect.fnUntraced(function* <M>(owner: Owner<M>, session: Session.Session, message: Change<M>) {
  const before = owner.instance
  const candidate = message.change(before)
  const encoded = encode(owner.plan.codec, candidate)
  if (Result.isFailure(encoded)) {
    yield* Deferred.fail(message.done, encoded.failure)
    return undefined
  }
  owner.instance = candidate
  owner.pending = message
  const answer = yield* Effect.result(publishing(owner, session))
  if (Result.isFailure(answer)) {
    if (answer.failure.reason._tag === "LeaseNotFound") return answer.failure
    owner.instance = before
    owner.pending = undefined
    yield* Deferred.fail(message.done, new RegistrationRefused({ key: owner.plan.key, cause: answer.failure }))
    return undefined
  }
  if (answer.success !== undefined) return answer.success
  owner.pending = undefined
  const hasTurned = (before.status === "draining") !== (candidate.status === "draining")
  if (hasTurned) yield* settle(owner, session.leaseId, owner.lastRevision ?? 0n)
  yield* Deferred.succeed(message.done, undefined)
  return undefined
})

const see = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  session: Session.Session,
  { kv, listed }: OwnKeys.SeenKey
) {
  if (kv === undefined || kv.lease !== session.leaseId) return owner.endedBy(kv)
  const isNews = listed || (owner.lastRevision !== undefined && kv.modRevision > owner.lastRevision)
  if (!isNews || Claim.sameBytes(kv.value, owner.value)) return undefined
  const answer = yield* Effect.result(publishing(owner, session))
  return Result.isSuccess(answer) ? answer.success : undefined
})

/** Passes over what is older than what is known. A list that seems so may be of another history: etcd is asked. */
const look = Effect.fnUntraced(function* <M>(owner: Owner<M>, session: Session.Session, seen: OwnKeys.SeenKey) {
  const { plan: { key, retry }, registrar: { etcd } } = owner
  if (seen.revision > owner.seenAt) {
    if (seen.listed) owner.seenAt = seen.revision
    return yield* see(owner, session, seen)
  }
  if (!seen.listed) return undefined
  const answer = yield* Effect.result(
    etcd.range({ key }).pipe(
      Effect.retry({ schedule: retry, while: (error) => error.retryable }),
      Effect.raceFirst(Effect.flatMap(session.lost, Effect.fail))
    )
  )
  if (Result.isFailure(answer)) return undefined
  const { header, kvs } = answer.success
  owner.seenAt = header.revision
  return yield* see(owner, session, { ...seen, kv: kvs[0] })
})

const tenure = Effect.fnUntraced(function* <M>(
  owner: Owner<M>
): Effect.fn.Return<Ended, EtcdError | InstanceIdTaken, Scope.Scope> {
  const { inbox, plan, registrar: { etcd, followOptions, ownKeys, recovery, sessions } } = owner
  const { key } = plan
  const session = yield* sessions.open({
    ttl: plan.ttl,
    releaseTimeout: () => owner.releaseTimeout,
    retry: (grant) => persist(owner, grant),
    onLost: (leaseId, cause) => inbox.offer({ _tag: "LeaseLost", leaseId, cause })
  })
  const { leaseId, grantedAt } = session
  const ownKey = yield* ownKeys.enter(
    key,
    grantedAt,
    (seen) => {
      const isKnown = !seen.listed && seen.revision <= owner.seenAt
      if (!isKnown) inbox.offer({ _tag: "KeySeen", leaseId, seen })
    }
  )
  const previousLease = Array.from(owner.leases).at(-1)
  owner.leases.add(leaseId)
  const revision = yield* persist(owner, Claim.make(etcd, followOptions, owner, session), session.lost)
  ownKey.claimed(revision)
  owner.lease = leaseId
  owner.remaining = undefined
  if (owner.attempt > 1 || owner.lostAt !== undefined) yield* recovery.succeeded
  owner.lastRevision = revision
  owner.seenAt = revision
  owner.attempt = 1
  owner.lostAt = undefined
  owner.waitUntil = undefined
  yield* settle(owner, leaseId, revision)
  Deferred.doneUnsafe(owner.started, Exit.void)
  yield* Metric.update(registered, 1)
  const claimedAt = yield* monotonicMillis

  if (previousLease !== undefined) yield* Effect.forkScoped(Effect.ignore(etcd.leaseRevoke(previousLease)))
  let ended: Ended | undefined
  while (ended === undefined) {
    const message: Message<M> = owner.pending ?? (yield* inbox.take)
    if (message._tag === "Change") ended = yield* change(owner, session, message)
    else if (message.leaseId !== leaseId) continue
    else if (message._tag === "LeaseLost") ended = message.cause
    else ended = yield* look(owner, session, message.seen)
  }
  owner.lease = undefined
  if (ended._tag !== "InstanceIdTaken") {
    const since = yield* Clock.currentTimeMillis
    owner.remaining = leaseId
    owner.lostAt = since
    owner.attempt = 0
    if ((yield* monotonicMillis) - claimedAt >= plan.ttl.seconds * 1000) owner.backoff.reset()
    yield* owner.setStatus(RegistrationStatus.Recovering({ since, attempt: 0, cause: ended }))
    yield* Effect.logWarning(`the registration of ${JSON.stringify(key)} was lost; registering again`, ended)
    yield* Metric.update(lost, 1)
  }
  return ended
})

const fail = <M>(owner: Owner<M>, next: RegistrationStatus, error: RegistrationError) =>
  Effect.map(owner.setStatus(next), () => {
    Deferred.doneUnsafe(owner.started, Exit.fail(error))
    Deferred.doneUnsafe(owner.failed, Exit.fail(error))
  })

/** The life of a registration: one tenure after the other. */
const live = Effect.fnUntraced(function* <M>(owner: Owner<M>) {
  while (true) {
    const result = yield* Effect.result(Effect.scoped(tenure(owner)))
    const isFirst = owner.lastRevision === undefined
    const cause = Result.isSuccess(result) ? result.success : result.failure
    if (cause._tag === "InstanceIdTaken") {
      const { by } = cause
      return yield* fail(
        owner,
        isFirst ? RegistrationStatus.Failed({ error: cause }) : RegistrationStatus.Superseded({ by }),
        cause
      )
    }
    if (owner.isReleasing) return
    const isRefused = isFirst && cause._tag === "EtcdError" && isRefusal(cause)
    if (isRefused || owner.isExhausted || !(yield* awaitAttempt(owner, cause))) {
      const error = new RegistrationRefused({ key: owner.plan.key, cause })
      return yield* fail(owner, RegistrationStatus.Failed({ error }), error)
    }
  }
})

/** Asks the owner for a change, and waits until it is in etcd. */
const ask = Effect.fnUntraced(function* <M>(
  { failed, inbox, released }: Owner<M>,
  change: Change<M>["change"]
): Effect.fn.Return<void, RegistrationError> {
  const done = yield* Deferred.make<void, RegistrationError>()
  inbox.offer({ _tag: "Change", change, done })
  yield* Effect.raceAllFirst([
    Deferred.await(done),
    Deferred.await(failed),
    Effect.andThen(Deferred.await(released), Effect.fail(isReleased))
  ])
})

const drain = <M>(owner: Owner<M>) => ask(owner, (current) => ({ ...current, status: "draining" }))

const drainBeforeRelease = Effect.fnUntraced(function* <M>(owner: Owner<M>, fiber: Fiber.Fiber<void>) {
  const { plan } = owner
  owner.isReleasing = true
  // What is not in etcd has nothing to announce.
  if (owner.lease === undefined || Duration.isZero(plan.drain)) return
  const ended = Fiber.await(fiber)
  const published = yield* Effect.raceFirst(Effect.result(drain(owner)), ended).pipe(
    Effect.timeoutOption(owner.releaseTimeout)
  )
  if (Option.isNone(published)) {
    owner.releaseTimeout = Duration.zero
    yield* Effect.logWarning(`etcd did not answer; ${JSON.stringify(plan.key)} leaves without being drained`)
  } else {
    const drained = (yield* monotonicMillis) - (owner.drainingSince ?? 0)
    yield* Effect.raceFirst(Effect.sleep(Math.max(0, Duration.toMillis(plan.drain) - drained)), ended)
  }
})

const release = Effect.fnUntraced(function* <M>(owner: Owner<M>) {
  const { registrar: { etcd }, remaining, status } = owner
  owner.lease = undefined
  // etcd extends the leases that it finds when it starts: what was lost during an outage may be there after it.
  if (remaining !== undefined) yield* Session.release(etcd, remaining, owner.releaseTimeout)
  const isFinal = status._tag === "Superseded" || status._tag === "Failed"
  if (!isFinal) yield* owner.setStatus(RegistrationStatus.Released())
  owner.statuses.end(Exit.void)
  yield* Deferred.succeed(owner.released, undefined)
})

/** Starts the owner's fiber, and the check of health, until the scope closes. */
const keep = Effect.fnUntraced(function* <M>(owner: Owner<M>): Effect.fn.Return<void, never, Scope.Scope> {
  const { health } = owner.plan
  owner.statuses.set(owner.status)
  yield* Effect.addFinalizer(() => release(owner))
  const fiber = yield* Effect.forkScoped(live(owner), { startImmediately: true })
  if (Option.isSome(health)) {
    const { check, every, threshold } = health.value
    yield* Health.gate(
      check,
      every,
      threshold,
      (next) =>
        Effect.ignore(ask(owner, (current) => current.status === "draining" ? current : { ...current, status: next }))
    ).pipe(
      Effect.forkScoped
    )
  }
  yield* Effect.addFinalizer(() => drainBeforeRelease(owner, fiber))
})

/** Waits for the first claim, and for a holder of the key one TTL longer. */
const awaitStart = <M>(owner: Owner<M>): Effect.Effect<void, RegistrationError> =>
  Effect.suspend(() => {
    const { plan, registrar: { timers }, started } = owner
    let isProlonged = false
    const deadline = new Deadline((now) => {
      if (owner.waitUntil !== undefined && !isProlonged) {
        isProlonged = true
        return timers.set(deadline, now + (plan.ttl.seconds + 2) * 1000)
      }
      const cause = isEtcdError(owner.lastFailure) ? { cause: owner.lastFailure } : {}
      const error = new StartupTimeout({ key: plan.key, after: plan.startupTimeout, ...cause })
      Deferred.doneUnsafe(started, Exit.fail(error))
    })
    timers.set(deadline, timers.now() + Duration.toMillis(plan.startupTimeout))
    return Effect.onExit(Deferred.await(started), () => Effect.sync(() => timers.delete(deadline)))
  })

const update = Effect.fnUntraced(function* <M>(owner: Owner<M>, patch: InstancePatch<M>) {
  const changes = yield* Effect.fromResult(checkPatch(patch))
  yield* Effect.fromResult(encode(owner.plan.codec, { ...owner.instance, ...changes }))
  yield* ask(owner, (current) => ({ ...current, ...changes }))
})

/** What the user of a registration gets. */
const registrationOf = <M>(owner: Owner<M>): Registration<M> => ({
  get instance() {
    return owner.instance
  },
  key: owner.plan.key,
  leaseId: Effect.sync(() => Option.fromNullishOr(owner.lease)),
  status: {
    get: Effect.sync(() => owner.status),
    get changes() {
      return owner.statuses.changes
    }
  },
  update: (patch) => update(owner, patch),
  drain: Effect.ignore(drain(owner)),
  awaitFailure: Deferred.await(owner.failed)
})

const isReleased = new InvalidOption({
  of: "Registration.update",
  option: "scope",
  value: "closed",
  rule: "a registration can be changed while its scope is open"
})

const isEtcdError = (error: unknown): error is EtcdError =>
  error instanceof Error && "_tag" in error && error._tag === "EtcdError"

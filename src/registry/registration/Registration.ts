/**
 * A registration: one instance that is kept in etcd for a scope.
 *
 * `phase.ts` has its state machine, `run.ts` the fiber that runs it.
 *
 * @module
 */
import { Deferred, Duration, Effect, Exit, Fiber, Option, Scope, type Stream } from "effect"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { EtcdError } from "../../etcd/EtcdError.ts"
import * as Session from "../../etcd/Session.ts"
import { acquireSync, addFinalizer } from "../../internal/finalizers.ts"
import { InvalidOption } from "../../internal/options.ts"
import { Deadline } from "../../internal/time/Deadlines.ts"
import type { Labels, ServiceInstance } from "../model/Instance.ts"
import * as Health from "./health.ts"
import { forkFor, Owner } from "./Owner.ts"
import { claims, losses, registrations } from "./metrics.ts"
import * as Phase from "./phase.ts"
import { checkPatch, encode, type InstancePatch, type RegistrationPlan } from "./RegisterOptions.ts"
import { type RegistrationError, StartupTimeout } from "./RegistrationError.ts"
import type { Registrar } from "./Registrar.ts"
import { run } from "./run.ts"
import * as Wanted from "./wanted.ts"
import { logInfo, logWarning } from "../../internal/log.ts"

export type { HealthState } from "./health.ts"
export { RegistrationStatus } from "./phase.ts"

/**
 * An instance that is kept in etcd until its scope closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Registration<M = Labels> {
  /** The instance as it is in etcd, or as it will be after the pending write. */
  readonly instance: ServiceInstance<M>
  /** The key in etcd. */
  readonly key: string
  /** The lease of the key, while it is in etcd. */
  readonly leaseId: Effect.Effect<Option.Option<LeaseId>>
  readonly status: {
    /** The current status. */
    readonly get: Effect.Effect<Phase.RegistrationStatus>
    /** Emits the current status, then each newer one. A slow reader gets the newest. Ends when the scope closes. */
    readonly changes: Stream.Stream<Phase.RegistrationStatus>
  }
  /** The last result of the health check, and since when. None without `health`, and before the first result. */
  readonly health: Effect.Effect<Option.Option<Health.HealthState>>
  /**
   * Changes the instance in one Txn, so that it is never absent, and completes once the change is in etcd. During an
   * outage it waits. Fails with `InvalidOption` before anything is sent, and with `RegistrationRefused` if etcd
   * refuses; then the instance stays as it was. If the registration ends first, it fails with the registration's
   * failure. An interrupted update may still be applied.
   */
  readonly update: (patch: InstancePatch<M>) => Effect.Effect<void, RegistrationError>
  /**
   * Publishes `"draining"`, and completes once that is in etcd or the registration has ended. It does nothing if the
   * format of the service has no such status.
   */
  readonly drain: Effect.Effect<void>
  /** Fails once the registration has ended by itself (`Superseded`, `Failed`). It never succeeds. */
  readonly awaitFailure: Effect.Effect<never, RegistrationError>
}

/** Keeps an instance registered until the scope closes. */
export const make = <M>(
  registrar: Registrar,
  plan: RegistrationPlan<M>
): Effect.Effect<Registration<M>, RegistrationError, Scope.Scope> =>
  Effect.uninterruptibleMask(Effect.fnUntraced(function* (restore) {
    yield* restore(registrar.burst)
    const scope = yield* registrar.scopes.open(plan.lease)
    yield* Effect.onError(reserveKey(registrar, plan), () => Scope.close(scope, Exit.void))
    const owner = yield* Scope.provide(start(registrar, plan), scope)
    if (plan.startup === "await") {
      yield* Effect.onExit(
        restore(awaitStart(owner)),
        (exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)
      )
    }
    return registrationOf(owner)
  }))

/** Reserves a key for a shared lease, because two registrations of one key on one lease are indistinguishable (R13). */
const reserveKey = <M>(
  { sharedKeys }: Registrar,
  { instance, key, lease }: RegistrationPlan<M>
): Effect.Effect<void, InvalidOption> =>
  Effect.suspend(() => {
    const isFree = lease !== "shared" || !sharedKeys.has(key)
    if (lease === "shared") sharedKeys.add(key)
    return isFree ? Effect.void : Effect.fail(
      new InvalidOption({
        of: "registerService",
        option: "id",
        value: instance.id,
        rule: `${
          JSON.stringify(key)
        } must not be registered twice with lease: "shared"; give each registration its own id`
      })
    )
  })

/** Adds the registration to what its registry shares, and starts its fiber and the check of health. */
const start = Effect.fnUntraced(function* <M>(
  registrar: Registrar,
  plan: RegistrationPlan<M>
): Effect.fn.Return<Owner<M>, never, Scope.Scope> {
  const { health, instance: { name }, key, lease } = plan
  const { recovery, sharedKeys } = registrar
  const context = yield* Effect.context<never>()
  const { owner } = yield* acquireSync(() => {
    const owner = new Owner(registrar, plan, recovery.enter())
    claims(name).updateUnsafe(0, context)
    losses(name).updateUnsafe(0, context)
    return { owner, removeSource: registrations.add(context, { service: name }, owner) }
  }, ({ removeSource }) => {
    removeSource()
    recovery.leave()
    if (lease === "shared") sharedKeys.delete(key)
  })
  const fiber = yield* Effect.forkDetach(run(owner), { startImmediately: true })
  yield* addFinalizer(() => release(owner, fiber))
  if (Option.isSome(health)) {
    yield* forkFor(owner, Health.gate(health.value, (state, failures) => onHealth(owner, state, failures)))
  }
  return owner
})

/** Stores the newest health, and logs a change of status. */
const onHealth = <M>(owner: Owner<M>, state: Health.HealthState, failures: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const before = owner.health?.status ?? "starting"
    owner.health = state
    if (state.status === before) return Effect.void
    owner.offer({ _tag: "Publish" })
    const key = JSON.stringify(owner.plan.key)
    return Exit.isSuccess(state.lastResult) ?
      logInfo(`${key} is up: its health check succeeded`) :
      logWarning(`${key} is down: its health check failed ${failures} times in a row`, state.lastResult.cause)
  })

/** Ends the fiber. An instance that is in etcd is drained first. */
const release = Effect.fnUntraced(function* <M>(owner: Owner<M>, fiber: Fiber.Fiber<void>) {
  const { lostLeases, phase, plan, registrar: { etcd, timers } } = owner
  const { drain, key, releaseTimeout } = plan
  Deferred.doneUnsafe(owner.releasing, Exit.void)
  // An instance that is not in etcd has nothing to drain.
  if (phase._tag === "Held" && !Duration.isZero(drain)) owner.offer({ _tag: "Release" })
  else fiber.interruptUnsafe()
  // etcd extends its leases when it starts, so a lease that was lost during an outage may exist afterwards.
  const revoked = [...lostLeases].map((id) => Session.release(etcd, timers, id, releaseTimeout))
  const ended = Effect.as(Fiber.await(fiber), true)
  const isDone = revoked.length === 0 ?
    [yield* ended] :
    yield* Effect.all([ended, ...revoked], { concurrency: "unbounded" })
  const wasRegistered = owner.phase._tag === "Ended" || owner.phase.lastRevision !== undefined
  // The fiber has ended: this is the last transition.
  owner.become(Phase.afterRelease(owner.phase))
  if (wasRegistered && owner.phase._tag === "Ended" && owner.phase.status._tag === "Released") {
    yield* (isDone.includes(false) || owner.isKeyLeft() ?
      logWarning(`released ${JSON.stringify(key)}, but etcd keeps it until its lease expires`) :
      logInfo(`released ${JSON.stringify(key)}`))
  }
  owner.statuses.end(Exit.void)
  yield* Deferred.succeed(owner.released, undefined)
})

/** Waits for the first claim; one TTL longer if another process holds the key. */
const awaitStart = <M>(owner: Owner<M>): Effect.Effect<void, RegistrationError> =>
  Effect.suspend(() => {
    const { plan: { key, startupTimeout, ttl }, registrar: { timers }, started } = owner
    let isProlonged = false
    const deadline = new Deadline((now) => {
      const { phase } = owner
      if (phase._tag !== "Claiming") return
      if (phase.waitUntil !== undefined && !isProlonged) {
        isProlonged = true
        return timers.set(deadline, now + (ttl.seconds + 2) * 1000)
      }
      const cause = phase.lastFailure instanceof EtcdError ? { cause: phase.lastFailure } : {}
      Deferred.doneUnsafe(started, Exit.fail(new StartupTimeout({ key, after: startupTimeout, ...cause })))
    })
    timers.set(deadline, timers.now() + Duration.toMillis(startupTimeout))
    return Effect.onExit(Deferred.await(started), () => Effect.sync(() => timers.delete(deadline)))
  })

/** Requests a change from the fiber, and waits until it is in etcd. */
const requestChange = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  change: (wanted: Wanted.Wanted<M>) => Wanted.Wanted<M>
): Effect.fn.Return<void, RegistrationError> {
  const done = yield* Deferred.make<void, RegistrationError>()
  owner.offer({ _tag: "Change", change, done })
  yield* Effect.raceAllFirst([
    Deferred.await(done),
    Deferred.await(owner.failed),
    Effect.andThen(Deferred.await(owner.released), Effect.fail(isReleased))
  ])
})

const update = Effect.fnUntraced(function* <M>(owner: Owner<M>, patch: InstancePatch<M>) {
  const changes = yield* Effect.fromResult(checkPatch(patch))
  yield* Effect.fromResult(encode(owner.plan.codec, { ...owner.instance, ...changes }))
  yield* requestChange(owner, (wanted) => Wanted.withPatch(wanted, changes))
})

const registrationOf = <M>(owner: Owner<M>): Registration<M> => ({
  get instance() {
    return owner.instance
  },
  key: owner.plan.key,
  leaseId: Effect.sync(() => owner.phase._tag === "Held" ? Option.some(owner.phase.leaseId) : Option.none()),
  status: {
    get: Effect.sync(() => owner.status),
    get changes() {
      return owner.statuses.changes
    }
  },
  health: Effect.sync(() => Option.fromNullishOr(owner.health)),
  update: (patch) => update(owner, patch),
  drain: Effect.ignore(requestChange(owner, Wanted.withDrain)),
  awaitFailure: Deferred.await(owner.failed)
})

const isReleased = new InvalidOption({
  of: "Registration.update",
  option: "scope",
  value: "closed",
  rule: "a registration can be changed while its scope is open"
})

/**
 * The fiber of a registration while the key is held: it writes changes, interprets foreign writes of the key, and
 * drains before it leaves.
 *
 * @module
 */
import { Cause, Clock, Deferred, Duration, Effect, Exit, identity, Metric, Option, Result, type Scope } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import { EtcdError, Unavailable } from "../../etcd/EtcdError.ts"
import * as Backoff from "../../etcd/Backoff.ts"
import type { Session } from "../../etcd/Session.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import { withLimit } from "../../internal/time/withLimit.ts"
import * as Claim from "./claim.ts"
import { instanceIn } from "./holder.ts"
import type { Message, Owner } from "./Owner.ts"
import { losses } from "./metrics.ts"
import * as Phase from "./phase.ts"
import { encode } from "./RegisterOptions.ts"
import { RegistrationRefused } from "./RegistrationError.ts"
import type { SharedSession } from "./SharedLeases.ts"
import * as Wanted from "./wanted.ts"
import { logInfo, logWarning } from "../../internal/log.ts"

/** The phase that follows from a message. */
export const step = <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session,
  message: Message<M>
): Effect.Effect<Phase.Phase, never, Scope.Scope> => {
  switch (message._tag) {
    case "LeaseLost":
      return message.leaseId === phase.leaseId ? lose(owner, phase, message.cause) : Effect.succeed(phase)
    case "KeySeen":
      return message.leaseId === phase.leaseId ?
        onMeaning(owner, phase, session, Phase.meaningOf(phase, owner.plan, message.seen)) :
        Effect.succeed(phase)
    case "Change":
      return change(owner, phase, session, message)
    case "Release":
      return leave(owner, phase, session)
    case "Drained":
      return Effect.as(session.release(Duration.millis(message.leftMillis)), Phase.afterRelease(phase))
    case "Publish":
      owner.isPublishPlanned = false
      return publish(owner, phase, session)
    case "Died":
      return Effect.die(Cause.squash(message.cause))
  }
}

const lose = Effect.fnUntraced(function* <M>(owner: Owner<M>, phase: Phase.Held, cause: Phase.Failure) {
  const next = Phase.afterLoss(phase, cause, yield* Clock.currentTimeMillis)
  if (next._tag === "Claiming") {
    // The last member to leave a shared lease revokes it.
    if (owner.plan.lease === "own") owner.lostLeases.add(phase.leaseId)
    yield* logWarning(`lost the registration of ${JSON.stringify(owner.plan.key)}; registering again`, cause)
    yield* Metric.update(losses(owner.plan.instance.name), 1)
  }
  return next
})

/** Handles an observation of the key. */
const onMeaning = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session,
  meaning: Phase.Meaning
): Effect.fn.Return<Phase.Phase, never, Scope.Scope> {
  switch (meaning._tag) {
    case "Old":
      return phase
    case "Unsure": {
      const { plan: { key, retry }, registrar: { etcd } } = owner
      const read = Effect.map(
        Effect.retry(etcd.range({ key }), Backoff.untilBack(retry, etcd.recovered)),
        ({ header, kvs }) => Phase.meaningOfRead({ ...phase, seenAt: header.revision }, owner.plan, kvs[0])
      )
      const answer = yield* Effect.option(unless(owner, session, read))
      return Option.isSome(answer) && answer.value !== undefined ?
        yield* onMeaning(owner, phase, session, answer.value) :
        phase
    }
    case "Lost":
      return yield* lose(owner, phase, meaning.cause)
    case "Taken":
      return Phase.afterTaken(phase, meaning.error)
    case "Own": {
      const { kv, phase: seen } = meaning
      yield* adopt(owner, kv)
      return yield* publish(owner, Phase.afterWrite(seen, kv.modRevision, yield* drainingAt(owner)), session)
    }
  }
})

/** Adopts an operator's changes of the value. The next write undoes all other changes. */
const adopt = Effect.fnUntraced(function* <M>(owner: Owner<M>, { value }: KeyValue) {
  const { plan: { key }, sent, written } = owner
  if (Claim.sameBytes(value, written.value)) return
  // An own write whose answer was lost.
  if (sent.some((one) => Claim.sameBytes(value, one))) {
    owner.written = { ...written, value }
    return
  }
  const found = instanceIn(owner.plan, value)
  if (found !== undefined) {
    const before = owner.instance
    owner.wanted = Wanted.adopt(owner.wanted, written.instance, found)
    const { status, weight } = owner.instance
    if (status !== before.status || weight !== before.weight) {
      yield* logInfo(`an operator changed ${JSON.stringify(key)}: status ${status}, weight ${weight}`)
    }
  }
  owner.written = { instance: found ?? written.instance, value }
})

/** The delay before retrying when etcd refuses to undo a foreign write or to publish a change of health. */
const refusedMillis = 5000

/** Writes the wanted value if it is not in etcd, within the rate limit of {@link Pace}. */
const publish = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session
): Effect.fn.Return<Phase.Phase, never, Scope.Scope> {
  if (Claim.sameBytes(owner.encoded.value, owner.written.value)) return phase
  const waitMillis = owner.pace.take(yield* monotonicMillis)
  const written = waitMillis > 0 ?
    Result.succeed(undefined) :
    yield* Effect.result(unless(owner, session, write(owner, phase)))
  if (Result.isSuccess(written) && written.success !== undefined) return written.success
  if (!owner.isPublishPlanned) {
    owner.isPublishPlanned = true
    yield* Effect.forkScoped(
      Effect.delay(Effect.sync(() => owner.offer({ _tag: "Publish" })), waitMillis > 0 ? waitMillis : refusedMillis)
    )
  }
  return phase
})

/** The current time if the instance is draining. */
export const drainingAt = <M>(owner: Owner<M>): Effect.Effect<number | undefined> =>
  owner.instance.status === "draining" ? monotonicMillis : Effect.succeed(undefined)

/** Runs an effect on the held key until the lease is lost or the registration is released. After that it does not start. */
const unless = <M, A, E>(
  owner: Owner<M>,
  session: Session,
  effect: Effect.Effect<A, E>
): Effect.Effect<A | undefined, E> =>
  Effect.raceAllFirst([
    Effect.as(Deferred.await(owner.releasing), undefined),
    Effect.as(session.lost, undefined),
    effect
  ])

/** How many Txns a write sends in a row if the key keeps changing. Then the backoff of the registration applies. */
const maxImmediateWrites = 4

/** Replaces the last value by the wanted one. If another process has written the key, interprets that write first. */
const write = <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  change: (wanted: Wanted.Wanted<M>) => Wanted.Wanted<M> = identity
): Effect.Effect<Phase.Phase, EtcdError> => {
  const { plan: { key, retry }, registrar: { etcd } } = owner
  const attempt = Effect.fnUntraced(function* (): Effect.fn.Return<Phase.Phase, EtcdError> {
    let held = phase
    for (let writes = 0; writes < maxImmediateWrites; writes++) {
      const result = yield* Claim.replace(etcd, key, held, owner.value())
      if (result._tag === "Written") {
        owner.confirm()
        return Phase.afterWrite(held, result.revision, yield* drainingAt(owner))
      }
      const meaning = Phase.meaningOfRead(held, owner.plan, result.kv)
      if (meaning._tag === "Lost") return yield* lose(owner, held, meaning.cause)
      if (meaning._tag === "Taken") return Phase.afterTaken(held, meaning.error)
      yield* adopt(owner, meaning.kv)
      owner.wanted = change(owner.wanted)
      held = Phase.afterWrite(held, meaning.kv.modRevision, yield* drainingAt(owner))
      if (Claim.sameBytes(owner.encoded.value, owner.written.value)) return held
    }
    return yield* new EtcdError({
      reason: new Unavailable({ detail: `the key changed during each of ${maxImmediateWrites} attempts to write it` }),
      method: "txn",
      key
    })
  })
  return Effect.retry(Effect.suspend(attempt), Backoff.untilBack(retry, etcd.recovered))
}

const change = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session,
  { change, done }: Extract<Message<M>, { readonly _tag: "Change" }>
): Effect.fn.Return<Phase.Phase> {
  const { health, plan: { codec, key }, wanted: before, written: writtenBefore } = owner
  const candidate = change(before)
  const encoded = encode(codec, Wanted.published(candidate, health?.status))
  if (Result.isFailure(encoded)) {
    yield* Deferred.fail(done, encoded.failure)
    return phase
  }
  owner.wanted = candidate
  const written = yield* Effect.result(unless(owner, session, write(owner, phase, change)))
  if (Result.isFailure(written) && written.failure.reason._tag !== "LeaseNotFound") {
    // Try again with the changes that an operator may have made meanwhile.
    owner.wanted = Wanted.adopt(before, writtenBefore.instance, owner.written.instance)
    yield* Deferred.fail(done, new RegistrationRefused({ key, cause: written.failure }))
    return phase
  }
  const next = Result.isFailure(written) ? yield* lose(owner, phase, written.failure) : written.success ?? phase
  if (next === phase || next._tag !== "Held") {
    owner.unwritten.push(done)
    return next
  }
  // The status changes before the caller goes on.
  owner.become(next)
  yield* Deferred.succeed(done, undefined)
  return next
})

/** Publishes `"draining"` and waits until `drain` has passed. The rest of `releaseTimeout` is left to revoke the lease. */
const leave = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session
): Effect.fn.Return<Phase.Phase, never, Scope.Scope> {
  const { plan: { drain, key, releaseTimeout } } = owner
  const leaving = Phase.whileLeaving(phase)
  owner.wanted = Wanted.withDrain(owner.wanted)
  const startedAt = yield* monotonicMillis
  const written = yield* (phase.drainingSince === undefined ? write(owner, leaving) : Effect.succeed(leaving)).pipe(
    Effect.raceFirst(Effect.as(session.lost, Phase.afterRelease(leaving))),
    Effect.timeoutOption(releaseTimeout),
    Effect.result
  )
  if (Result.isFailure(written) || Option.isNone(written.success)) {
    const reason = Result.isFailure(written) ? written.failure.message : "etcd did not answer in time"
    yield* logWarning(`${JSON.stringify(key)} leaves without being drained: ${reason}`)
    if (Result.isSuccess(written)) yield* session.release(Duration.zero)
    return Phase.afterRelease(leaving)
  }
  const next = written.success.value
  if (next._tag === "Held") {
    const now = yield* monotonicMillis
    const drainMillis = Math.max(0, (next.drainingSince ?? 0) + Duration.toMillis(drain) - now)
    const leftMillis = Math.max(0, startedAt + Duration.toMillis(releaseTimeout) - now)
    yield* Effect.forkScoped(
      Effect.delay(Effect.sync(() => owner.offer({ _tag: "Drained", leftMillis })), drainMillis)
    )
  }
  return next
})

/** Deletes only the own key, if it is still under the shared lease (R13). Returns whether etcd did. */
export const removeKey = <M>(owner: Owner<M>, session: SharedSession): Effect.Effect<boolean> => {
  const { plan: { key }, registrar: { etcd, timers } } = owner
  const attempt = (expected: bigint): Effect.Effect<boolean, EtcdError> =>
    Effect.flatMap(Claim.remove(etcd, key, expected, session.leaseId), (found) =>
      // The key was written since, or put by a claim whose answer was lost.
      found?.lease === session.leaseId && found.modRevision !== expected ?
        attempt(found.modRevision) :
        Effect.succeed(true))
  const removed = Effect.retry(
    Effect.suspend(() => attempt(owner.lastRevision ?? 0n)),
    Backoff.untilBack(Backoff.heartbeat, etcd.recovered)
  )
  return Effect.flatMap(session.leftMillis, (left) => withLimit(removed, timers, left, () => Exit.succeed(false))).pipe(
    Effect.tap((isRemoved) =>
      isRemoved ?
        Effect.void :
        logWarning(`etcd did not answer in time: ${JSON.stringify(key)} is left until its shared lease ends`)
    ),
    Effect.catch((error) => Effect.as(logWarning(`cannot delete ${JSON.stringify(key)}`, error), false))
  )
}

/**
 * What the fiber of a registration does while the key is held: it writes changes, decides what a foreign write of the
 * key means, and drains before it leaves.
 *
 * @module
 */
import { Clock, Deferred, Duration, Effect, Metric, Option, Result, type Scope } from "effect"
import { EtcdError, Unavailable } from "../../etcd/EtcdError.ts"
import type { Session } from "../../etcd/Session.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import * as Claim from "./claim.ts"
import type { Message, Owner } from "./Owner.ts"
import * as Phase from "./phase.ts"
import { encode } from "./RegisterOptions.ts"
import { RegistrationRefused } from "./RegistrationError.ts"

const lost = Metric.counter("etcd_discovery_registrations_lost", {
  description: "Registrations that were lost and had to be made again",
  incremental: true
})

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
      return Effect.succeed(Phase.afterRelease(phase))
  }
}

const lose = Effect.fnUntraced(function* <M>(owner: Owner<M>, phase: Phase.Held, cause: Phase.Failure) {
  const next = Phase.afterLoss(phase, cause, yield* Clock.currentTimeMillis)
  if (next._tag === "Claiming") {
    yield* Effect.logWarning(`lost the registration of ${JSON.stringify(owner.plan.key)}; registering again`, cause)
    yield* Metric.update(lost, 1)
  }
  return next
})

/** Acts on what was seen of the key. */
const onMeaning = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session,
  meaning: Phase.Meaning
): Effect.fn.Return<Phase.Phase> {
  switch (meaning._tag) {
    case "Old":
      return phase
    case "Unsure": {
      const { plan: { key, retry }, registrar: { etcd } } = owner
      const read = Effect.map(
        Effect.retry(etcd.range({ key }), { schedule: retry, while: (error) => error.retryable }),
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
      const { kv: { modRevision, value } } = meaning
      const seen = Phase.afterWrite(meaning.phase, modRevision, phase.drainingSince)
      if (Claim.sameBytes(value, owner.value)) return seen
      const written = yield* Effect.option(unless(owner, session, write(owner, seen)))
      return Option.getOrUndefined(written) ?? seen
    }
  }
})

/** The time, if the instance asks for no more traffic. */
export const drainingAt = <M>(owner: Owner<M>): Effect.Effect<number | undefined> =>
  owner.instance.status === "draining" ? monotonicMillis : Effect.succeed(undefined)

/** Runs an effect about the held key, and gives it up when the lease is lost or the registration is released. */
const unless = <M, A, E>(
  owner: Owner<M>,
  session: Session,
  effect: Effect.Effect<A, E>
): Effect.Effect<A | undefined, E> =>
  Effect.raceAllFirst([
    effect,
    Effect.as(session.lost, undefined),
    Effect.as(Deferred.await(owner.releasing), undefined)
  ])

/** Txns that a write sends at once when the key changes under it. Then the backoff of the registration applies. */
const maxImmediateWrites = 4

/** Writes the wanted value in place of the last one. If somebody else has written the key, decides anew. */
const write = <M>(owner: Owner<M>, phase: Phase.Held): Effect.Effect<Phase.Phase, EtcdError> => {
  const { plan: { key, retry }, registrar: { etcd } } = owner
  const attempt = Effect.fnUntraced(function* (): Effect.fn.Return<Phase.Phase, EtcdError> {
    let held = phase
    for (let writes = 0; writes < maxImmediateWrites; writes++) {
      const { value } = owner
      const result = yield* Claim.replace(etcd, key, held, value)
      if (result._tag === "Written") return Phase.afterWrite(held, result.revision, yield* drainingAt(owner))
      const meaning = Phase.meaningOfRead(held, owner.plan, result.kv)
      if (meaning._tag === "Lost") return yield* lose(owner, held, meaning.cause)
      if (meaning._tag === "Taken") return Phase.afterTaken(held, meaning.error)
      held = Phase.afterWrite(held, meaning.kv.modRevision, held.drainingSince)
      // The answer to an earlier attempt was lost.
      if (Claim.sameBytes(meaning.kv.value, value)) {
        return Phase.afterWrite(held, meaning.kv.modRevision, yield* drainingAt(owner))
      }
    }
    return yield* new EtcdError({
      reason: new Unavailable({ detail: `the key changed during each of ${maxImmediateWrites} attempts to write it` }),
      method: "txn",
      key
    })
  })
  return Effect.retry(Effect.suspend(attempt), { schedule: retry, while: (error) => error.retryable })
}

const change = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session,
  { change, done }: Extract<Message<M>, { readonly _tag: "Change" }>
): Effect.fn.Return<Phase.Phase> {
  const { instance: before, plan: { codec, key } } = owner
  const candidate = change(before)
  const encoded = encode(codec, candidate)
  if (Result.isFailure(encoded)) {
    yield* Deferred.fail(done, encoded.failure)
    return phase
  }
  owner.instance = candidate
  const written = yield* Effect.result(unless(owner, session, write(owner, phase)))
  if (Result.isFailure(written) && written.failure.reason._tag !== "LeaseNotFound") {
    owner.instance = before
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

/** Publishes `"draining"` before the registration leaves, and stays until `drain` has passed. */
const leave = Effect.fnUntraced(function* <M>(
  owner: Owner<M>,
  phase: Phase.Held,
  session: Session
): Effect.fn.Return<Phase.Phase, never, Scope.Scope> {
  const { plan: { drain, key, releaseTimeout } } = owner
  const leaving = Phase.whileLeaving(phase)
  owner.instance = { ...owner.instance, status: "draining" }
  const written = yield* (phase.drainingSince === undefined ? write(owner, leaving) : Effect.succeed(leaving)).pipe(
    Effect.raceFirst(Effect.as(session.lost, Phase.afterRelease(leaving))),
    Effect.timeoutOption(releaseTimeout),
    Effect.result
  )
  if (Result.isFailure(written) || Option.isNone(written.success)) {
    const reason = Result.isFailure(written) ? written.failure.message : "etcd did not answer in time"
    yield* Effect.logWarning(`${JSON.stringify(key)} leaves without being drained: ${reason}`)
    if (Result.isSuccess(written)) yield* session.release(Duration.zero)
    return Phase.afterRelease(leaving)
  }
  const next = written.success.value
  if (next._tag === "Held") {
    const left = (next.drainingSince ?? 0) + Duration.toMillis(drain) - (yield* monotonicMillis)
    yield* Effect.forkScoped(
      Effect.delay(Effect.sync(() => owner.offer({ _tag: "Drained" })), Math.max(0, left))
    )
  }
  return next
})

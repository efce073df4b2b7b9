/**
 * A call: attempts at instances, one after the other, or two at a time with a hedge.
 *
 * Each attempt ends as one {@link Attempted} value. The loop in {@link Calls.run} decides what follows.
 *
 * @module
 */
import { Cause, Deferred, Duration, Effect, Exit, Option } from "effect"
import { Steps } from "../../internal/time/Steps.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Attempt, CallFailed, type ConnectFailed, NoInstanceAvailable, TimedOut } from "./errors.ts"
import type { AttemptEnd, Member, Members } from "./Members.ts"
import type { CallPlan } from "./options.ts"
import type { RetryBudget } from "./RetryBudget.ts"

/** What a call runs with the client of an instance. */
export type Use<A, M, B, E, R> = (client: A, instance: ServiceInstance<M>) => Effect.Effect<B, E, R>

/** The end of an attempt. */
type Attempted<B, E> =
  | { readonly _tag: "Succeeded"; readonly value: B }
  /** The call fails with this cause: a non-retryable error, a defect or an interruption. */
  | { readonly _tag: "Final"; readonly cause: Cause.Cause<E> }
  /** Another attempt may follow. */
  | { readonly _tag: "Failed"; readonly isRetryable: boolean }
  /** No instance was available. */
  | { readonly _tag: "NoInstance"; readonly error: NoInstanceAvailable }

/** The inner exit is that of `use`. The outer exit is that of connecting and of the time limit. */
type AttemptExit<B, E> = Exit.Exit<Exit.Exit<B, E>, ConnectFailed | TimedOut>

/** Classifies an exit: it ends the call, or another attempt may follow. */
type Judged<B, E> =
  | { readonly _tag: "Attempted"; readonly attemptEnd: AttemptEnd; readonly attempted: Attempted<B, E> }
  | {
    readonly _tag: "Error"
    readonly attemptEnd: AttemptEnd
    readonly error: E | ConnectFailed | TimedOut
    readonly isRetryable: boolean
  }

/** The shared state of a call's attempts. */
interface Progress<E> {
  /** Failed attempts, in the order in which they ended. */
  readonly attempts: Array<Attempt<E>>
  /** The ids of the instances that attempts were sent to. */
  readonly tried: Set<string>
  /** Milliseconds on a monotonic clock. */
  readonly deadline: number
  /** The number of attempts that were sent. */
  sent: number
  /** The state of the backoff, from the first retry on. */
  steps: Steps<unknown> | undefined
}

type Restore = <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>

/** The calls of one service client. */
export class Calls<A, M> {
  readonly #members: Members<A, M>
  readonly #budget: RetryBudget | undefined
  readonly #discoveryTimeoutMillis: number

  constructor(members: Members<A, M>, budget: RetryBudget | undefined, discoveryTimeoutMillis: number) {
    this.#members = members
    this.#budget = budget
    this.#discoveryTimeoutMillis = discoveryTimeoutMillis
  }

  /** Runs a call. */
  run<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>
  ): Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable, R> {
    return Effect.suspend(() => {
      const startedAt = this.#members.now()
      this.#members.totals.calls += 1
      this.#budget?.deposit(startedAt)
      const progress: Progress<E> = {
        attempts: [],
        tried: new Set(),
        deadline: startedAt + plan.timeout,
        sent: 0,
        steps: undefined
      }
      return this.#round(use, plan, progress)
    })
  }

  /** Runs one attempt with its hedge, then decides what follows. */
  #round<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>,
    progress: Progress<E>
  ): Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable, R> {
    return Effect.flatMap(
      this.#attempt(use, plan, progress),
      (attempted): Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable, R> => {
        switch (attempted._tag) {
          case "Succeeded":
            return Effect.succeed(attempted.value)
          case "Final":
            return Effect.failCause(attempted.cause)
          case "NoInstance":
            if (progress.attempts.length > 0) return this.#fail("instances", progress)
            this.#members.totals.failures += 1
            return Effect.fail(attempted.error)
          case "Failed":
            if (!attempted.isRetryable) return this.#fail("refused", progress)
            return Effect.andThen(this.#waitForRetry(plan, progress), this.#round(use, plan, progress))
        }
      }
    )
  }

  /** Waits for the backoff, or fails if no other attempt may follow. */
  #waitForRetry<E>(plan: CallPlan<E>, progress: Progress<E>): Effect.Effect<void, CallFailed<E>> {
    return Effect.suspend(() => {
      const now = this.#members.now()
      if (now >= progress.deadline) return this.#fail("timeout", progress)
      if (progress.sent >= plan.attempts) return this.#fail("attempts", progress)
      progress.steps ??= new Steps(plan.backoff)
      return Effect.flatMap(progress.steps.next(undefined), (delay): Effect.Effect<void, CallFailed<E>> => {
        if (Option.isNone(delay)) return this.#fail("attempts", progress)
        if (now + Duration.toMillis(delay.value) >= progress.deadline) return this.#fail("timeout", progress)
        if (!this.#withdraw()) return this.#fail("budget", progress)
        this.#members.totals.retries += 1
        return Effect.sleep(delay.value)
      })
    })
  }

  #fail<E>(reason: CallFailed<E>["reason"], { attempts }: Progress<E>): Effect.Effect<never, CallFailed<E>> {
    this.#members.totals.failures += 1
    return Effect.fail(new CallFailed<E>({ service: this.#members.service, reason, attempts }))
  }

  #withdraw(): boolean {
    if (this.#budget === undefined || this.#budget.withdraw(this.#members.now())) return true
    this.#members.totals.overBudget += 1
    return false
  }

  /** Runs one attempt, with a hedge if it takes long. */
  #attempt<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>,
    progress: Progress<E>
  ): Effect.Effect<Attempted<B, E>, never, R> {
    const first = this.#send(use, plan, progress)
    // The attempt and its hedge both count.
    if (plan.hedge === undefined || progress.sent + 2 > plan.attempts) return first
    const usual = this.#members.latencies.percentile(plan.hedge.after, this.#members.now())
    if (usual === undefined) return first
    const firstFailed = Deferred.makeUnsafe<Attempted<B, E>>()
    const awaitFirst = Deferred.await(firstFailed)
    // If the first attempt fails earlier, there is no hedge: the loop sends the next attempt.
    const late = Effect.as(Effect.sleep(Math.max(usual, plan.hedge.atLeast)), undefined)
    const hedge = Effect.flatMap(
      Effect.raceFirst(late, awaitFirst),
      (failed) => failed === undefined ? this.#sendHedge(use, plan, progress, awaitFirst) : Effect.succeed(failed)
    )
    return firstDecisive(
      Effect.tap(first, (attempted) => isDecisive(attempted) ? Effect.void : Deferred.succeed(firstFailed, attempted)),
      hedge
    )
  }

  /** Sends an attempt once an instance is available. Gives up after the waiting time of the call. */
  #send<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>,
    progress: Progress<E>
  ): Effect.Effect<Attempted<B, E>, never, R> {
    const members = this.#members
    return Effect.uninterruptibleMask((restore) => {
      let since: number | undefined
      const pick: Effect.Effect<Attempted<B, E>, never, R> = Effect.suspend(() => {
        const now = members.now()
        const member = members.pick(plan.key, progress.tried, false, now)
        if (member !== undefined) return this.#sendTo(member, use, plan, progress, now, restore)
        since ??= now
        const patience = members.set === undefined ? Math.max(plan.waitFor, this.#discoveryTimeoutMillis) : plan.waitFor
        const left = Math.min(since + patience, progress.deadline) - now
        if (left <= 0 || members.isClosed) {
          return Effect.succeed({ _tag: "NoInstance", error: this.#noInstance(plan.key, now, now - since) })
        }
        return Effect.andThen(restore(members.awaitChange(left)), pick)
      })
      return pick
    })
  }

  /** Sends a second attempt to an untried instance. If there is none, waits for the first attempt. */
  #sendHedge<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>,
    progress: Progress<E>,
    first: Effect.Effect<Attempted<B, E>>
  ): Effect.Effect<Attempted<B, E>, never, R> {
    return Effect.uninterruptibleMask((restore) => {
      const now = this.#members.now()
      const member = this.#members.pick(plan.key, progress.tried, true, now)
      if (member === undefined || !this.#withdraw()) return restore(first)
      this.#members.totals.hedges += 1
      return this.#sendTo(member, use, plan, progress, now, restore)
    })
  }

  #sendTo<B, E, R>(
    member: Member<A, M>,
    use: Use<A, M, B, E, R>,
    plan: CallPlan<E>,
    progress: Progress<E>,
    now: number,
    restore: Restore
  ): Effect.Effect<Attempted<B, E>, never, R> {
    const members = this.#members
    const { connection, instance } = member
    const end = members.begin(member, now)
    progress.sent += 1
    progress.tried.add(instance.id)

    const used = Effect.flatMap(connection.client, (client) => Effect.exit(use(client, instance)))
    const limit = Math.min(plan.attemptTimeout, progress.deadline - now)
    const bounded: Effect.Effect<Exit.Exit<B, E>, ConnectFailed | TimedOut, R> = limit === Infinity ?
      used :
      Effect.timeoutOrElse(used, {
        duration: Math.ceil(limit),
        orElse: () => Effect.fail(new TimedOut({ what: "attempt", limit: Duration.millis(limit) }))
      })
    return Effect.map(Effect.exit(restore(bounded)), (outer) => {
      // Used if a predicate throws.
      let attemptEnd: AttemptEnd = "defect"
      try {
        const judged = judge(outer, plan)
        attemptEnd = judged.attemptEnd
        if (judged._tag === "Attempted") return judged.attempted
        const duration = Duration.millis(members.now() - now)
        progress.attempts.push({ instance, duration, error: judged.error })
        return { _tag: "Failed", isRetryable: judged.isRetryable }
      } finally {
        end(attemptEnd)
      }
    })
  }

  #noInstance(key: string | undefined, now: number, waitedMillis: number): NoInstanceAvailable {
    const members = this.#members
    const cause = members.discoveryFailure
    return new NoInstanceAvailable({
      service: members.service,
      reason: members.isClosed ?
        "closed" :
        members.set === undefined ?
        "unknown" :
        members.hasAny(key, now) ?
        "out" :
        "none",
      waited: Duration.millis(waitedMillis),
      census: members.census,
      ...(cause === undefined ? {} : { cause })
    })
  }
}

const judge = <B, E>(outer: AttemptExit<B, E>, plan: CallPlan<E>): Judged<B, E> => {
  if (Exit.isFailure(outer)) {
    const error = failOf(outer.cause)?.error
    if (error === undefined) {
      return final(Cause.fromReasons(outer.cause.reasons.filter((reason) => !Cause.isFailReason(reason))))
    }
    return error._tag === "ConnectFailed" ?
      { _tag: "Error", attemptEnd: "connect-failed", error, isRetryable: true } :
      { _tag: "Error", attemptEnd: "failure", error, isRetryable: plan.retryable(error) }
  }
  const inner = outer.value
  if (Exit.isSuccess(inner)) {
    return { _tag: "Attempted", attemptEnd: "success", attempted: { _tag: "Succeeded", value: inner.value } }
  }
  const fail = failOf(inner.cause)
  if (fail === undefined) return final(inner.cause)
  const { error } = fail
  const isRetryable = plan.retryable(error)
  const attemptEnd = plan.isFailure?.(error) ?? isRetryable ? "failure" : "success"
  return isRetryable ?
    { _tag: "Error", attemptEnd, error, isRetryable } :
    { _tag: "Attempted", attemptEnd, attempted: { _tag: "Final", cause: inner.cause } }
}

const final = <B, E>(cause: Cause.Cause<E>): Judged<B, E> => ({
  _tag: "Attempted",
  attemptEnd: Cause.hasDies(cause) ? "defect" : "interrupted",
  attempted: { _tag: "Final", cause }
})

/** The error of a cause that has no defects and no interruptions. */
const failOf = <E>(cause: Cause.Cause<E>): Cause.Fail<E> | undefined =>
  Cause.hasDies(cause) || Cause.hasInterrupts(cause) ? undefined : cause.reasons.find(Cause.isFailReason)

const isDecisive = <B, E>({ _tag }: Attempted<B, E>): boolean => _tag === "Succeeded" || _tag === "Final"

/** Returns the first decisive end of two attempts, or the last end if both failed. Interrupts the other attempt. */
const firstDecisive = <B, E, R, R2>(
  one: Effect.Effect<Attempted<B, E>, never, R>,
  other: Effect.Effect<Attempted<B, E>, never, R2>
): Effect.Effect<Attempted<B, E>, never, R | R2> => {
  const orFail = Effect.flatMap((attempted: Attempted<B, E>) =>
    isDecisive(attempted) ? Effect.succeed(attempted) : Effect.fail(attempted)
  )
  return Effect.catch(Effect.race(orFail(one), orFail(other)), (attempted) => Effect.succeed(attempted))
}

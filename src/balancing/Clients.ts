/**
 * The clients of a service's instances at work: who there is, and how a call finds its way. See `Endpoints.ts` for what
 * is promised.
 *
 * @module
 */
import {
  Cause,
  Clock,
  Context,
  Deferred,
  Duration,
  Effect,
  Equal,
  Exit,
  type Fiber,
  Option,
  Random,
  Result,
  type Scope
} from "effect"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"
import { Steps } from "../internal/time/Steps.ts"
import { isAvailable, type ServiceInstance } from "../registry/model/Instance.ts"
import { diff, type InstanceSet } from "../registry/model/InstanceSet.ts"
import type * as Balancer from "./Balancer.ts"
import { Connection } from "./Connection.ts"
import {
  type Attempt,
  CallFailed,
  ConnectFailed,
  type InvalidEndpoints,
  NoInstanceAvailable,
  TimedOut
} from "./EndpointsError.ts"
import { type CallOptions, type CallPlan, callPlan, type EndpointsPlan } from "./EndpointsOptions.ts"
import type { EndpointsState, EndpointState } from "./EndpointsState.ts"
import { FailureAccrual, type Health, type Outcome } from "./FailureAccrual.ts"
import { Latencies } from "./Latencies.ts"
import * as Metrics from "./metrics.ts"
import { RetryBudget } from "./RetryBudget.ts"

/** The time constant of the moving average, in milliseconds. */
const averageOver = 10_000

/** An instance, its client and its numbers. */
interface Member<A, M> {
  instance: ServiceInstance<M>
  key: unknown
  connection: Connection<A>
  requests: number
  failures: number
  inFlight: number
  ewma: number | undefined
  measured: number
  readonly unmeter: () => void
}

/** What clients are made of. */
export interface ClientsOptions<A, M> {
  readonly service: string
  readonly plan: EndpointsPlan
  readonly balancer: Balancer.Balancer<M>
  readonly context: Context.Context<never>
  readonly attributes: Readonly<Record<string, string>>
  readonly connect: (instance: ServiceInstance<M>, scope: Scope.Scope) => Effect.Effect<A, unknown>
  readonly connectKey: (instance: ServiceInstance<M>) => unknown
  readonly isEager: boolean
  readonly run: (effect: Effect.Effect<void>) => void
  readonly fork: <B, E>(effect: Effect.Effect<B, E>) => Fiber.Fiber<B, E>
}

/** A call in progress. */
interface Call {
  readonly attempts: Array<Attempt<unknown>>
  readonly tried: Set<string>
  /** Milliseconds, monotonic. */
  readonly deadline: number
  sent: number
  /** There was no instance for the next attempt. */
  absence: NoInstanceAvailable | undefined
  /** What the last attempt ended with may not be tried again. */
  isRefused: boolean
}

/** What is left of an attempt that another one may mend. */
const again = "again"

type Use<A, M, B, E, R> = (client: A, instance: ServiceInstance<M>) => Effect.Effect<B, E, R>

/** The clients of one service. */
export class Clients<A, M> {
  readonly service: string
  readonly #options: ClientsOptions<A, M>
  readonly #now: () => number
  readonly #random: () => number
  readonly #members = new Map<string, Member<A, M>>()
  /** Instances that wait for their next `connect`. */
  readonly #blocked = new Set<string>()
  /** Connections of instances that have left. */
  readonly #retiring = new Set<Deferred.Deferred<void>>()
  readonly #budget: RetryBudget | undefined
  readonly #accrual: FailureAccrual | undefined
  readonly #latencies = new Latencies()
  readonly #totals: Metrics.Totals = Metrics.zero()
  readonly #unmeter: () => void
  #metered = 0
  #available = 0
  #set: InstanceSet<M> | undefined
  #refused: DiscoveryError | undefined
  #isClosed = false
  /** Completed, and replaced, when an instance may have become available. */
  #change = Deferred.makeUnsafe<void>()

  constructor(options: ClientsOptions<A, M>) {
    const { attributes, context, plan, service } = options
    this.service = service
    this.#options = options
    const clock = Context.get(context, Clock.Clock)
    this.#now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const random = Context.get(context, Random.Random)
    this.#random = () => random.nextDoubleUnsafe()
    this.#budget = plan.budget && new RetryBudget(plan.budget)
    this.#accrual = plan.accrual && new FailureAccrual(plan.accrual)
    this.#unmeter = Metrics.ofService(context, { ...attributes, service }, this.#totals)
  }

  // --- the instances -------------------------------------------------------------------------------------------------

  /** Takes the newest set. */
  update(set: InstanceSet<M>): void {
    if (this.#isClosed) return
    const now = this.#now()
    const before = this.#set
    this.#set = set
    this.#refused = undefined
    this.#options.balancer.update(set, now)
    for (const change of diff(before, set)) {
      const { instance } = change
      const wasAvailable = change._tag === "Updated" ?
        isAvailable(change.previous) :
        change._tag === "Removed" && isAvailable(instance)
      const isNowAvailable = change._tag !== "Removed" && isAvailable(instance)
      this.#available += Number(isNowAvailable) - Number(wasAvailable)
      if (change._tag === "Removed") {
        this.#drop(instance.id)
        this.#accrual?.forget(instance.id)
      } else if (change._tag === "Updated") this.#replace(instance)
      if (isNowAvailable && this.#options.isEager) this.#warm(instance)
    }
    this.#accrual?.resize(this.#available, now)
    this.#changed()
  }

  /** Discovery is refused; the last set stays. */
  refused(error: DiscoveryError): void {
    this.#refused = error
  }

  /** Closes all clients, after the calls in flight. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#isClosed = true
    this.#unmeter()
    for (const id of Array.from(this.#members.keys())) this.#drop(id)
    this.#changed()
    return Effect.forEach(Array.from(this.#retiring), Deferred.await, { concurrency: "unbounded", discard: true })
  })

  #drop(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    this.#members.delete(id)
    this.#blocked.delete(id)
    member.unmeter()
    this.#retire(member.connection)
  }

  /** The instance has changed: it keeps its numbers, and its client unless that depends on what changed. */
  #replace(instance: ServiceInstance<M>): void {
    const member = this.#members.get(instance.id)
    if (member === undefined) return
    member.instance = instance
    const key = this.#options.connectKey(instance)
    if (Equal.equals(key, member.key)) return
    member.key = key
    this.#retire(member.connection)
    member.connection = this.#connection(instance)
    // Whatever was known, another process serves there now.
    this.#blocked.delete(instance.id)
    this.#accrual?.forget(instance.id)
  }

  #retire(connection: Connection<A>): void {
    const retired = Deferred.makeUnsafe<void>()
    this.#retiring.add(retired)
    this.#options.run(Effect.ensuring(
      connection.retire,
      Effect.sync(() => {
        this.#retiring.delete(retired)
        Deferred.doneUnsafe(retired, Effect.void)
      })
    ))
  }

  /** What there is of an instance here, from its first use on. */
  #member(instance: ServiceInstance<M>): Member<A, M> {
    const known = this.#members.get(instance.id)
    if (known !== undefined) return known
    const { attributes, connectKey, context, plan } = this.#options
    const isMetered = this.#metered < plan.instanceMetrics
    if (isMetered) this.#metered += 1
    const remove = isMetered ?
      Metrics.ofInstance(context, { ...attributes, service: this.service, instance: instance.id }, () => ({
        requests: member.requests,
        failures: member.failures,
        inFlight: member.inFlight,
        ewma: member.ewma ?? 0,
        ejected: this.#accrual?.out.has(instance.id) === true
      })) :
      undefined
    const member: Member<A, M> = {
      instance,
      key: connectKey(instance),
      connection: this.#connection(instance),
      requests: 0,
      failures: 0,
      inFlight: 0,
      ewma: undefined,
      measured: 0,
      unmeter: () => {
        if (remove === undefined) return
        remove()
        this.#metered -= 1
      }
    }
    this.#members.set(instance.id, member)
    return member
  }

  #connection(instance: ServiceInstance<M>): Connection<A> {
    const { connect, fork, isEager, plan, run } = this.#options
    const connection: Connection<A> = new Connection<A>({
      service: this.service,
      id: instance.id,
      connect: (scope) => connect(instance, scope),
      connectTimeout: plan.connectTimeout,
      closeTimeout: plan.closeTimeout,
      backoff: () => new Steps(plan.connectBackoff),
      now: this.#now,
      run,
      fork,
      onFailure: (error, until) => {
        this.#totals.connectFailures += 1
        run(Effect.logWarning(error.message))
        if (this.#members.get(instance.id)?.connection !== connection) return
        this.#blocked.add(instance.id)
        if (!isEager || until === Infinity) return
        run(Effect.andThen(
          Effect.sleep(Math.ceil(until - this.#now())),
          Effect.sync(() => {
            if (connection.status === "failed") connection.open()
          })
        ))
      }
    })
    return connection
  }

  #warm(instance: ServiceInstance<M>): void {
    const { connection } = this.#member(instance)
    if (connection.status === "idle") connection.open()
  }

  #changed(): void {
    const change = this.#change
    this.#change = Deferred.makeUnsafe()
    Deferred.doneUnsafe(change, Effect.void)
  }

  /** Waits for a change, the next probe, or the end of a backoff, but no longer than so many milliseconds. */
  #changeWithin(limit: number): Effect.Effect<void> {
    const now = this.#now()
    let until = Math.min(now + limit, this.#accrual?.nextProbe ?? Infinity)
    for (const id of this.#blocked) {
      const blockedUntil = this.#members.get(id)?.connection.blockedUntil ?? 0
      if (blockedUntil > now) until = Math.min(until, blockedUntil)
    }
    const change = Deferred.await(this.#change)
    return until === Infinity ? change : Effect.raceFirst(change, Effect.sleep(Math.max(0, Math.ceil(until - now))))
  }

  // --- a call --------------------------------------------------------------------------------------------------------

  readonly call = <B, E, R>(
    use: Use<A, M, B, E, R>,
    options?: CallOptions<E>
  ): Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable | InvalidEndpoints, R> => {
    const plan = options === undefined ?
      Result.succeed(this.#options.plan.call) :
      callPlan(this.service, options, this.#options.plan.call)
    return Result.isFailure(plan) ? Effect.fail(plan.failure) : this.#call(use, plan.success)
  }

  readonly #call = Effect.fnUntraced(function* <B, E, R>(
    this: Clients<A, M>,
    use: Use<A, M, B, E, R>,
    plan: CallPlan
  ): Effect.fn.Return<B, E | CallFailed<E> | NoInstanceAvailable, R> {
    const begun = this.#now()
    const call: Call = {
      attempts: [],
      tried: new Set(),
      deadline: begun + plan.timeout,
      sent: 0,
      absence: undefined,
      isRefused: false
    }
    const fail = (reason: CallFailed<E>["reason"]) => {
      this.#totals.failures += 1
      return Effect.fail(new CallFailed<E>({ service: this.service, reason, attempts: call.attempts }))
    }
    this.#totals.calls += 1
    this.#budget?.deposit(begun)
    let steps: Steps<unknown> | undefined
    while (true) {
      const ended = yield* Effect.catch(this.#round(use, plan, call), () => Effect.succeed(undefined))
      if (ended !== undefined) return yield* ended
      if (call.absence !== undefined) {
        if (call.attempts.length > 0) return yield* fail("instances")
        this.#totals.failures += 1
        return yield* Effect.fail(call.absence)
      }
      const now = this.#now()
      if (call.isRefused) return yield* fail("refused")
      if (now >= call.deadline) return yield* fail("timeout")
      if (call.sent >= plan.attempts) return yield* fail("attempts")
      steps ??= new Steps(plan.backoff)
      const delay = yield* steps.next(undefined)
      if (Option.isNone(delay)) return yield* fail("attempts")
      if (now + Duration.toMillis(delay.value) >= call.deadline) return yield* fail("timeout")
      if (!this.#withdraw()) return yield* fail("budget")
      this.#totals.retries += 1
      yield* Effect.sleep(delay.value)
    }
  })

  #withdraw(): boolean {
    if (this.#budget === undefined || this.#budget.withdraw(this.#now())) return true
    this.#totals.overBudget += 1
    return false
  }

  /** One attempt, and one beside it when it takes long: what the first of them that ends for good ended with. */
  #round<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan,
    call: Call
  ): Effect.Effect<Exit.Exit<B, E>, typeof again, R> {
    const first = this.#send(use, plan, call, "first")
    // The attempt, its hedge: both count.
    if (plan.hedge === undefined || call.sent + 2 > plan.attempts) return first
    const usual = this.#latencies.percentile(plan.hedge.after, this.#now())
    if (usual === undefined) return first
    const failed = Deferred.makeUnsafe<void>()
    const hedge = Effect.raceFirst(
      Effect.as(Effect.sleep(Math.max(usual, plan.hedge.atLeast)), true),
      Effect.as(Deferred.await(failed), false)
    ).pipe(
      Effect.flatMap((isLate) => isLate ? this.#send(use, plan, call, "hedge") : Effect.fail<typeof again>(again))
    )
    return Effect.race(Effect.tapError(first, () => Deferred.succeed(failed, undefined)), hedge)
  }

  /** Chooses an instance and sends one attempt there. */
  #send<B, E, R>(
    use: Use<A, M, B, E, R>,
    plan: CallPlan,
    call: Call,
    kind: "first" | "hedge"
  ): Effect.Effect<Exit.Exit<B, E>, typeof again, R> {
    return Effect.uninterruptibleMask((restore) => {
      let since: number | undefined
      const choose: Effect.Effect<Exit.Exit<B, E>, typeof again, R> = Effect.suspend(() => {
        const now = this.#now()
        const isKnown = this.#set !== undefined
        const instance = this.#pick(plan, call, now, kind)
        if (kind === "hedge") {
          if (instance === undefined || !this.#withdraw()) return Effect.fail(again)
          this.#totals.hedges += 1
        }
        if (instance !== undefined) return this.#attempt(this.#member(instance), use, plan, call, now, restore)
        since ??= now
        const patience = isKnown ? plan.waitFor : Math.max(plan.waitFor, this.#options.plan.firstSetTimeout)
        const left = Math.min(since + patience, call.deadline) - now
        if (left <= 0 || this.#isClosed) {
          call.absence = this.#absence(plan, now, now - since)
          return Effect.fail(again)
        }
        return Effect.andThen(restore(this.#changeWithin(left)), choose)
      })
      return choose
    })
  }

  /** One that was not tried yet; else, not for hedges, one that was. */
  #pick(plan: CallPlan, { tried }: Call, now: number, kind: "first" | "hedge"): ServiceInstance<M> | undefined {
    if (this.#isClosed) return undefined
    const isAnyOut = this.#blocked.size > 0 || (this.#accrual?.out.size ?? 0) > 0
    const isOut = (id: string) => this.#isOut(id, now)
    const choose = (exclude: ((id: string) => boolean) | undefined) =>
      this.#options.balancer.pick({
        now,
        random: this.#random,
        ...(plan.key === undefined ? {} : { key: plan.key }),
        ...(exclude === undefined ? {} : { exclude })
      })
    if (tried.size === 0) return choose(isAnyOut ? isOut : undefined)
    const another = choose((id) => tried.has(id) || isAnyOut && isOut(id))
    return another ?? (kind === "hedge" ? undefined : choose(isAnyOut ? isOut : undefined))
  }

  #isOut(id: string, now: number): boolean {
    if (this.#accrual?.admits(id, now) === false) return true
    if (!this.#blocked.has(id)) return false
    const isBlocked = (this.#members.get(id)?.connection.blockedUntil ?? 0) > now
    if (!isBlocked) this.#blocked.delete(id)
    return isBlocked
  }

  #absence(plan: CallPlan, now: number, waited: number): NoInstanceAvailable {
    const isAnyoneThere = () =>
      this.#options.balancer.pick({ now, random: this.#random, ...(plan.key === undefined ? {} : { key: plan.key }) })
    const reason = this.#isClosed ?
      "closed" :
      this.#set === undefined ?
      "unknown" :
      isAnyoneThere() === undefined ?
      "none" :
      "out"
    return new NoInstanceAvailable({
      service: this.service,
      reason,
      waited: Duration.millis(waited),
      ...(this.#refused === undefined ? {} : { cause: this.#refused })
    })
  }

  #attempt<B, E, R>(
    member: Member<A, M>,
    use: Use<A, M, B, E, R>,
    plan: CallPlan,
    call: Call,
    begun: number,
    restore: <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>
  ): Effect.Effect<Exit.Exit<B, E>, typeof again, R> {
    const { connection, instance } = member
    const isProbe = this.#accrual?.begin(instance.id) ?? false
    const report = this.#options.balancer.begin(instance.id, begun)
    connection.begin()
    member.requests += 1
    member.inFlight += 1
    this.#totals.attempts += 1
    call.sent += 1
    call.tried.add(instance.id)

    let isConnected = false
    const used = Effect.flatMap(connection.client, (client) => {
      isConnected = true
      return use(client, instance)
    })
    const limit = Math.min(plan.attemptTimeout, call.deadline - begun)
    const timedOut = limit === Infinity ? undefined : new TimedOut({ what: "attempt", limit: Duration.millis(limit) })
    const bounded: Effect.Effect<B, E | ConnectFailed | TimedOut, R> = timedOut === undefined ?
      used :
      Effect.timeoutOrElse(used, { duration: Math.ceil(limit), orElse: () => Effect.fail(timedOut) })

    const end = (outcome: Outcome, isFailed: boolean) => {
      const now = this.#now()
      connection.end()
      member.inFlight -= 1
      if (isFailed) member.failures += 1
      report({ now, ok: outcome === "success" })
      if (outcome === "success") this.#measured(member, now - begun, now)
      if (this.#accrual === undefined) return
      // Another process may have taken the place of the one that was called.
      if (this.#members.get(instance.id) !== member || member.connection !== connection) return
      if (this.#accrual.end(instance.id, isProbe, outcome, now)) this.#ejected(instance.id)
      if (isProbe) this.#changed()
    }
    const failed = (error: E | ConnectFailed | TimedOut, isRefused: boolean) => {
      call.attempts.push({ instance, duration: Duration.millis(this.#now() - begun), error })
      call.isRefused = isRefused
      return Effect.fail<typeof again>(again)
    }
    const ended = (
      exit: Exit.Exit<B, E | ConnectFailed | TimedOut>
    ): Effect.Effect<Exit.Exit<B, E>, typeof again> => {
      if (Exit.isSuccess(exit)) {
        end("success", false)
        return Effect.succeed(Exit.succeed(exit.value))
      }
      const isDead = Cause.hasDies(exit.cause)
      const error = isDead || Cause.hasInterrupts(exit.cause) ? Option.none() : Cause.findErrorOption(exit.cause)
      if (Option.isNone(error)) {
        end(undefined, isDead)
        return Effect.succeed(exit as Exit.Exit<B, E>)
      }
      if (!isConnected && error.value instanceof ConnectFailed) {
        end(isProbe ? "failure" : undefined, true)
        return failed(error.value, false)
      }
      const isLate = error.value === timedOut
      let isRetryable = false
      let outcome: Outcome
      // Should a predicate throw, the attempt has ended all the same.
      try {
        isRetryable = (plan.retryable as (error: unknown) => boolean)(error.value)
        const isFailure = isLate ||
          ((plan.isFailure as ((error: unknown) => boolean) | undefined)?.(error.value) ?? isRetryable)
        outcome = isFailure ? "failure" : "success"
      } finally {
        end(outcome, outcome !== "success")
      }
      if (isRetryable || isLate) return failed(error.value, !isRetryable)
      // Neither `ConnectFailed` nor `TimedOut` of this attempt: an error of `use`.
      return Effect.succeed(exit as Exit.Exit<B, E>)
    }
    return Effect.flatMap(Effect.exit(restore(bounded)), ended)
  }

  #measured(member: Member<A, M>, latency: number, now: number): void {
    this.#latencies.add(latency, now)
    const kept = member.ewma === undefined ? 0 : Math.exp(-(now - member.measured) / averageOver)
    member.ewma = kept * (member.ewma ?? 0) + (1 - kept) * latency
    member.measured = now
  }

  #ejected(id: string): void {
    this.#totals.ejections += 1
    const health = this.#accrual?.health(id)
    const wait = health?._tag === "Ejected" ?
      Duration.format(Duration.millis(Math.round(health.until - this.#now()))) :
      ""
    this.#options.run(Effect.logWarning(`calls to ${id} of ${JSON.stringify(this.service)} fail: ejected for ${wait}`))
  }

  // --- what is to be seen --------------------------------------------------------------------------------------------

  readonly state: Effect.Effect<EndpointsState<M>> = Effect.sync(() => {
    const now = this.#now()
    return {
      service: this.service,
      strategy: this.#options.balancer.name,
      revision: Option.fromUndefinedOr(this.#set?.revision),
      freshness: Option.fromUndefinedOr(this.#set?.freshness),
      refused: Option.fromUndefinedOr(this.#refused),
      budget: this.#budget?.available(now) ?? Infinity,
      ...this.#totals,
      instances: (this.#set?.instances ?? []).map((instance) => this.#stateOf(instance, now))
    }
  })

  #stateOf(instance: ServiceInstance<M>, now: number): EndpointState<M> {
    const member = this.#members.get(instance.id)
    const health: Health = this.#accrual?.health(instance.id) ?? { _tag: "Healthy" }
    const blocked = (member?.connection.blockedUntil ?? 0) - now
    const ejected = health._tag === "Ejected" ? health.until - now : 0
    return {
      instance,
      client: member?.connection.status ?? "idle",
      requests: member?.requests ?? 0,
      failures: member?.failures ?? 0,
      inFlight: member?.inFlight ?? 0,
      ewma: Option.fromUndefinedOr(member?.ewma),
      health: health._tag === "Ejected" ?
        "ejected" :
        health._tag === "Probing" ?
        "probing" :
        blocked > 0 ?
        "out" :
        "healthy",
      outFor: Math.max(0, blocked, ejected),
      ejections: health._tag === "Healthy" ? 0 : health.times
    }
  }
}

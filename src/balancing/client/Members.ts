/**
 * The instances of a service, with their clients and statistics.
 *
 * @module
 */
import { Clock, Context, Deferred, Effect, Equal, type Fiber, Random, type Scope } from "effect"
import { Steps } from "../../internal/time/Steps.ts"
import { isAvailable, type ServiceInstance } from "../../registry/model/Instance.ts"
import { diff, type InstanceSet } from "../../registry/model/InstanceSet.ts"
import { type Balancer, logFailed, type PickRequest } from "../Balancer.ts"
import * as Census from "./Census.ts"
import { Connection } from "./Connection.ts"
import { FailureAccrual, type Outcome } from "./FailureAccrual.ts"
import { Latencies } from "./Latencies.ts"
import * as Metrics from "./metrics.ts"
import type { Plan } from "./options.ts"
import { logError, logWarning } from "../../internal/log.ts"

/** The time constant of the moving average of latencies. */
const ewmaMillis = 10_000

/** A used instance, its client and its statistics. */
export interface Member<A, M> {
  instance: ServiceInstance<M>
  connectKey: unknown
  connection: Connection<A>
  requests: number
  failures: number
  inFlight: number
  ewma: number | undefined
  measuredAt: number
  readonly removeMetrics: () => void
}

/**
 * The end of an attempt. Defects and interruptions do not concern the instance. A failed `connect` has its own backoff.
 */
export type AttemptEnd = "success" | "failure" | "connect-failed" | "defect" | "interrupted"

/** Returns what failure accrual counts. A probe that cannot connect has failed. */
const outcomeOf = (end: AttemptEnd, isProbe: boolean): Outcome => {
  if (end === "success" || end === "failure") return end
  return end === "connect-failed" && isProbe ? "failure" : undefined
}

/** The dependencies of {@link Members}. */
export interface MembersOptions<A, M> {
  readonly service: string
  readonly plan: Plan
  readonly balancer: Balancer<M>
  readonly context: Context.Context<never>
  readonly attributes: Readonly<Record<string, string>>
  readonly connect: (instance: ServiceInstance<M>, scope: Scope.Scope) => Effect.Effect<A, unknown>
  readonly connectKey: (instance: ServiceInstance<M>) => unknown
  /** Runs an effect until the service client is closed. */
  readonly run: (effect: Effect.Effect<void>) => void
  /** Runs an effect that may outlive the service client. */
  readonly fork: <B, E>(effect: Effect.Effect<B, E>) => Fiber.Fiber<B, E>
}

/** The instances of one service. */
export class Members<A, M> {
  readonly service: string
  readonly totals: Metrics.Totals = Metrics.zero()
  readonly latencies = new Latencies()
  readonly #durations = new Metrics.Durations()
  readonly #options: MembersOptions<A, M>
  readonly #clock: Clock.Clock
  readonly #random: () => number
  readonly #members = new Map<string, Member<A, M>>()
  /** The ids of instances that wait for their next `connect`. */
  readonly #blocked = new Set<string>()
  /** Connections of instances that have left. */
  readonly #retiring = new Set<Deferred.Deferred<void>>()
  readonly #accrual: FailureAccrual | undefined
  readonly #removeMetrics: () => void
  #metered = 0
  #available = 0
  #set: InstanceSet<M> | undefined
  #census: Census.Census | undefined
  #discoveryFailure: Error | undefined
  #isClosed = false
  /** Completed and replaced when an instance may have become available. */
  #change = Deferred.makeUnsafe<void>()

  constructor(options: MembersOptions<A, M>) {
    const { attributes, context, plan, service } = options
    this.service = service
    this.#options = options
    this.#clock = Context.get(context, Clock.Clock)
    const random = Context.get(context, Random.Random)
    this.#random = () => random.nextDoubleUnsafe()
    this.#accrual = plan.accrual && new FailureAccrual(plan.accrual)
    this.#removeMetrics = Metrics.ofService(context, { ...attributes, service }, this.totals, this.#durations)
  }

  /** Milliseconds on a monotonic clock. */
  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get set(): InstanceSet<M> | undefined {
    return this.#set
  }

  /** Why discovery currently fails. */
  get discoveryFailure(): Error | undefined {
    return this.#discoveryFailure
  }

  get accrual(): FailureAccrual | undefined {
    return this.#accrual
  }

  get strategy(): string {
    return this.#options.balancer.name
  }

  /** The instances, grouped by the reason why they take no traffic. */
  get census(): Census.Census {
    if (this.#set === undefined) return Census.empty
    return this.#census ??= Census.censusOf(this.#set, this.#options.balancer.failed)
  }

  /** The member of an instance, if the instance was used. */
  get(id: string): Member<A, M> | undefined {
    return this.#members.get(id)
  }

  /** Replaces the set. */
  update(set: InstanceSet<M>): void {
    if (this.#isClosed) return
    const now = this.now()
    const { balancer, plan } = this.#options
    const changes = diff(this.#set, set)
    this.#set = set
    this.#census = undefined
    this.#discoveryFailure = undefined
    const failedBefore = balancer.failed
    balancer.update(set, now)
    this.#options.run(logFailed(balancer, failedBefore))
    for (const change of changes) {
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
      if (isNowAvailable && plan.isEager) this.#connectEagerly(instance)
    }
    this.#accrual?.resize(this.#available, now)
    this.#signalChange()
  }

  /** Records that discovery failed. The last set stays. */
  discoveryFailed(failure: Error): void {
    this.#discoveryFailure = failure
  }

  /** Closes all clients after the calls in flight. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#isClosed = true
    this.#removeMetrics()
    for (const id of Array.from(this.#members.keys())) this.#drop(id)
    this.#signalChange()
    return Effect.forEach(Array.from(this.#retiring), Deferred.await, { concurrency: "unbounded", discard: true })
  })

  /** Picks an untried instance that is not out. If there is none, picks a tried one, unless `isFreshOnly`. */
  pick(
    key: string | undefined,
    tried: ReadonlySet<string>,
    isFreshOnly: boolean,
    now: number
  ): Member<A, M> | undefined {
    if (this.#isClosed) return undefined
    const isAnyOut = this.#blocked.size > 0 || (this.#accrual !== undefined && this.#accrual.out.size > 0)
    const isOut = isAnyOut ? (id: string) => this.#isOut(id, now) : undefined
    if (tried.size === 0) return this.#choose(key, isOut, now)
    const fresh = this.#choose(key, (id) => tried.has(id) || isOut?.(id) === true, now)
    return fresh ?? (isFreshOnly ? undefined : this.#choose(key, isOut, now))
  }

  /** Returns whether the strategy picks an instance if none is excluded. */
  hasAny(key: string | undefined, now: number): boolean {
    return this.#choose(key, undefined, now) !== undefined
  }

  /** Records the start of an attempt. The returned function records its end. */
  begin(member: Member<A, M>, now: number): (end: AttemptEnd) => void {
    const { connection, instance: { id } } = member
    const report = this.#options.balancer.begin(id, now)
    const isProbe = this.#accrual?.begin(id) ?? false
    connection.begin()
    member.requests += 1
    member.inFlight += 1
    this.totals.attempts += 1
    return (end) => {
      const endedAt = this.now()
      connection.end()
      member.inFlight -= 1
      if (end === "success") this.#measure(member, endedAt - now, endedAt)
      else if (end !== "interrupted") member.failures += 1
      if (end !== "interrupted") this.#durations.add(endedAt - now)
      // If a new process has taken the place of the instance meanwhile, this end does not concern it.
      if (this.#accrual !== undefined && this.#members.get(id) === member && member.connection === connection) {
        if (this.#accrual.end(id, isProbe, outcomeOf(end, isProbe), endedAt)) this.#ejected(id)
        if (isProbe) this.#signalChange()
      }
      // Last, because a user's strategy may throw.
      report({ now: endedAt, ok: end === "success" })
    }
  }

  /** Waits for a change, the next probe or the end of a backoff, at most `limitMillis`. */
  awaitChange(limitMillis: number): Effect.Effect<void> {
    const now = this.now()
    let until = Math.min(now + limitMillis, this.#accrual?.nextProbe ?? Infinity)
    for (const id of this.#blocked) {
      const blockedUntil = this.#members.get(id)?.connection.blockedUntil ?? 0
      if (blockedUntil > now) until = Math.min(until, blockedUntil)
    }
    const change = Deferred.await(this.#change)
    return until === Infinity ? change : Effect.raceFirst(change, Effect.sleep(Math.max(0, Math.ceil(until - now))))
  }

  #choose(
    key: string | undefined,
    exclude: ((id: string) => boolean) | undefined,
    now: number
  ): Member<A, M> | undefined {
    /** Ids that a user's strategy picked although they have left. */
    let gone: Set<string> | undefined
    for (;;) {
      const request: PickRequest = {
        now,
        random: this.#random,
        ...(key === undefined ? undefined : { key }),
        ...(exclude === undefined ? undefined : { exclude })
      }
      const id = this.#options.balancer.pick(request)?.id
      if (id === undefined) return undefined
      const member = this.#members.get(id) ?? this.#member(id)
      if (member !== undefined || gone?.has(id) === true) return member
      const [left, others] = [gone ??= new Set(), exclude]
      left.add(id)
      exclude = (id) => left.has(id) || others?.(id) === true
    }
  }

  #isOut(id: string, now: number): boolean {
    if (this.#accrual?.admits(id, now) === false) return true
    if (!this.#blocked.has(id)) return false
    const isBlocked = (this.#members.get(id)?.connection.blockedUntil ?? 0) > now
    if (!isBlocked) this.#blocked.delete(id)
    return isBlocked
  }

  #measure(member: Member<A, M>, latency: number, now: number): void {
    this.latencies.add(latency, now)
    const kept = member.ewma === undefined ? 0 : Math.exp(-(now - member.measuredAt) / ewmaMillis)
    member.ewma = kept * (member.ewma ?? 0) + (1 - kept) * latency
    member.measuredAt = now
  }

  #ejected(id: string): void {
    this.totals.ejections += 1
    const health = this.#accrual?.health(id)
    const seconds = health?._tag === "Ejected" ? Math.round((health.until - this.now()) / 100) / 10 : 0
    this.#log(logWarning(`calls to ${id} of ${JSON.stringify(this.service)} fail; ejected for ${seconds} s`))
  }

  /** Runs a log effect. A logger that throws must not end the caller. */
  #log(log: Effect.Effect<void>): void {
    this.#options.run(Effect.ignoreCause(log))
  }

  #drop(id: string): void {
    const member = this.#members.get(id)
    if (member === undefined) return
    this.#members.delete(id)
    this.#blocked.delete(id)
    member.removeMetrics()
    this.#retire(member.connection)
  }

  /** Replaces an instance. It keeps its statistics, and its client unless `connectKey` changed. */
  #replace(instance: ServiceInstance<M>): void {
    const member = this.#members.get(instance.id)
    if (member === undefined) return
    member.instance = instance
    const connectKey = this.#connectKeyOf(instance)
    if (Equal.equals(connectKey, member.connectKey)) return
    member.connectKey = connectKey
    this.#retire(member.connection)
    member.connection = this.#connection(instance)
    // Another process serves there now.
    this.#blocked.delete(instance.id)
    this.#accrual?.forget(instance.id)
  }

  /** Returns the user's `connectKey`. If it throws, returns a key that equals no other. */
  #connectKeyOf(instance: ServiceInstance<M>): unknown {
    try {
      return this.#options.connectKey(instance)
    } catch (cause) {
      this.#log(logError(`connectKey threw on ${instance.id} of ${JSON.stringify(this.service)}`, cause))
      return Symbol(instance.id)
    }
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

  /** Adds the member of an instance. Returns `undefined` if the instance is not in the set. */
  #member(id: string): Member<A, M> | undefined {
    const found = this.#set?.get(id)
    if (found === undefined || found._tag === "None") return undefined
    const instance = found.value
    const { attributes, context, plan } = this.#options
    const isMetered = this.#metered < plan.instanceMetrics
    if (isMetered) this.#metered += 1
    const remove = isMetered ?
      Metrics.ofInstance(context, { ...attributes, service: this.service, instance: id }, () => ({
        requests: member.requests,
        failures: member.failures,
        inFlight: member.inFlight,
        ewma: member.ewma ?? 0,
        ejected: this.#accrual?.out.has(id) === true
      })) :
      undefined
    const member: Member<A, M> = {
      instance,
      connectKey: this.#connectKeyOf(instance),
      connection: this.#connection(instance),
      requests: 0,
      failures: 0,
      inFlight: 0,
      ewma: undefined,
      measuredAt: 0,
      removeMetrics: () => {
        if (remove === undefined) return
        remove()
        this.#metered -= 1
      }
    }
    this.#members.set(id, member)
    return member
  }

  #connection(instance: ServiceInstance<M>): Connection<A> {
    const { connect, fork, plan, run } = this.#options
    const connection: Connection<A> = new Connection<A>({
      service: this.service,
      id: instance.id,
      connect: (scope) => connect(instance, scope),
      connectTimeout: plan.connectTimeout,
      closeTimeout: plan.closeTimeout,
      backoff: () => new Steps(plan.connectBackoff),
      now: () => this.now(),
      run,
      fork,
      onFailure: (error, until) => {
        this.totals.connectFailures += 1
        this.#log(logWarning(error.message))
        if (this.#members.get(instance.id)?.connection !== connection) return
        this.#blocked.add(instance.id)
        if (!plan.isEager || until === Infinity) return
        run(Effect.andThen(
          Effect.sleep(Math.ceil(until - this.now())),
          Effect.sync(() => {
            if (connection.status === "failed") connection.open()
          })
        ))
      }
    })
    return connection
  }

  #connectEagerly({ id }: ServiceInstance<M>): void {
    const connection = (this.#members.get(id) ?? this.#member(id))?.connection
    if (connection?.status === "idle") connection.open()
  }

  #signalChange(): void {
    const change = this.#change
    this.#change = Deferred.makeUnsafe()
    Deferred.doneUnsafe(change, Effect.void)
  }
}

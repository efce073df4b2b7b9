/**
 * Calls that find their way: the clients of a service's instances, and calls that go to one of them.
 *
 * {@link make} follows a service by discovery and keeps one client for each instance that is used. {@link Endpoints.call}
 * lets the strategy choose an instance, runs an effect with its client, and, when that fails, tries another instance:
 * within a number of attempts, a time, and a budget that keeps retries from multiplying the load on a service in
 * trouble.
 *
 * An instance is _out_, so that no call goes there, while it is ejected (its calls fail, see `FailureAccrual`), while
 * its one probe is under way, and while it waits for its next `connect` after one that failed. That touches no other.
 *
 * | what an attempt ends with              | the instance        | the call                                |
 * | -------------------------------------- | ------------------- | --------------------------------------- |
 * | a value                                | success             | succeeds with it                        |
 * | an error, `retryable`                  | failure             | another attempt, or `CallFailed`        |
 * | an error, not `retryable`              | as `isFailure` says | fails with that error, as it is         |
 * | `attemptTimeout`, or `timeout`         | failure             | another attempt, or `CallFailed`        |
 * | `connect` failed                       | out for its backoff | another attempt, or `CallFailed`        |
 * | a defect                               | nothing             | dies with it; never tried again         |
 * | interruption, another attempt was first | nothing            | is interrupted, or has succeeded        |
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
  FiberSet,
  Option,
  Random,
  Result,
  Scope,
  Stream
} from "effect"
import { checkName, type DiscoveryError, type InvalidName } from "../Discovery.ts"
import * as Steps from "../internal/steps.ts"
import { isAvailable, type ServiceInstance } from "../model/Instance.ts"
import { diff, type Freshness, type InstanceSet } from "../model/InstanceSet.ts"
import { Service } from "../model/Service.ts"
import * as Backoff from "../policy/Backoff.ts"
import { Registry } from "../Registry.ts"
import * as Balancer from "./Balancer.ts"
import { Connection, type ConnectionStatus } from "./Connection.ts"
import {
  type Attempt,
  CallFailed,
  ConnectFailed,
  type InvalidEndpoints,
  NoInstanceAvailable,
  TimedOut
} from "./EndpointsError.ts"
import {
  type CallOptions,
  type CallPlan,
  callPlan,
  type EndpointsOptions,
  type EndpointsPlan,
  endpointsPlan
} from "./EndpointsOptions.ts"
import { FailureAccrual, type Health, type Outcome } from "./FailureAccrual.ts"
import { Latencies } from "./Latencies.ts"
import * as Metrics from "./metrics.ts"
import { RetryBudget } from "./RetryBudget.ts"
import type { InvalidStrategy } from "./Strategy.ts"

export {
  type Attempt,
  CallFailed,
  ConnectFailed,
  InvalidEndpoints,
  NoInstanceAvailable,
  TimedOut
} from "./EndpointsError.ts"
export type { CallOptions, EndpointsOptions, FailureAccrualOptions, HedgeOptions } from "./EndpointsOptions.ts"
export type { ConnectionStatus } from "./Connection.ts"
export type { RetryBudgetOptions } from "./RetryBudget.ts"

/** How one instance is doing, as seen from here. */
export interface EndpointState<M = unknown> {
  readonly instance: ServiceInstance<M>
  readonly client: ConnectionStatus
  /** Attempts that were sent to it. */
  readonly requests: number
  /** Those of them that failed. */
  readonly failures: number
  readonly inFlight: number
  /** Its latency in milliseconds, averaged with a time constant of ten seconds; none before the first answer. */
  readonly ewma: Option.Option<number>
  /** `"out"` while its `connect` backs off. */
  readonly health: "healthy" | "ejected" | "probing" | "out"
  /** For how many milliseconds from now it gets no call; 0 when it may. */
  readonly outFor: number
  /** How often it was ejected in a row. */
  readonly ejections: number
}

/** How a service is doing, as seen from here. */
export interface EndpointsState<M = unknown> extends Readonly<Metrics.Totals> {
  readonly service: string
  readonly strategy: string
  /** None before the first set. */
  readonly revision: Option.Option<bigint>
  readonly freshness: Option.Option<Freshness>
  /** Why discovery is refused at the moment. */
  readonly refused: Option.Option<DiscoveryError>
  /** Retries that the budget has left. */
  readonly budget: number
  /** Ordered by id. */
  readonly instances: ReadonlyArray<EndpointState<M>>
}

/** The clients of a service's instances. */
export interface Endpoints<out A, out M = Readonly<Record<string, string>>> {
  readonly service: string
  /**
   * Runs `use` with the client of an instance that the strategy chooses, and again with another one when that fails.
   *
   * No instance is tried twice while there is another one that is not out. Fails with the error of `use` as it is when
   * that is not `retryable`; with `CallFailed`, which has each attempt, when no attempt, time, budget or instance is
   * left; with `NoInstanceAvailable` when there was none to begin with; with `InvalidEndpoints` when an option cannot
   * be. A defect of `use` ends the call at once. Interrupting it interrupts `use`; a `connect` that others wait for, too,
   * goes on. All that `use` does may happen more than once: pass `attempts: 1`, or `retryable`, where it must not.
   */
  readonly call: <B, E, R>(
    use: (client: A, instance: ServiceInstance<M>) => Effect.Effect<B, E, R>,
    options?: CallOptions<E>
  ) => Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable | InvalidEndpoints, R>
  /** All numbers of this moment. */
  readonly state: Effect.Effect<EndpointsState<M>>
}

/** The time constant of the moving average, in milliseconds. */
const averageOver = 10_000

/** When discovery is refused: it may be allowed again. */
const refusedBackoff = Backoff.fullJitter("1 second", "30 seconds")

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

/**
 * Follows a service and keeps the clients of its instances, until the scope closes.
 *
 * It completes at once; the first calls wait for the first set. One fiber follows the service, and two run for each
 * `connect`, until it has ended: `connect` itself, and the one that bounds it. Instances that leave keep their clients
 * until the calls in flight have ended, at most for `closeTimeout`; so does closing the scope, after which calls fail with
 * `NoInstanceAvailable`. Nothing is written to etcd. When discovery is refused, that is logged, the last set stays, and it
 * is tried again.
 *
 * Fails with `InvalidName`, `InvalidEndpoints` or `InvalidStrategy` when an option cannot be, before anything is sent.
 *
 * @example
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Balancer, Endpoints } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* Endpoints.make({
 *     service: "orders",
 *     strategy: Balancer.roundRobin,
 *     // Anything that is opened and closed: an HTTP client, a gRPC channel, a pool.
 *     connect: ({ endpoints: [url] }) => Effect.acquireRelease(Effect.succeed({ url }), () => Effect.void)
 *   })
 *   const answer = yield* orders.call(({ url }) => Effect.succeed(`answer of ${url}`), { timeout: "2 seconds" })
 *   assert.equal(answer, "answer of http://10.0.0.5:8080")
 * })
 *
 * const registry = Registry.fixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(registry)))
 * ```
 */
export const make = <A, E, R, M = Readonly<Record<string, string>>>(
  options: EndpointsOptions<A, M, E, R>
): Effect.Effect<
  Endpoints<A, M>,
  InvalidName | InvalidEndpoints | InvalidStrategy,
  Registry | Scope.Scope | Exclude<R, Scope.Scope>
> =>
  Effect.gen(function* () {
    // Whether a string's metadata are strings is what the type of `service` says.
    const service = (typeof options.service === "string" ? Service.make(options.service) : options.service) as Service<
      M
    >
    const name = yield* Effect.fromResult(checkName(service))
    const plan = yield* Effect.fromResult(endpointsPlan(name, options))
    const balancer = yield* Effect.fromResult(Balancer.make<M>(options.strategy ?? Balancer.roundRobin))
    const registry = yield* Registry
    const context = yield* Effect.context<Exclude<R, Scope.Scope>>()
    const own = yield* Effect.acquireRelease(Scope.make(), Scope.close)
    const run = yield* FiberSet.makeRuntime<never, void, never>().pipe(Scope.provide(own))
    const fork = Effect.runForkWith(context)
    const made = Effect.sync(() =>
      new Clients<A, M>({
        service: name,
        plan,
        balancer,
        context,
        attributes: options.attributes ?? {},
        connect: (instance, scope) =>
          Effect.provideContext(Scope.provide(Effect.suspend(() => options.connect(instance)), scope), context),
        connectKey: options.connectKey ?? (({ endpoints, metadata }) => [endpoints, metadata]),
        isEager: options.open === "eagerly",
        run: (effect) => void run(effect),
        fork
      })
    )
    const clients = yield* Effect.acquireRelease(made, ({ close }) => close)
    yield* registry.discover(service, options.discover).pipe(
      Stream.tapError((error) =>
        Effect.suspend(() => {
          clients.refused(error)
          return Effect.logWarning(`the instances of ${JSON.stringify(name)} are not followed: ${error.message}`)
        })
      ),
      Stream.retry(refusedBackoff),
      Stream.runForEach((set) => Effect.sync(() => clients.update(set))),
      Effect.tapCause((cause) =>
        Cause.hasInterruptsOnly(cause) ?
          Effect.void :
          Effect.logError(`the instances of ${JSON.stringify(name)} are no longer followed`, cause)
      ),
      Effect.forkIn(own)
    )
    return clients
  })

/** What clients are made of. */
interface ClientsOptions<A, M> {
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

class Clients<A, M> implements Endpoints<A, M> {
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
      backoff: () => Steps.make(plan.connectBackoff),
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

  readonly call: Endpoints<A, M>["call"] = (use, options) => {
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
    let steps: Steps.Steps<unknown> | undefined
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
      steps ??= Steps.make(plan.backoff)
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

/**
 * Calls to the instances of a service, with load balancing, retries and failure detection.
 *
 * {@link make} follows a service by discovery and keeps one client for each used instance. `call` picks an instance
 * with the strategy, runs an effect with its client, and retries at another instance if that fails. The number of
 * attempts, a time limit and a budget bound the retries, so that they cannot multiply the load on a service in trouble.
 *
 * An instance is _out_, and gets no calls, while it is ejected (its calls fail, see `failureAccrual`), while its one probe
 * is in flight, and while it waits for its next `connect` after one that failed.
 *
 * | an attempt ends with                   | counts for the instance as | and the call                             |
 * | -------------------------------------- | -------------------------- | ---------------------------------------- |
 * | a value                                | success                    | succeeds with it                         |
 * | an error, `retryable`                  | failure                    | retries, or fails with `CallFailed`      |
 * | an error, not `retryable`              | what `isFailure` returns   | fails with that error                    |
 * | `attemptTimeout`, or `timeout`         | failure                    | retries, or fails with `CallFailed`      |
 * | a failed `connect`                     | out for its backoff        | retries, or fails with `CallFailed`      |
 * | a defect                               | nothing                    | dies with it                             |
 * | interruption, or a hedge that lost     | nothing                    | is interrupted, or has succeeded         |
 *
 * @since 0.1.0
 * @module
 */
import { Cause, Effect, FiberSet, Result, Scope, Stream } from "effect"
import * as Backoff from "../../etcd/Backoff.ts"
import { checkOptions, type InvalidOption } from "../../internal/options.ts"
import { checkName, checkSettings, type DiscoveryError } from "../../registry/discovery/Discovery.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import * as Service from "../../registry/model/Service.ts"
import * as Registry from "../../registry/Registry.ts"
import * as Balancer from "../Balancer.ts"
import { Calls } from "./Call.ts"
import type { CallFailed, NoInstanceAvailable } from "./errors.ts"
import { Members } from "./Members.ts"
import { type CallOptions, callPlan, clientPlan, type Options } from "./options.ts"
import { RetryBudget } from "./RetryBudget.ts"
import type { State } from "./State.ts"
import { view } from "./view.ts"
import { logError, logWarning } from "../../internal/log.ts"

export type { Census } from "./Census.ts"
export type { ConnectionStatus } from "./Connection.ts"
export { EndpointMissing, endpointOf } from "./endpoint.ts"
export { type Attempt, CallFailed, ConnectFailed, NoInstanceAvailable, TimedOut } from "./errors.ts"
export type { CallOptions, FailureAccrualOptions, HedgeOptions, Options, RetryBudgetOptions } from "./options.ts"
export type { InstanceState, State } from "./State.ts"

/**
 * The clients of a service's instances.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceClient<out A, out M = Readonly<Record<string, string>>> {
  /** The name of the service. */
  readonly service: string
  /**
   * Runs `use` with the client of an instance that the strategy picks. Retries with another instance if that fails.
   *
   * **Details**
   *
   * A call tries no instance twice while another one is not out. It fails with the error of `use` if that is not
   * `retryable`. It fails with `CallFailed` if no attempt, time, budget or instance is left, with `NoInstanceAvailable`
   * if there was no instance at all, and with `InvalidOption` if an option breaks its rule. A defect of `use` ends the
   * call. Interrupting the call interrupts `use`, but not a `connect` that other calls wait for.
   *
   * **Gotchas**
   *
   * `use` may run more than once. If it must not, set `attempts: 1` or `retryable`.
   */
  readonly call: <B, E, R>(
    use: (client: A, instance: ServiceInstance<M>) => Effect.Effect<B, E, R>,
    options?: CallOptions<E>
  ) => Effect.Effect<B, E | CallFailed<E> | NoInstanceAvailable | InvalidOption, R>
  /** Returns all statistics at this moment. */
  readonly state: Effect.Effect<State<M>>
}

/** The backoff after discovery failed. The cause may be temporary. */
const discoveryBackoff = Backoff.fullJitter("1 second", "30 seconds")

/**
 * Follows a service and keeps the clients of its instances, until the scope closes.
 *
 * **Details**
 *
 * Completes at once; the first calls wait for the first set. One fiber follows the service. Two fibers run during each
 * `connect`: `connect` itself and its supervisor.
 *
 * When an instance leaves, its client stays open for the calls in flight, at most for `closeTimeout`. Closing the scope
 * waits in the same way; later calls fail with `NoInstanceAvailable`. Nothing is written to etcd.
 *
 * If discovery fails, or a user's codec throws, the client logs that, keeps the last set, and retries discovery. If an
 * instance makes the strategy throw, the client logs that, and the instance gets no calls. The client stays usable in
 * both cases.
 *
 * Fails with `InvalidOption` if an option breaks its rule, before anything is sent.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Balancer, ServiceClient } from "@effect-etcd/discovery/balancing"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* ServiceClient.make({
 *     service: "orders",
 *     strategy: Balancer.leastRequests,
 *     // Anything that can be opened and closed: an HTTP client, a gRPC channel, a pool.
 *     connect: ({ endpoints: [url] }) => Effect.acquireRelease(Effect.succeed({ url }), () => Effect.void)
 *   })
 *   const answer = yield* orders.call(({ url }) => Effect.succeed(`called ${url}`), { timeout: "2 seconds" })
 *   assert.equal(answer, "called http://10.0.0.5:8080")
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(registry)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R, M = Readonly<Record<string, string>>>(
  options: Options<A, M, E, R>
): Effect.Effect<
  ServiceClient<A, M>,
  InvalidOption,
  Registry.Registry | Scope.Scope | Exclude<R, Scope.Scope>
> =>
  Effect.gen(function* () {
    // The type of `service` ensures that a name has metadata of strings.
    const service = Service.fromLike(options.service) as Service.Service<M>
    const name = yield* Effect.fromResult(checkOptions("ServiceClient.make", (check) => {
      check.callback("connect", options.connect)
      if (options.connectKey !== undefined) check.callback("connectKey", options.connectKey)
      if (options.discover !== undefined) checkSettings(check, check.object("discover", options.discover))
      return checkName(check, service)
    }))
    const plan = yield* Effect.fromResult(clientPlan("ServiceClient.make", options))
    const balancer = yield* Effect.fromResult(Balancer.make<M>(options.strategy ?? Balancer.roundRobin))
    const registry = yield* Registry.Registry
    const context = yield* Effect.context<Exclude<R, Scope.Scope>>()
    const own = yield* Effect.acquireRelease(Scope.make(), Scope.close)
    const run = yield* FiberSet.makeRuntime<never, void, never>().pipe(Scope.provide(own))
    const created = Effect.sync(() =>
      new Members<A, M>({
        service: name,
        plan,
        balancer,
        context,
        attributes: options.attributes ?? {},
        connect: (instance, scope) =>
          Effect.provideContext(Scope.provide(Effect.suspend(() => options.connect(instance)), scope), context),
        connectKey: options.connectKey ?? (({ endpoints, metadata }) => [endpoints, metadata]),
        run: (effect) => void run(effect),
        fork: Effect.runForkWith(context)
      })
    )
    const members = yield* Effect.acquireRelease(created, ({ close }) => close)
    yield* registry.discover(service, options.discover).pipe(
      Stream.tap((set) => Effect.sync(() => members.update(set))),
      // A defect, such as an exception of a user's codec, must not end the client either.
      Stream.catchCause((cause) => Stream.fail(cause)),
      Stream.tapError((cause) => discoveryFailed(members, cause)),
      Stream.retry(discoveryBackoff),
      Stream.runDrain,
      Effect.forkIn(own)
    )
    const budget = plan.budget && new RetryBudget(plan.budget)
    const calls = new Calls(members, budget, plan.discoveryTimeoutMillis)
    return {
      service: name,
      call: (use, options) => {
        if (options === undefined) return calls.run(use, plan.call)
        const checked = callPlan(options, plan.call)
        return Result.isFailure(checked) ? Effect.fail(checked.failure) : calls.run(use, checked.success)
      },
      state: Effect.sync(() => view(members, budget))
    }
  })

const discoveryFailed = <A, M>(
  members: Members<A, M>,
  cause: Cause.Cause<DiscoveryError>
): Effect.Effect<void> => {
  const error = Cause.squash(cause)
  members.discoveryFailed(error instanceof Error ? error : new Error(String(error)))
  const text = `discovery of ${JSON.stringify(members.service)} failed; retrying`
  return Effect.ignoreCause(
    Cause.hasDies(cause) ?
      logError(text, cause) :
      logWarning(`${text}: ${error instanceof Error ? error.message : String(error)}`)
  )
}

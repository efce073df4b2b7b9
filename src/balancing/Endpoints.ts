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
import { Cause, Effect, FiberSet, Scope, Stream } from "effect"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { checkName } from "../registry/discovery/Discovery.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import * as Service from "../registry/model/Service.ts"
import * as Backoff from "../etcd/Backoff.ts"
import * as Registry from "../registry/Registry.ts"
import * as Balancer from "./Balancer.ts"
import { Clients } from "./Clients.ts"
import type { CallFailed, InvalidEndpoints, NoInstanceAvailable } from "./EndpointsError.ts"
import { type CallOptions, type EndpointsOptions, endpointsPlan } from "./EndpointsOptions.ts"
import type { EndpointsState } from "./EndpointsState.ts"
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
export type { EndpointsState, EndpointState } from "./EndpointsState.ts"
export type { RetryBudgetOptions } from "./RetryBudget.ts"

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

/** When discovery is refused: it may be allowed again. */
const refusedBackoff = Backoff.fullJitter("1 second", "30 seconds")

/**
 * Follows a service and keeps the clients of its instances, until the scope closes.
 *
 * It completes at once; the first calls wait for the first set. One fiber follows the service, and two run for each
 * `connect`, until it has ended: `connect` itself, and the one that bounds it. Instances that leave keep their clients
 * until the calls in flight have ended, at most for `closeTimeout`; so does closing the scope, after which calls fail with
 * `NoInstanceAvailable`. Nothing is written to etcd. When discovery is refused, that is logged, the last set stays, and it
 * is tried again.
 *
 * Fails with `InvalidOption`, `InvalidEndpoints` or `InvalidStrategy` when an option cannot be, before anything is sent.
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
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(registry)))
 * ```
 */
export const make = <A, E, R, M = Readonly<Record<string, string>>>(
  options: EndpointsOptions<A, M, E, R>
): Effect.Effect<
  Endpoints<A, M>,
  InvalidOption | InvalidEndpoints | InvalidStrategy,
  Registry.Registry | Scope.Scope | Exclude<R, Scope.Scope>
> =>
  Effect.gen(function* () {
    // Whether a string's metadata are strings is what the type of `service` says.
    const service =
      (typeof options.service === "string" ? Service.make(options.service) : options.service) as Service.Service<
        M
      >
    const name = yield* Effect.fromResult(checkOptions("Endpoints.make", (check) => checkName(check, service)))
    const plan = yield* Effect.fromResult(endpointsPlan(name, options))
    const balancer = yield* Effect.fromResult(Balancer.make<M>(options.strategy ?? Balancer.roundRobin))
    const registry = yield* Registry.Registry
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

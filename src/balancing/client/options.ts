/**
 * The options of a service client and of its calls, and their check.
 *
 * @module
 */
import { Duration, type Effect, type Result, type Schedule } from "effect"
import * as Backoff from "../../etcd/Backoff.ts"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import type { DiscoverOptions } from "../../registry/discovery/Discovery.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type { Service } from "../../registry/model/Service.ts"
import type { Strategy } from "../Strategy.ts"
import type { TimedOut } from "./errors.ts"
import type { AccrualRules } from "./FailureAccrual.ts"
import type { RetryBudgetRules } from "./RetryBudget.ts"
import { isFailureStatus, isRetryableStatus } from "./status.ts"

/**
 * When a call sends a second attempt while the first is still running. For calls that may run twice.
 *
 * @since 0.1.0
 * @category models
 */
export interface HedgeOptions {
  /**
   * The percentile (above 0, below 1) of the latency after which the second attempt starts: 0.95 hedges one call in
   * twenty.
   */
  readonly after: number
  /** The shortest wait before the second attempt. Default: 1 millisecond. */
  readonly atLeast?: Duration.Input
}

/**
 * Options of a call. Each defaults to the option of the client.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions<in E = unknown> {
  /** How often `use` runs at most, hedges included: 1 or more. Default: 3. */
  readonly attempts?: number
  /** The time limit of the whole call. Default: none. */
  readonly timeout?: Duration.Input
  /** The time limit of one attempt, connecting included. Default: none. */
  readonly attemptTimeout?: Duration.Input
  /**
   * Whether another attempt may follow this error. If not, the call fails with the error. Default: an error with a gRPC
   * code (of grpc-js or ConnectRPC, also as a `cause`) only if the code is `UNAVAILABLE`; an `HttpClientError` with a
   * status only if the status is 502, 503 or 504; any other error always. A failed `connect` is always retried, because
   * nothing was sent.
   */
  readonly retryable?: (error: E | TimedOut) => boolean
  /**
   * Whether this error is a failure of the instance. If not, it counts as an answer: the instance works. Default: the
   * result of your own `retryable`. Without one, an error with a gRPC code is a failure if the code is `UNAVAILABLE`,
   * `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `INTERNAL` or `DATA_LOSS`, and any other error if it is retryable. A
   * timeout is always a failure.
   */
  readonly isFailure?: (error: E) => boolean
  /** The delays before the second attempt, the third, …. Default: 10 ms doubling up to 500 ms, full jitter. */
  readonly backoff?: Schedule.Schedule<unknown>
  /** How long the call waits while no instance is available. Default: 0. */
  readonly waitFor?: Duration.Input
  /** Default: false. */
  readonly hedge?: HedgeOptions | false
  /** The key for consistent hashing. */
  readonly key?: string
}

/**
 * How many retries and hedges a client may send.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryBudgetOptions {
  /** Retries per call, 0 to 1,000. Default: 0.2, that is at most 20 % extra load. */
  readonly ratio?: number
  /** Additional retries per second, for services with few calls. Default: 10. */
  readonly minPerSecond?: number
}

/**
 * When and for how long an instance whose calls fail is ejected.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailureAccrualOptions {
  /** Ejects after this number of consecutive failures: 1 or more. Default: 5. */
  readonly consecutive?: number
  /** Ejects if the success rate is too low. Default: off. */
  readonly successRate?: {
    /** The rate, 0 to 1. */
    readonly below: number
    /** Default: 30 seconds. */
    readonly window?: Duration.Input
    /** The number of calls in the window that the rate needs. Default: 20. */
    readonly minCalls?: number
  }
  /** The length of the first ejection. It doubles each time. Default: 5 seconds. */
  readonly ejectFor?: Duration.Input
  /** The longest ejection. Default: 5 minutes. */
  readonly maxEjectionTime?: Duration.Input
  /** The share of the available instances (0 to 1, rounded down) that may be ejected at a time. Default: 0.5. */
  readonly maxEjected?: number
}

/**
 * Options of a service client. Options of calls are the defaults of all its calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, M = Readonly<Record<string, string>>, E = unknown, R = never>
  extends Omit<CallOptions, "key"> {
  readonly service: string | Service<M>
  /**
   * Opens the client of one instance. Its scope stays open while the instance is registered. All calls share the
   * client. The client must repair broken connections itself, as HTTP and gRPC clients do.
   */
  readonly connect: (instance: ServiceInstance<M>) => Effect.Effect<A, E, R>
  /** The strategy that picks an instance for each call. Default: `Balancer.roundRobin`. */
  readonly strategy?: Strategy<NoInfer<M>>
  /** When to connect: at the first call to an instance, or as soon as it is available. Default: `"first-use"`. */
  readonly open?: "first-use" | "eagerly"
  /** The time limit of `connect`. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input
  /** How long an instance stays out after a failed `connect`. Default: 500 ms doubling up to 30 s, full jitter. */
  readonly connectBackoff?: Schedule.Schedule<unknown>
  /**
   * A key of everything that `connect` depends on. If it changes, the client is replaced. Default: endpoints and
   * metadata.
   */
  readonly connectKey?: (instance: ServiceInstance<M>) => unknown
  /** How long calls in flight may keep open the client of an instance that has left. Default: 30 seconds. */
  readonly closeTimeout?: Duration.Input
  /** How long a call waits for the first set (or `waitFor`, if that is longer). Default: 5 seconds. */
  readonly discoveryTimeout?: Duration.Input
  /** How many retries and hedges may be sent. Default: 20 % of the calls, and ten per second. */
  readonly retryBudget?: RetryBudgetOptions | false
  /** Default: five consecutive failures. */
  readonly failureAccrual?: FailureAccrualOptions | false
  /** Options of discovery. */
  readonly discover?: DiscoverOptions
  /** The number of instances that have metrics at a time; 0 for none. Default: 100. */
  readonly instanceMetrics?: number
  /** Attributes of all metrics. Needed if a process has two clients of one service. */
  readonly attributes?: Readonly<Record<string, string>>
}

/** The checked options of a call. Times are milliseconds, `Infinity` if there is no limit. */
export interface CallPlan<in E = unknown> {
  readonly attempts: number
  readonly timeout: number
  readonly attemptTimeout: number
  readonly retryable: (error: E | TimedOut) => boolean
  readonly isFailure: ((error: E) => boolean) | undefined
  readonly backoff: Schedule.Schedule<unknown>
  readonly waitFor: number
  readonly hedge: { readonly after: number; readonly atLeast: number } | undefined
  readonly key: string | undefined
}

/** The checked options of a service client. */
export interface Plan {
  readonly call: CallPlan
  readonly isEager: boolean
  readonly connectTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
  readonly connectBackoff: Schedule.Schedule<unknown>
  readonly discoveryTimeoutMillis: number
  readonly budget: RetryBudgetRules | undefined
  readonly accrual: AccrualRules | undefined
  readonly instanceMetrics: number
}

const defaults: CallPlan = {
  attempts: 3,
  timeout: Infinity,
  attemptTimeout: Infinity,
  retryable: (error) => isRetryableStatus(error) ?? true,
  isFailure: (error) => isFailureStatus(error) ?? true,
  backoff: Backoff.fullJitter("10 millis", "500 millis"),
  waitFor: 0,
  hedge: undefined,
  key: undefined
}

const orZero = { min: Duration.zero }
const orInfinite = { infinite: true }

const millis = (check: Check, option: string, value: Duration.Input, bounds = {}) =>
  Duration.toMillis(check.duration(option, value, bounds))

const callPlanOf = <E>(check: Check, options: CallOptions<E>, before: CallPlan<E>): CallPlan<E> => {
  const { attempts, attemptTimeout, backoff, hedge, isFailure, key, retryable, timeout, waitFor } = options
  return {
    attempts: attempts === undefined ? before.attempts : check.number("attempts", attempts, { min: 1, whole: true }),
    timeout: timeout === undefined ? before.timeout : millis(check, "timeout", timeout, orInfinite),
    attemptTimeout: attemptTimeout === undefined ?
      before.attemptTimeout :
      millis(check, "attemptTimeout", attemptTimeout, orInfinite),
    retryable: retryable === undefined ? before.retryable : check.callback("retryable", retryable),
    // A call's own `retryable` also replaces the client's definition of failure.
    isFailure: isFailure === undefined ?
      (retryable === undefined ? before.isFailure : undefined) :
      check.callback("isFailure", isFailure),
    backoff: backoff === undefined ? before.backoff : check.schedule("backoff", backoff),
    waitFor: waitFor === undefined ?
      before.waitFor :
      millis(check, "waitFor", waitFor, { min: Duration.zero, infinite: true }),
    hedge: hedge === undefined ? before.hedge : hedge === false ? undefined : {
      after: typeof check.object("hedge", hedge).after === "number" && hedge.after > 0 && hedge.after < 1 ?
        hedge.after :
        check.refuse("hedge.after", hedge.after, "it must be above 0 and below 1"),
      atLeast: millis(check, "hedge.atLeast", hedge.atLeast ?? "1 millis", orZero)
    },
    key: key === undefined ? before.key : check.text("key", key)
  }
}

/** Checks the options of a call, with those of the client as defaults. */
export const callPlan = <E>(options: CallOptions<E>, before: CallPlan): Result.Result<CallPlan<E>, InvalidOption> =>
  checkOptions("ServiceClient.call", (check) => callPlanOf(check, options, before))

/** The options of a client that are checked here. */
export type PlanOptions = Omit<Options<never>, "service" | "connect" | "connectKey" | "strategy" | "discover">

/** Checks the options of a client. `of` is the function that was called. */
export const clientPlan = (of: string, options: PlanOptions): Result.Result<Plan, InvalidOption> =>
  checkOptions(of, (check) => ({
    call: callPlanOf(check, options, defaults),
    isEager: check.oneOf("open", options.open ?? "first-use", ["first-use", "eagerly"]) === "eagerly",
    connectTimeout: check.duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
    closeTimeout: check.duration("closeTimeout", options.closeTimeout ?? "30 seconds", orZero),
    connectBackoff: check.schedule(
      "connectBackoff",
      options.connectBackoff ?? Backoff.fullJitter("500 millis", "30 seconds")
    ),
    discoveryTimeoutMillis: millis(check, "discoveryTimeout", options.discoveryTimeout ?? "5 seconds", orZero),
    budget: options.retryBudget === false ? undefined : budgetRules(check, options.retryBudget),
    accrual: options.failureAccrual === false ? undefined : accrualRules(check, options.failureAccrual),
    instanceMetrics: check.number("instanceMetrics", options.instanceMetrics ?? 100, { min: 0, whole: true })
  }))

const budgetRules = (check: Check, options: RetryBudgetOptions = {}): RetryBudgetRules => {
  const { minPerSecond = 10, ratio = 0.2 } = check.object("retryBudget", options)
  return {
    ratio: check.number("retryBudget.ratio", ratio, { min: 0, max: 1000 }),
    minPerSecond: check.number("retryBudget.minPerSecond", minPerSecond, { min: 0 })
  }
}

const accrualRules = (check: Check, options: FailureAccrualOptions = {}): AccrualRules => {
  const {
    consecutive = 5,
    ejectFor = "5 seconds",
    maxEjected = 0.5,
    maxEjectionTime = "5 minutes",
    successRate
  } = check.object("failureAccrual", options)
  return {
    consecutive: check.number("failureAccrual.consecutive", consecutive, { min: 1, whole: true }),
    successRate: successRate && {
      below: check.number("failureAccrual.successRate.below", successRate.below, { min: 0, max: 1 }),
      window: millis(check, "failureAccrual.successRate.window", successRate.window ?? "30 seconds"),
      minCalls: check.number("failureAccrual.successRate.minCalls", successRate.minCalls ?? 20, { min: 1, whole: true })
    },
    ejectFor: millis(check, "failureAccrual.ejectFor", ejectFor),
    maxEjectionTime: millis(check, "failureAccrual.maxEjectionTime", maxEjectionTime),
    maxEjected: check.number("failureAccrual.maxEjected", maxEjected, { min: 0, max: 1 })
  }
}

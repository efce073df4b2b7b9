/**
 * What endpoints and their calls can be told, checked once.
 *
 * @module
 */
import { Duration, Option, Result, type Schedule } from "effect"
import type { Effect } from "effect"
import type { DiscoverOptions } from "../registry/discovery/Discovery.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type { Service } from "../registry/model/Service.ts"
import * as Backoff from "../etcd/Backoff.ts"
import { InvalidEndpoints, type TimedOut } from "./EndpointsError.ts"
import type { AccrualRules } from "./FailureAccrual.ts"
import type { RetryBudgetOptions } from "./RetryBudget.ts"
import type { Strategy } from "./Strategy.ts"

/** When a second attempt is made beside the first. For calls that may be made twice. */
export interface HedgeOptions {
  /** The share of calls, above 0 and below 1, whose latency is waited for: 0.95 hedges one call in twenty. */
  readonly after: number
  /** Waited for at least. Default: 1 millisecond. */
  readonly atLeast?: Duration.Input
}

/** How one call is made. What is left out is as `Endpoints.make` was told. */
export interface CallOptions<in E = unknown> {
  /** How often `use` is run at most, hedges included; 1 or more. Default: 3. */
  readonly attempts?: number
  /** How long all of it may take. Default: no limit. */
  readonly timeout?: Duration.Input
  /** How long one attempt may take, connecting included. Default: no limit. */
  readonly attemptTimeout?: Duration.Input
  /**
   * Whether another attempt may follow one that ended with this. If not, the call fails with it. Default: always. A
   * `connect` that failed is always tried again: nothing was sent.
   */
  readonly retryable?: (error: E | TimedOut) => boolean
  /**
   * Whether what an attempt ended with is a failure of the instance; if not, it is an answer, and shows that the
   * instance is well. Default: what is `retryable`. A timeout always is.
   */
  readonly isFailure?: (error: E) => boolean
  /** The delays before the second attempt, the third, …. Default: 10 ms doubling up to 500 ms, full jitter. */
  readonly backoff?: Schedule.Schedule<unknown>
  /** How long to wait for an instance when there is none. Default: 0. */
  readonly waitFor?: Duration.Input
  /** Default: off. */
  readonly hedge?: HedgeOptions | false
  /** What consistent hashing goes by. */
  readonly key?: string
}

/** When an instance whose calls fail is taken out, for how long, and how many of them at a time. */
export interface FailureAccrualOptions {
  /** Failures in a row; 1 or more. Default: 5. */
  readonly consecutive?: number
  /** A share of successes over a stretch of time that is too low. Default: off. */
  readonly successRate?: {
    /** 0 to 1. */
    readonly below: number
    /** Default: 30 seconds. */
    readonly window?: Duration.Input
    /** Calls in the window without which the share says nothing. Default: 20. */
    readonly minCalls?: number
  }
  /** For how long the first time; it doubles each time. Default: 5 seconds. */
  readonly ejectFor?: Duration.Input
  /** For how long at most. Default: 5 minutes. */
  readonly ejectForMost?: Duration.Input
  /** The share of the available instances, 0 to 1, that may be out at a time, rounded down. Default: 0.5. */
  readonly maxEjected?: number
}

/** What endpoints are made of. Options of calls are defaults for all calls. */
export interface EndpointsOptions<A, M = Readonly<Record<string, string>>, E = unknown, R = never>
  extends Omit<CallOptions, "key"> {
  readonly service: string | Service<M>
  /**
   * Opens the client of one instance, for as long as the scope is open. It is shared by all calls, and stays while the
   * instance does. A client whose connection breaks must mend that by itself, as those of HTTP and gRPC do.
   */
  readonly connect: (instance: ServiceInstance<M>) => Effect.Effect<A, E, R>
  /** Which instance gets the next call. Default: `roundRobin`. */
  readonly strategy?: Strategy<NoInfer<M>>
  /** When to connect: on the first call to an instance, or as soon as it is there. Default: `"first-use"`. */
  readonly open?: "first-use" | "eagerly"
  /** How long `connect` may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input
  /** For how long an instance is out whose `connect` fails. Default: 500 ms doubling up to 30 s, full jitter. */
  readonly connectBackoff?: Schedule.Schedule<unknown>
  /** What `connect` depends on: when it changes, the instance gets a new client. Default: endpoints and metadata. */
  readonly connectKey?: (instance: ServiceInstance<M>) => unknown
  /** How long the calls in flight may keep the client of an instance that has left. Default: 30 seconds. */
  readonly closeTimeout?: Duration.Input
  /** How long a call waits for discovery to tell the first set; `waitFor`, if that is longer. Default: 5 seconds. */
  readonly firstSetTimeout?: Duration.Input
  /** How much load retries and hedges may add. Default: 20 %, and ten a second. */
  readonly retryBudget?: RetryBudgetOptions | false
  /** Default: five failures in a row. */
  readonly failureAccrual?: FailureAccrualOptions | false
  /** How the service is followed. */
  readonly discover?: DiscoverOptions
  /** Of how many instances at a time there are metrics; 0 for none. Default: 100. */
  readonly instanceMetrics?: number
  /** Attributes of all metrics, needed where a process has two endpoints of one service. */
  readonly attributes?: Readonly<Record<string, string>>
}

/** How one call is made, checked; times in milliseconds, `Infinity` for no limit. */
export interface CallPlan {
  readonly attempts: number
  readonly timeout: number
  readonly attemptTimeout: number
  readonly retryable: (error: never) => boolean
  readonly isFailure: ((error: never) => boolean) | undefined
  readonly backoff: Schedule.Schedule<unknown>
  readonly waitFor: number
  readonly hedge: { readonly after: number; readonly atLeast: number } | undefined
  readonly key: string | undefined
}

/** What endpoints are made of, checked. */
export interface EndpointsPlan {
  readonly call: CallPlan
  readonly connectTimeout: Duration.Duration
  readonly closeTimeout: Duration.Duration
  readonly connectBackoff: Schedule.Schedule<unknown>
  /** Milliseconds. */
  readonly firstSetTimeout: number
  readonly budget: RetryBudgetOptions | undefined
  readonly accrual: AccrualRules | undefined
  readonly instanceMetrics: number
}

/** What the checks of one service fail with. */
const rules = (service: string) => {
  const fail = (field: string, value: unknown, rule: string): Result.Result<never, InvalidEndpoints> =>
    Result.fail(new InvalidEndpoints({ service, field, value, rule }))
  return {
    fail,
    duration: (field: string, value: Duration.Input, isZeroAllowed = false) => {
      const parsed = Option.getOrUndefined(Duration.fromInput(value))
      return parsed !== undefined && (Duration.isPositive(parsed) || isZeroAllowed && Duration.isZero(parsed)) ?
        Result.succeed(parsed) :
        fail(field, value, `it must be a duration ${isZeroAllowed ? "of 0 or more" : "above 0"}`)
    },
    number: (field: string, value: number, isLegal: (value: number) => boolean, rule: string) =>
      isLegal(value) ? Result.succeed(value) : fail(field, value, rule)
  }
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1
const isShare = (value: number): boolean => value >= 0 && value <= 1

const defaults: CallPlan = {
  attempts: 3,
  timeout: Infinity,
  attemptTimeout: Infinity,
  retryable: () => true,
  isFailure: undefined,
  backoff: Backoff.fullJitter("10 millis", "500 millis"),
  waitFor: 0,
  hedge: undefined,
  key: undefined
}

/** The options of a call over those of its endpoints. */
export const callPlan = <E>(
  service: string,
  options: CallOptions<E>,
  before: CallPlan = defaults
): Result.Result<CallPlan, InvalidEndpoints> =>
  Result.gen(function* () {
    const { duration, number } = rules(service)
    const { attempts, attemptTimeout, backoff, hedge, isFailure, key, retryable, timeout, waitFor } = options
    return {
      attempts: attempts === undefined ?
        before.attempts :
        yield* number("attempts", attempts, isCount, "it must be a whole number of 1 or more"),
      timeout: timeout === undefined ? before.timeout : Duration.toMillis(yield* duration("timeout", timeout)),
      attemptTimeout: attemptTimeout === undefined ?
        before.attemptTimeout :
        Duration.toMillis(yield* duration("attemptTimeout", attemptTimeout)),
      retryable: retryable ?? before.retryable,
      // Another `retryable` is another notion of failure, too.
      isFailure: isFailure ?? (retryable === undefined ? before.isFailure : undefined),
      backoff: backoff ?? before.backoff,
      waitFor: waitFor === undefined ? before.waitFor : Duration.toMillis(yield* duration("waitFor", waitFor, true)),
      hedge: hedge === undefined ? before.hedge : hedge === false ? undefined : {
        after: yield* number(
          "hedge.after",
          hedge.after,
          (after) => after > 0 && after < 1,
          "it must be above 0 and below 1"
        ),
        atLeast: Duration.toMillis(yield* duration("hedge.atLeast", hedge.atLeast ?? "1 millis", true))
      },
      key: key ?? before.key
    }
  })

/** The options of endpoints. */
export const endpointsPlan = (
  service: string,
  options: Omit<EndpointsOptions<never>, "service" | "connect" | "connectKey" | "strategy">
): Result.Result<EndpointsPlan, InvalidEndpoints> =>
  Result.gen(function* () {
    const { duration, fail, number } = rules(service)
    const { failureAccrual = {}, retryBudget = {} } = options
    const open = options.open ?? "first-use"
    if (open !== "first-use" && open !== "eagerly") {
      return yield* fail("open", open, 'it must be "first-use" or "eagerly"')
    }
    if (retryBudget !== false) {
      const { minPerSecond = 0, ratio = 0 } = retryBudget
      yield* number("retryBudget.ratio", ratio, (value) => value >= 0 && value <= 1000, "it must be 0 to 1,000")
      yield* number(
        "retryBudget.minPerSecond",
        minPerSecond,
        (value) => value >= 0 && value < Infinity,
        "it must be 0 or more"
      )
    }
    return {
      call: yield* callPlan(service, options),
      connectTimeout: yield* duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
      closeTimeout: yield* duration("closeTimeout", options.closeTimeout ?? "30 seconds", true),
      connectBackoff: options.connectBackoff ?? Backoff.fullJitter("500 millis", "30 seconds"),
      firstSetTimeout: Duration.toMillis(
        yield* duration("firstSetTimeout", options.firstSetTimeout ?? "5 seconds", true)
      ),
      budget: retryBudget === false ? undefined : retryBudget,
      accrual: failureAccrual === false ? undefined : yield* accrualRules(service, failureAccrual),
      instanceMetrics: yield* number(
        "instanceMetrics",
        options.instanceMetrics ?? 100,
        (value) => value === 0 || isCount(value),
        "it must be a whole number of 0 or more"
      )
    }
  })

const accrualRules = (
  service: string,
  { consecutive = 5, ejectFor = "5 seconds", ejectForMost = "5 minutes", maxEjected = 0.5, successRate }:
    FailureAccrualOptions
): Result.Result<AccrualRules, InvalidEndpoints> =>
  Result.gen(function* () {
    const { duration, number } = rules(service)
    const field = (name: string) => `failureAccrual.${name}`
    const count = (name: string, value: number) =>
      number(field(name), value, isCount, "it must be a whole number of 1 or more")
    const share = (name: string, value: number) => number(field(name), value, isShare, "it must be 0 to 1")
    return {
      consecutive: yield* count("consecutive", consecutive),
      successRate: successRate && {
        below: yield* share("successRate.below", successRate.below),
        window: Duration.toMillis(yield* duration(field("successRate.window"), successRate.window ?? "30 seconds")),
        minCalls: yield* count("successRate.minCalls", successRate.minCalls ?? 20)
      },
      ejectFor: Duration.toMillis(yield* duration(field("ejectFor"), ejectFor)),
      ejectForMost: Duration.toMillis(yield* duration(field("ejectForMost"), ejectForMost)),
      maxEjected: yield* share("maxEjected", maxEjected)
    }
  })

/**
 * The errors of a call.
 *
 * @module
 */
import { Cause, Duration } from "effect"
import { formatDuration } from "../../internal/time/format.ts"
import { show } from "../../internal/options.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import { type Census, describeCensus } from "./Census.ts"

const ConnectFailedBase: TaggedErrorClass<"ConnectFailed", {
  readonly service: string
  /** The instance. */
  readonly id: string
  /** The cause that `connect` failed with. */
  readonly cause: Cause.Cause<unknown>
}> = TaggedErrorClass("ConnectFailed")

/**
 * `connect` failed for one instance, and nothing was sent to it.
 *
 * **Details**
 *
 * The instance gets no calls until its backoff has passed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectFailed extends ConnectFailedBase {
  override get message(): string {
    return `cannot connect to ${this.id} of ${show(this.service)}: ${describe(Cause.squash(this.cause))}`
  }
}

const TimedOutBase: TaggedErrorClass<"TimedOut", {
  /** The step that took too long. */
  readonly what: "connect" | "attempt"
  readonly limit: Duration.Duration
}> = TaggedErrorClass("TimedOut")

/**
 * An attempt or a `connect` exceeded its time limit and was interrupted.
 *
 * @since 0.1.0
 * @category errors
 */
export class TimedOut extends TimedOutBase {
  override get message(): string {
    return `the ${this.what} did not end within ${formatDuration(this.limit)}`
  }
}

const NoInstanceAvailableBase: TaggedErrorClass<"NoInstanceAvailable", {
  readonly service: string
  /**
   * `"unknown"`: there is no first set yet, or discovery failed (`cause`). `"none"`: no instance takes traffic, or the
   * strategy picks none of them. `"out"`: every instance that the strategy could pick is ejected, probed or waiting to
   * reconnect. `"closed"`: the scope of the client is closed.
   */
  readonly reason: "unknown" | "none" | "out" | "closed"
  /** How long the call waited for an instance. */
  readonly waited: Duration.Duration
  /** The instances of the service, grouped by the reason why they take no traffic. */
  readonly census: Census
  /** Why discovery fails: a `DiscoveryError`, or a defect such as an exception of a codec. */
  readonly cause?: Error
}> = TaggedErrorClass("NoInstanceAvailable")

const absences: Readonly<Record<NoInstanceAvailable["reason"], string>> = {
  unknown: "its instances are not known yet",
  none: "no instance takes traffic",
  out: "each of its instances is ejected or accepts no connection",
  closed: "the scope of the client is closed"
}

/**
 * No instance could be called. Nothing was sent.
 *
 * **Details**
 *
 * `census` lists the instances that take no traffic: rejected, starting, draining, down, without weight, and those that
 * made the strategy throw.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoInstanceAvailable extends NoInstanceAvailableBase {
  override get message(): string {
    const { cause, census, reason } = this
    const details = [
      ...(reason === "none" || reason === "out" ? [describeCensus(census)] : []),
      ...(cause === undefined ? [] : [describe(cause)])
    ]
    const detail = details.length === 0 ? "" : ` (${details.join("; ")})`
    return `cannot call ${show(this.service)}: ${absences[reason]}${detail}; waited ${formatDuration(this.waited)}, ` +
      "see waitFor"
  }
}

/**
 * One failed attempt of a call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt<E> {
  readonly instance: ServiceInstance<unknown>
  readonly duration: Duration.Duration
  readonly error: E | ConnectFailed | TimedOut
}

const CallFailedBase: TaggedErrorClass<"CallFailed", {
  readonly service: string
  /**
   * Why no further attempt followed. `"attempts"`: all attempts were used. `"refused"`: `retryable` returned false.
   * `"budget"`: the retry budget is empty. `"timeout"`: the time limit of the call passed. `"instances"`: no other
   * instance is left.
   */
  readonly reason: "attempts" | "refused" | "budget" | "timeout" | "instances"
  /** In the order in which they ended. At least one. */
  readonly attempts: ReadonlyArray<Attempt<unknown>>
}> = TaggedErrorClass("CallFailed")

const endings: Readonly<Record<CallFailed<unknown>["reason"], string>> = {
  attempts: "no attempt is left",
  refused: "the error is not retryable",
  budget: "the retry budget is empty",
  timeout: "no time is left",
  instances: "no other instance is left"
}

/**
 * All attempts of a call failed. `attempts` contains the error of each.
 *
 * @since 0.1.0
 * @category errors
 */
export class CallFailed<out E> extends CallFailedBase {
  declare readonly attempts: ReadonlyArray<Attempt<E>>

  /** The error of the last attempt. */
  get last(): E | ConnectFailed | TimedOut | undefined {
    return this.attempts[this.attempts.length - 1]?.error
  }

  override get message(): string {
    const attempts = this.attempts.map(({ duration, error, instance }) =>
      `${instance.id} after ${Math.round(Duration.toMillis(duration))} ms: ${describe(error)}`
    )
    return `cannot call ${show(this.service)}: ${endings[this.reason]} (${attempts.join("; ")})`
  }
}

const maxShown = 300

const describe = (error: unknown): string => {
  const text = error instanceof Error && error.message !== "" ?
    error.message :
    typeof error === "string" ?
    error :
    show(error)
  return text.length > maxShown ? `${text.slice(0, maxShown)}…` : text
}

/**
 * Why a call found no way, or could not be set up.
 *
 * @module
 */
import { Cause, Data, Duration } from "effect"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"

const InvalidEndpointsBase: TaggedErrorClass<"InvalidEndpoints", {
  readonly service: string
  /** The option. */
  readonly field: string
  /** What it was given. */
  readonly value: unknown
  /** What it must be. */
  readonly rule: string
}> = Data.TaggedError("InvalidEndpoints")

/** An option of `Endpoints.make` or of a call that cannot be. Nothing was connected or called. */
export class InvalidEndpoints extends InvalidEndpointsBase {
  override get message(): string {
    const { value } = this
    const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value)
    return `cannot call ${JSON.stringify(this.service)}: ${this.field} is ${text}; ${this.rule}`
  }
}

const ConnectFailedBase: TaggedErrorClass<"ConnectFailed", {
  readonly service: string
  readonly id: string
  /** What `connect` ended with. */
  readonly cause: Cause.Cause<unknown>
}> = Data.TaggedError("ConnectFailed")

/** `connect` failed for one instance, which is out for a backoff. No call was made to it. */
export class ConnectFailed extends ConnectFailedBase {
  override get message(): string {
    return `cannot connect to ${this.id} of ${JSON.stringify(this.service)}: ${describe(Cause.squash(this.cause))}`
  }
}

const TimedOutBase: TaggedErrorClass<"TimedOut", {
  /** What took too long. */
  readonly what: "connect" | "attempt"
  readonly limit: Duration.Duration
}> = Data.TaggedError("TimedOut")

/** An attempt, or connecting, took longer than it may, and was interrupted. */
export class TimedOut extends TimedOutBase {
  override get message(): string {
    return `the ${this.what} did not end within ${Duration.format(this.limit)}`
  }
}

const NoInstanceAvailableBase: TaggedErrorClass<"NoInstanceAvailable", {
  readonly service: string
  /**
   * `"unknown"`: discovery has not told yet, or is refused (`cause`); `"none"`: the service has no instance that takes
   * traffic, or the strategy chooses none of them; `"out"`: all that it could choose are ejected, being probed, or wait
   * to be connected to again; `"closed"`: the scope of the endpoints has closed.
   */
  readonly reason: "unknown" | "none" | "out" | "closed"
  /** How long an instance was waited for. */
  readonly waited: Duration.Duration
  readonly cause?: DiscoveryError
}> = Data.TaggedError("NoInstanceAvailable")

const absences: Readonly<Record<NoInstanceAvailable["reason"], string>> = {
  unknown: "its instances are not known yet",
  none: "no instance takes traffic; is one registered, up and chosen by the strategy?",
  out: "all its instances are ejected or cannot be connected to",
  closed: "the scope of these endpoints has closed"
}

/** There was no instance to call. Nothing was called. */
export class NoInstanceAvailable extends NoInstanceAvailableBase {
  override get message(): string {
    const cause = this.cause === undefined ? "" : ` (${this.cause.message})`
    return `cannot call ${JSON.stringify(this.service)}: ${absences[this.reason]}${cause}; waited ` +
      `${Duration.format(this.waited)}, see waitFor`
  }
}

/** One attempt of a call, and why it came to nothing. */
export interface Attempt<E> {
  readonly instance: ServiceInstance<unknown>
  readonly duration: Duration.Duration
  readonly error: E | ConnectFailed | TimedOut
}

const CallFailedBase: TaggedErrorClass<"CallFailed", {
  readonly service: string
  /**
   * Why there was no further attempt: `"attempts"`: that was the last one; `"refused"`: it may not be tried again, by
   * `retryable`; `"budget"`: the retry budget is spent; `"timeout"`: there is no time left; `"instances"`: no instance
   * is left.
   */
  readonly reason: "attempts" | "refused" | "budget" | "timeout" | "instances"
  /** In the order in which they ended; at least one. */
  readonly attempts: ReadonlyArray<Attempt<unknown>>
}> = Data.TaggedError("CallFailed")

const endings: Readonly<Record<CallFailed<unknown>["reason"], string>> = {
  attempts: "no attempt is left",
  refused: "it may not be tried again",
  budget: "the retry budget is spent",
  timeout: "no time is left",
  instances: "no other instance is left"
}

/** A call came to nothing. `attempts` has what happened at each instance. */
export class CallFailed<out E> extends CallFailedBase {
  declare readonly attempts: ReadonlyArray<Attempt<E>>

  /** What the last attempt ended with. */
  get last(): E | ConnectFailed | TimedOut | undefined {
    return this.attempts[this.attempts.length - 1]?.error
  }
  override get message(): string {
    const attempts = this.attempts.map(({ duration, error, instance }) =>
      `${instance.id} after ${Math.round(Duration.toMillis(duration))} ms: ${describe(error)}`
    )
    return `cannot call ${JSON.stringify(this.service)}: ${endings[this.reason]} (${attempts.join("; ")})`
  }
}

const describe = (error: unknown): string => {
  const text = error instanceof Error ? error.message : typeof error === "string" ? error : JSON.stringify(error)
  return text === undefined || text === "" ? String(error) : text.length > 300 ? `${text.slice(0, 300)}…` : text
}

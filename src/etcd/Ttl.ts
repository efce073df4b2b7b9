/**
 * The times of a lease, checked once.
 *
 * @module
 */
import { Duration, Option, Result } from "effect"

/** A time to live and the heartbeat that keeps it up. */
export interface Ttl {
  /** Whole seconds, as etcd grants them. */
  readonly seconds: number
  readonly heartbeat: Duration.Duration
}

/** The option that cannot be, and the rule that it breaks. */
export interface InvalidTtl {
  readonly field: "ttl" | "heartbeat"
  readonly value: unknown
  readonly rule: string
}

/** The time to live of a registration unless told otherwise. */
export const defaultTtl: Duration.Duration = Duration.seconds(15)

/** etcd's own limit, MaxLeaseTTL of its lease package. */
const maxSeconds = 9_000_000_000

/** Checks a time to live (rounded up to whole seconds) and its heartbeat, by default a third of it. */
export const make = (
  ttl: Duration.Input,
  heartbeat: Duration.Input | undefined
): Result.Result<Ttl, InvalidTtl> => {
  const seconds = Duration.fromInput(ttl).pipe(
    Option.map((d) => Math.ceil(Duration.toSeconds(d))),
    Option.getOrUndefined
  )
  if (seconds === undefined || !(seconds >= 2 && seconds <= maxSeconds)) {
    return Result.fail({
      field: "ttl",
      value: ttl,
      rule: `it must be a duration of 2 seconds to ${maxSeconds} seconds`
    })
  }
  const third = Duration.divideUnsafe(Duration.seconds(seconds), 3)
  const every = heartbeat === undefined ? third : Option.getOrUndefined(Duration.fromInput(heartbeat))
  const millis = every === undefined ? Number.NaN : Duration.toMillis(every)
  if (every === undefined || !(millis > 0 && millis * 2 <= seconds * 1000)) {
    return Result.fail({
      field: "heartbeat",
      value: heartbeat,
      rule: "it must be a duration above 0 and at most half of the ttl, so that two attempts fit"
    })
  }
  return Result.succeed({ seconds, heartbeat: every })
}

/**
 * The time to live of a lease and its heartbeat, checked.
 *
 * @module
 */
import { Duration } from "effect"
import type { Check } from "../internal/options.ts"

/** A time to live and its heartbeat. */
export interface Ttl {
  /** Whole seconds, as etcd grants them. */
  readonly seconds: number
  readonly heartbeat: Duration.Duration
}

/** The default time to live of a registration. */
export const defaultTtl: Duration.Duration = Duration.seconds(15)

/** The shortest time to live: one second would leave no time for a second heartbeat. */
const minTtl: Duration.Duration = Duration.seconds(2)

/** etcd's own limit, MaxLeaseTTL of its lease package. */
const maxTtl: Duration.Duration = Duration.seconds(9_000_000_000)

/** Checks a time to live and its heartbeat, by default a third of it. Rounds the time to live up to whole seconds. */
export const make = (check: Check, ttl: Duration.Input, heartbeat: Duration.Input | undefined): Ttl => {
  const seconds = Math.ceil(Duration.toSeconds(check.duration("ttl", ttl, { min: minTtl, max: maxTtl })))
  if (heartbeat === undefined) return { seconds, heartbeat: Duration.divideUnsafe(Duration.seconds(seconds), 3) }
  const max = Duration.divideUnsafe(Duration.seconds(seconds), 2)
  return { seconds, heartbeat: check.duration("heartbeat", heartbeat, { max }) }
}

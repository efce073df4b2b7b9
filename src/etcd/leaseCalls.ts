/**
 * The time limits of calls about a lease.
 *
 * @module
 */
import { Duration, type Effect, Exit } from "effect"
import { withLimit } from "../internal/time/withLimit.ts"
import type { Timers } from "../internal/time/Timers.ts"
import { DeadlineExceeded, EtcdError } from "./EtcdError.ts"
import type { Ttl } from "./Ttl.ts"

/** No call about a lease may take longer: a release waits for a grant that is in flight (R5). */
const maxCallMillis = Duration.toMillis("3 seconds")

/**
 * The limit of a call about a lease (R9): a third of the time to live, so that two more attempts fit.
 *
 * A grant or a claim that got no answer within its limit is repeated with twice the limit, up to the time to live and at
 * most 3 seconds. On an overloaded machine each answer may take longer than a third, and with a fixed limit a
 * registration would never get in. Heartbeats keep the third. They replace a silent connection, which ends the longer
 * call as well, and the expiry of the lease depends on neither.
 */
export const callMillis = (ttl: Ttl, attemptsWithoutAnswer: number = 0): number =>
  Math.min(maxCallMillis, ttl.seconds * 1000, ttl.seconds * 1000 / 3 * 2 ** attemptsWithoutAnswer)

/** Whether a call failed because it got no answer within its time. */
export const isUnanswered = ({ reason }: EtcdError): boolean => reason._tag === "DeadlineExceeded"

/** Fails a call that has no answer within `millis`, whatever the client's own timeouts are. */
export const within = <A>(
  call: Effect.Effect<A, EtcdError>,
  timers: Timers,
  method: string,
  millis: number
): Effect.Effect<A, EtcdError> =>
  withLimit(call, timers, millis, () =>
    Exit.fail(
      new EtcdError({ reason: new DeadlineExceeded({ detail: `no answer within ${Math.round(millis)} ms` }), method })
    ))

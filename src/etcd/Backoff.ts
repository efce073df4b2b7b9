/**
 * How long to wait before trying again.
 *
 * The default is exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
 * 2015): each delay is drawn evenly from nothing up to the capped exponential step, which spreads a crowd that lost the
 * same server better than a jitter around the step.
 *
 * @module
 */
import { Duration, Effect, Random, Schedule } from "effect"

/** Exponential from `base`, never above `cap`, each delay drawn evenly from 0 up to that; endless. */
export const fullJitter = (
  base: Duration.Input,
  cap: Duration.Input,
  factor = 2
): Schedule.Schedule<unknown> =>
  Schedule.min([Schedule.exponential(base, factor), Schedule.spaced(cap)]).pipe(
    Schedule.modifyDelay(({ duration }) => Effect.map(Random.next, (r) => Duration.times(duration, r)))
  )

/** After a lost registration or watch: 100 ms doubling up to 5 s, full jitter, endless. */
export const reregister: Schedule.Schedule<unknown> = fullJitter("100 millis", "5 seconds")

/** After an unanswered heartbeat or revoke, while the lease still runs: 50 ms doubling up to 500 ms, full jitter. */
export const heartbeat: Schedule.Schedule<unknown> = fullJitter("50 millis", "500 millis")

/** After etcd refused what may be permitted again, such as a role that is away for a while: 1 s doubling up to 10 s. */
export const refused: Schedule.Schedule<unknown> = fullJitter("1 second", "10 seconds")

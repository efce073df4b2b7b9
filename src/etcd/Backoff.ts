/**
 * Backoffs: how long to wait before a retry.
 *
 * The delays have full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): each is
 * random between 0 and the capped exponential step. It spreads clients that lost the same server better than jitter
 * around the step.
 *
 * @since 0.1.0
 * @module
 */
import { Cause, Duration, Effect, Random, Schedule } from "effect"
import type { EtcdError } from "./EtcdError.ts"

/**
 * An endless exponential backoff with full jitter: each delay is random from 0 to the step.
 *
 * **Details**
 *
 * The step starts at `base`, is multiplied by `factor` (default 2) each time, and is at most `cap`.
 *
 * @example
 * ```ts
 * import { Backoff, Registry } from "@effect-etcd/discovery"
 *
 * // 200 ms, 300 ms, 450 ms, … up to 10 s, each times a random factor below 1
 * const registry = Registry.layerMemory({ retry: Backoff.fullJitter("200 millis", "10 seconds", 1.5) })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fullJitter = (
  base: Duration.Input,
  cap: Duration.Input,
  factor = 2
): Schedule.Schedule<unknown> =>
  Schedule.min([Schedule.exponential(base, factor), Schedule.spaced(cap)]).pipe(
    Schedule.modifyDelay(({ duration }) => Effect.map(Random.next, (r) => Duration.times(duration, r)))
  )

/**
 * The default after a failure or a loss: 100 ms growing by 6 % up to 5 s, endless.
 *
 * **Details**
 *
 * With a factor f a delay is at most about 2(f − 1) of the time waited so far. So with a small factor, little of the
 * delay is left when etcd returns.
 *
 * @since 0.1.0
 * @category schedules
 */
export const standard: Schedule.Schedule<unknown> = fullJitter("100 millis", "5 seconds", 1.06)

/**
 * For heartbeats and revokes without a response, while the lease lasts: 50 ms doubling up to 500 ms.
 *
 * @internal
 */
export const heartbeat: Schedule.Schedule<unknown> = fullJitter("50 millis", "500 millis")

/**
 * After a refusal that may end, such as a role that is missing for a while: 1 s doubling up to 10 s.
 *
 * @internal
 */
export const refused: Schedule.Schedule<unknown> = fullJitter("1 second", "10 seconds")

/**
 * Adapts a schedule to calls of etcd. It ends at an error that is not retryable and when the client has closed; a delay
 * ends early when etcd is back (D12).
 *
 * @internal
 */
export const untilBack = (
  schedule: Schedule.Schedule<unknown, EtcdError>,
  recovered: Effect.Effect<void>
): Schedule.Schedule<void, EtcdError> =>
  Schedule.fromStep(
    Effect.map(Schedule.toStep(schedule), (step) => (now: number, error: EtcdError) =>
      error.retryable && error.reason._tag !== "Cancelled" ?
        Effect.flatMap(
          step(now, error),
          ([, delay]) =>
            Effect.as(Effect.raceFirst(Effect.sleep(delay), recovered), [undefined, Duration.zero])
        ) :
        Cause.done())
  )

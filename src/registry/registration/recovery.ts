/**
 * How the registrations of one registry come back: soon after the first of them, and not all in one burst (R4).
 *
 * @module
 */
import { type Duration, Effect, Random } from "effect"

/** Added for each other registration that waits, on average. */
const jitterPerWaiterMillis = 1

const maxJitterMillis = 1000

/** What the registrations of one registry share while they wait for etcd. */
export interface Recovery {
  /**
   * Sleeps for `delay`, or until another registration succeeds (etcd is back). Then adds random jitter: 1 ms for each
   * other waiting registration, at most 1 s.
   */
  readonly waitForRetry: (delay: Duration.Duration) => Effect.Effect<void>
  /** A registration has succeeded: wakes all that wait. */
  readonly succeeded: Effect.Effect<void>
}

/** Made once for a registry. */
export const make = (): Recovery => {
  let waiters = 0
  let sleeping = new Set<() => void>()

  const woken = Effect.callback<void>((resume) => {
    const wake = () => resume(Effect.void)
    sleeping.add(wake)
    return Effect.sync(() => sleeping.delete(wake))
  })

  const jitter = Effect.suspend(() => {
    const others = waiters - 1
    return others <= 0 ? Effect.void : Effect.flatMap(
      Random.next,
      (draw) => Effect.sleep(draw * Math.min(maxJitterMillis, others * jitterPerWaiterMillis))
    )
  })

  return {
    waitForRetry: (delay) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          waiters += 1
        }),
        () => Effect.andThen(Effect.raceFirst(Effect.sleep(delay), woken), jitter),
        () =>
          Effect.sync(() => {
            waiters -= 1
          })
      ),
    succeeded: Effect.sync(() => {
      const all = sleeping
      sleeping = new Set()
      for (const wake of all) wake()
    })
  }
}

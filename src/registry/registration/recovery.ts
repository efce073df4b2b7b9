/**
 * How the registrations of one registry come back: soon after one of them has, and not all in one burst.
 *
 * @module
 */
import { type Duration, Effect, Random } from "effect"

/** Milliseconds between two registrations that come back, on average. */
const apart = 1

/** The longest time, in milliseconds, over which registrations that come back are spread. */
const longestSpread = 1000

/** What registrations on their way back share. */
export interface Recovery {
  /**
   * Waits for a delay; less when another registration comes back meanwhile, since etcd answers then. Whoever has company
   * then waits a little more, by chance, so that a thousand do not come back at the same moment.
   */
  readonly rest: (delay: Duration.Duration) => Effect.Effect<void>
  /** A registration has come back. */
  readonly succeeded: Effect.Effect<void>
}

/** Made once for a registry. */
export const make = (): Recovery => {
  /** How many rest or are spread. */
  let many = 0
  const resting = new Set<() => void>()

  const woken = Effect.callback<void>((resume) => {
    const wake = () => resume(Effect.void)
    resting.add(wake)
    return Effect.sync(() => resting.delete(wake))
  })

  const spread = Effect.suspend(() => {
    const others = many - 1
    return others <= 0 ? Effect.void : Effect.flatMap(
      Random.next,
      (chance) => Effect.sleep(chance * Math.min(longestSpread, others * apart))
    )
  })

  return {
    rest: (delay) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          many += 1
        }),
        () => Effect.andThen(Effect.raceFirst(Effect.sleep(delay), woken), spread),
        () =>
          Effect.sync(() => {
            many -= 1
          })
      ),
    succeeded: Effect.sync(() => {
      const all = [...resting]
      resting.clear()
      for (const wake of all) wake()
    })
  }
}

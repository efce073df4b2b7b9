/**
 * Recovery of the registrations of one registry: as soon as etcd is back (D12), but not in one burst (R4).
 *
 * One fiber waits for etcd's return on behalf of all. Registrations that claim again take turns.
 *
 * @module
 */
import { type Context, type Duration, Effect, type Fiber } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import { lasting } from "../../internal/lasting.ts"
import * as Turns from "./turns.ts"

/** The waits of one registration. */
export interface Waiter {
  /**
   * Sleeps for `delay`, or until etcd is back, and then takes a turn. If etcd has come back since the last wait, there
   * is no delay, so a loss that is noticed late is repaired at once.
   */
  readonly waitForRetry: (delay: Duration.Duration) => Effect.Effect<void>
}

/** What the registrations of one registry share. */
export interface Recovery {
  /** Adds a registration. Nothing runs while there is none. */
  readonly enter: () => Waiter
  /** Removes a registration. */
  readonly leave: () => void
  /** The turn of a claim that follows a failure or a loss. */
  readonly claims: Turns.Turn
  /** Ends all delays, because a registration has succeeded after a failure. */
  readonly succeeded: Effect.Effect<void>
}

/** Made once for a registry. */
export const make = ({ recovered }: Pick<Etcd, "recovered">, context: Context.Context<never>): Recovery => {
  let registrations = 0
  let returns = 0
  let sleeping = new Set<() => void>()
  let awaitingReturn: Fiber.Fiber<never> | undefined

  const wakeAll = () => {
    const all = sleeping
    sleeping = new Set()
    for (const wake of all) wake()
  }

  const countReturns = lasting(Effect.map(recovered, () => {
    returns += 1
    wakeAll()
  }))

  const woken = Effect.callback<void>((resume) => {
    const wake = () => resume(Effect.void)
    sleeping.add(wake)
    return Effect.sync(() => sleeping.delete(wake))
  })

  const attempts = Turns.make(() => registrations, context)

  const makeWaiter = (): Waiter => {
    let seenReturns = returns
    return {
      waitForRetry: (delay) =>
        Effect.suspend(() =>
          Effect.andThen(seenReturns === returns ? Effect.raceFirst(Effect.sleep(delay), woken) : Effect.void, () => {
            seenReturns = returns
            return attempts
          })
        )
    }
  }

  return {
    enter: () => {
      registrations += 1
      awaitingReturn ??= Effect.runForkWith(context)(countReturns)
      return makeWaiter()
    },
    leave: () => {
      registrations -= 1
      if (registrations > 0) return
      awaitingReturn?.interruptUnsafe()
      awaitingReturn = undefined
    },
    claims: Turns.make(() => registrations, context),
    succeeded: Effect.sync(wakeAll)
  }
}

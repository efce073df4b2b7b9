/**
 * How the registrations of one registry come back: as soon as etcd does (D12), and not all in one burst (R4).
 *
 * One fiber waits for etcd's return on behalf of all. Registrations that are about to claim take turns, 1 ms apart.
 *
 * @module
 */
import { type Context, type Duration, Effect, type Fiber, type Scope } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"

/** Between two turns. With more than a thousand registrations it is less, so that all have a turn within a second. */
const turnMillis = 1

const maxSpreadMillis = 1000

/** The waits of one registration. */
export interface Waiter {
  /**
   * Sleeps for `delay`, or until etcd is back, and then takes a turn. If etcd has come back since the last wait, there is
   * no delay: a loss that is noticed after the return, or an attempt that fails late, does not rest through it.
   */
  readonly waitForRetry: (delay: Duration.Duration) => Effect.Effect<void>
}

/** What the registrations of one registry share. */
export interface Recovery {
  /** Adds a registration until the scope closes. Nothing runs while there is none. */
  readonly enter: Effect.Effect<Waiter, never, Scope.Scope>
  /** A registration has succeeded after a failure: ends the delay of all that sleep. */
  readonly succeeded: Effect.Effect<void>
}

/** Made once for a registry. */
export const make = ({ recovered }: Pick<Etcd, "recovered">, context: Context.Context<never>): Recovery => {
  let registrations = 0
  let returns = 0
  let nextTurn = -Infinity
  let sleeping = new Set<() => void>()
  let awaitingReturn: Fiber.Fiber<never> | undefined

  const wakeAll = () => {
    const all = sleeping
    sleeping = new Set()
    for (const wake of all) wake()
  }

  const countReturns = Effect.forever(Effect.map(recovered, () => {
    returns += 1
    wakeAll()
  }))

  const woken = Effect.callback<void>((resume) => {
    const wake = () => resume(Effect.void)
    sleeping.add(wake)
    return Effect.sync(() => sleeping.delete(wake))
  })

  const turn = Effect.flatMap(monotonicMillis, (now) => {
    const at = Math.max(now, nextTurn)
    nextTurn = at + Math.min(turnMillis, maxSpreadMillis / registrations)
    return at > now ? Effect.sleep(at - now) : Effect.void
  })

  const makeWaiter = (): Waiter => {
    let seenReturns = returns
    return {
      waitForRetry: (delay) =>
        Effect.suspend(() => {
          const isOver = seenReturns !== returns
          return Effect.andThen(isOver ? Effect.void : Effect.raceFirst(Effect.sleep(delay), woken), () => {
            seenReturns = returns
            return turn
          })
        })
    }
  }

  return {
    enter: Effect.acquireRelease(
      Effect.sync(() => {
        registrations += 1
        awaitingReturn ??= Effect.runForkWith(context)(countReturns)
        return makeWaiter()
      }),
      () =>
        Effect.sync(() => {
          registrations -= 1
          if (registrations > 0) return
          awaitingReturn?.interruptUnsafe()
          awaitingReturn = undefined
        })
    ),
    succeeded: Effect.sync(wakeAll)
  }
}

/**
 * Mass-loss protection: if too large a part of a service vanishes at once, keeps the vanished instances for a while.
 *
 * A pure step function. An instance that leaves without having been `"draining"` is a *loss* for `hold`, counted from
 * the moment it left, or until it comes back. While the losses exceed `maxLoss` of the instances that there would be
 * without losses, protection is on and holds all of them. It stays on until the last loss has passed, at most `hold`
 * after the last departure: it always ends.
 *
 * Related: Eureka's self-preservation mode (Netflix/eureka wiki, "Understanding Eureka Peer to Peer Communication"),
 * which has no time limit.
 *
 * @module
 */
import { Duration } from "effect"
import type { ServiceInstance } from "../model/Instance.ts"

/**
 * Limits of mass-loss protection.
 *
 * **Details**
 *
 * If more than `maxLoss` of a service disappears within `hold` without having been `"draining"`, those instances stay
 * in the set and are listed in `held`, until they return or `hold` has passed.
 *
 * @since 0.1.0
 * @category options
 */
export interface MassLossProtection {
  /** The fraction of a service, 0 to 1, that may vanish within `hold`. */
  readonly maxLoss: number
  /** The longest time for which a vanished instance is kept. */
  readonly hold: Duration.Input
}

/** The recent losses. */
export interface Protection<M> {
  readonly losses: ReadonlyMap<string, { readonly instance: ServiceInstance<M>; readonly until: number }>
  readonly active: boolean
}

/** No losses. */
export const initial: Protection<never> = { losses: new Map(), active: false }

/** A change of a service. */
export interface Step<M> {
  /** Milliseconds. */
  readonly now: number
  /** The instances that left, in their last state. */
  readonly left: ReadonlyArray<ServiceInstance<M>>
  /** Whether an instance is in etcd now. */
  readonly isPresent: (id: string) => boolean
  /** How many instances are in etcd now. */
  readonly present: number
}

/** The protection after a step. */
export const step = <M>(
  protect: MassLossProtection,
  before: Protection<M>,
  { now, left, isPresent, present }: Step<M>
): Protection<M> => {
  const losses = new Map<string, { readonly instance: ServiceInstance<M>; readonly until: number }>()
  for (const [id, loss] of before.losses) {
    if (loss.until > now && !isPresent(id)) losses.set(id, loss)
  }
  const until = now + Duration.toMillis(protect.hold)
  for (const instance of left) {
    if (instance.status !== "draining" && !isPresent(instance.id)) losses.set(instance.id, { instance, until })
  }
  if (losses.size === 0) return initial
  return { losses, active: before.active || losses.size > protect.maxLoss * (present + losses.size) }
}

/** The instances that are kept. */
export const held = <M>(protection: Protection<M>): ReadonlyMap<string, ServiceInstance<M>> =>
  protection.active ? new Map(Array.from(protection.losses, ([id, { instance }]) => [id, instance])) : new Map()

/** When the next loss passes, in milliseconds, or `undefined` when there is none. */
export const nextExit = ({ losses }: Protection<unknown>): number | undefined => {
  let next: number | undefined
  for (const { until } of losses.values()) next = Math.min(next ?? until, until)
  return next
}

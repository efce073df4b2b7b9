/**
 * Mass-loss protection: when too large a part of a service vanishes at once, keep what vanished for a while.
 *
 * A pure step function. An instance that leaves without having been `"draining"` is a *loss* for `hold`, counted from
 * the moment it left, or until it comes back. While the losses are more than `maxLoss` of what would be there without
 * them, protection is on and all of them are held. It stays on until the last loss has passed, which is at most `hold`
 * after the last departure: it always exits.
 *
 * Related: Eureka's self-preservation mode (Netflix/eureka wiki, "Understanding Eureka Peer to Peer Communication"),
 * which has no time limit.
 *
 * @module
 */
import { Duration } from "effect"
import type { ServiceInstance } from "../model/Instance.ts"

/**
 * When mass-loss protection keeps instances that disappeared.
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
  /** How long a vanished instance is kept at most. */
  readonly hold: Duration.Input
}

/** What has vanished of late. */
export interface Protection<M> {
  readonly losses: ReadonlyMap<string, { readonly instance: ServiceInstance<M>; readonly until: number }>
  readonly active: boolean
}

/** Nothing has vanished. */
export const initial: Protection<never> = { losses: new Map(), active: false }

/** What happened to a service at one moment. */
export interface Step<M> {
  /** Milliseconds. */
  readonly now: number
  /** The instances that left at this moment, as they were last. */
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
export const nextExit = (protection: Protection<unknown>): number | undefined =>
  protection.losses.size === 0 ? undefined : Math.min(...Array.from(protection.losses.values(), ({ until }) => until))

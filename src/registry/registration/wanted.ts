/**
 * What a registration is to publish: the instance as its owner wants it, and what an operator has put over it (R12).
 *
 * Everything here is pure.
 *
 * @module
 */
import type { InstanceStatus, ServiceInstance } from "../model/Instance.ts"
import type { InstancePatch } from "./RegisterOptions.ts"

/** What an operator wrote into the value of the key. It lasts as long as the registration. */
export interface Override {
  readonly draining: boolean
  readonly weight: number | undefined
}

/** See the module's description. */
export interface Wanted<M> {
  /** As the options, updates, `drain` and health say. */
  readonly instance: ServiceInstance<M>
  readonly override: Override
}

/** What is wanted at first. */
export const make = <M>(instance: ServiceInstance<M>): Wanted<M> => ({
  instance,
  override: { draining: false, weight: undefined }
})

/** The instance to write. Health decides between `"up"`, `"starting"` and `"down"` unless the owner or an operator does. */
export const published = <M>(
  { instance, override: { draining, weight } }: Wanted<M>,
  health: InstanceStatus | undefined
): ServiceInstance<M> => {
  const isGated = health !== undefined && (instance.status === "up" || instance.status === "starting")
  const status = draining ? "draining" : isGated ? health : instance.status
  return status === instance.status && weight === undefined ?
    instance :
    { ...instance, status, weight: weight ?? instance.weight }
}

/** After an `update`. A weight of the owner replaces the operator's. */
export const withPatch = <M>({ instance, override }: Wanted<M>, patch: InstancePatch<M>): Wanted<M> => ({
  instance: { ...instance, ...patch },
  override: patch.weight === undefined ? override : { ...override, weight: undefined }
})

/** After `drain`. */
export const withDrain = <M>(wanted: Wanted<M>): Wanted<M> => ({
  ...wanted,
  instance: { ...wanted.instance, status: "draining" }
})

/**
 * After an operator changed `before`, the instance that was written last, into `found`.
 *
 * `"draining"` and another weight are adopted, `"up"` ends the operator's draining. Every other change is ignored, and
 * with that undone by the next write.
 */
export const adopt = <M>(
  { instance, override }: Wanted<M>,
  before: ServiceInstance<M>,
  found: ServiceInstance<M>
): Wanted<M> => {
  const isStatusNew = found.status !== before.status
  return {
    instance,
    override: {
      draining: isStatusNew && found.status === "draining" ?
        true :
        isStatusNew && found.status === "up" ?
        false :
        override.draining,
      weight: found.weight === before.weight ? override.weight : found.weight
    }
  }
}

/**
 * The value that a registration publishes: the owner's instance with an operator's overrides (R12).
 *
 * Everything here is pure.
 *
 * @module
 */
import type { InstanceStatus, ServiceInstance } from "../model/Instance.ts"
import type { InstancePatch } from "./RegisterOptions.ts"

/** An operator's overrides. They last as long as the registration. */
export interface Override {
  readonly draining: boolean
  readonly weight: number | undefined
}

/** See the module's description. */
export interface Wanted<M> {
  /** The instance from the options, updates, `drain` and health. */
  readonly instance: ServiceInstance<M>
  readonly override: Override
}

/** The first value to publish. */
export const make = <M>(instance: ServiceInstance<M>): Wanted<M> => ({
  instance,
  override: { draining: false, weight: undefined }
})

/** The instance to write. Health decides its status unless the owner or an operator drains it. */
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
 * After an operator changed `before`, the instance that was written last, to `found`.
 *
 * `"draining"` and another weight are adopted, `"up"` ends the operator's draining. Every other change is ignored, so
 * the next write undoes it.
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

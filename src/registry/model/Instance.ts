/**
 * One running copy of a service, as its registration describes it.
 *
 * @module
 */
import { Order, Schema } from "effect"

/** Whether an instance wants traffic: only `"up"` does. */
export const InstanceStatus: Schema.Literals<readonly ["up", "starting", "draining", "down"]> = Schema.Literals([
  "up",
  "starting",
  "draining",
  "down"
])

/** Whether an instance wants traffic: only `"up"` does. */
export type InstanceStatus = typeof InstanceStatus.Type

/**
 * Metadata of strings: what a service has that is only a name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Labels {
  readonly [name: string]: string
}

/** One running copy of a service. A plain immutable value: two with equal members are equal for `Equal.equals`. */
export interface ServiceInstance<M = Labels> {
  /** Unique within the service. */
  readonly id: string
  /** The service. */
  readonly name: string
  readonly version?: string
  readonly metadata: M
  /** Absolute URLs, at least one. */
  readonly endpoints: ReadonlyArray<string>
  /** Relative share of the traffic, 0 or more; 0 means none. */
  readonly weight: number
  readonly zone?: string
  readonly status: InstanceStatus
}

/** The largest weight that is written or read. */
export const maxWeight = 1_000_000

/** Whether a value is a weight: a number from 0 to {@link maxWeight}. */
export const isValidWeight = (value: unknown): value is number =>
  typeof value === "number" && value >= 0 && value <= maxWeight

/** Orders instances by id. */
export const byId: Order.Order<ServiceInstance<unknown>> = Order.make((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

/** Whether an instance is to get traffic: it is `"up"` and its weight is above 0. */
export const isAvailable = (instance: ServiceInstance<unknown>): boolean =>
  instance.status === "up" && instance.weight > 0

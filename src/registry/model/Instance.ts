/**
 * One running copy of a service, as its registration describes it.
 *
 * @since 0.1.0
 * @module
 */
import { Order, Schema } from "effect"

/**
 * The schema of {@link InstanceStatus}.
 *
 * @since 0.1.0
 * @category schemas
 */
export const InstanceStatus: Schema.Literals<readonly ["up", "starting", "draining", "down"]> = Schema.Literals([
  "up",
  "starting",
  "draining",
  "down"
])

/**
 * The status that an instance publishes. Only an instance that is `"up"` gets traffic.
 *
 * **Details**
 *
 * `"starting"`: its health check has not succeeded yet. `"draining"`: it is about to leave. `"down"`: its health check
 * fails.
 *
 * @since 0.1.0
 * @category models
 */
export type InstanceStatus = typeof InstanceStatus.Type

/**
 * Metadata of strings: the metadata of a service that is only a name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Labels {
  readonly [name: string]: string
}

/**
 * One running copy of a service: an immutable value.
 *
 * **Details**
 *
 * Two instances with equal members are equal for `Equal.equals`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceInstance<M = Labels> {
  /** Unique within the service. */
  readonly id: string
  /** The name of the service. */
  readonly name: string
  /** The version of the program. */
  readonly version?: string
  /** Typed by the schema of the service, or strings. */
  readonly metadata: M
  /** Absolute URLs, at least one. */
  readonly endpoints: ReadonlyArray<string>
  /** The share of the traffic, relative to other instances, 0 to 1,000,000; 0 means none. */
  readonly weight: number
  /** Where the instance runs, for zone-aware balancing. */
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

/** Whether an instance gets traffic: it is `"up"` and its weight is above 0. */
export const isAvailable = (instance: ServiceInstance<unknown>): boolean =>
  instance.status === "up" && instance.weight > 0

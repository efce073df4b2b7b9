/**
 * The statistics of a service client at one moment.
 *
 * @module
 */
import type { Option } from "effect"
import type { Freshness } from "../../etcd/Freshness.ts"
import type { ServiceInstance } from "../../registry/model/Instance.ts"
import type { ConnectionStatus } from "./Connection.ts"
import type * as Metrics from "./metrics.ts"

/**
 * The statistics of one instance.
 *
 * @since 0.1.0
 * @category models
 */
export interface InstanceState<M = unknown> {
  readonly instance: ServiceInstance<M>
  readonly client: ConnectionStatus
  /** The number of attempts that were sent to it. */
  readonly requests: number
  /** The number of those that failed. */
  readonly failures: number
  readonly inFlight: number
  /** The moving average of its latency in milliseconds, over ten seconds. Missing before the first success. */
  readonly ewma: Option.Option<number>
  /** `"out"` while it waits for its next `connect`. */
  readonly health: "healthy" | "ejected" | "probing" | "out"
  /** The milliseconds until it may get calls again. 0 if it may now. */
  readonly outFor: number
  /** The number of ejections in a row. */
  readonly ejections: number
}

/**
 * The statistics of a service client.
 *
 * @since 0.1.0
 * @category models
 */
export interface State<M = unknown> extends Readonly<Metrics.Totals> {
  readonly service: string
  /** The name of the strategy. */
  readonly strategy: string
  /** Missing before the first set. */
  readonly revision: Option.Option<bigint>
  readonly freshness: Option.Option<Freshness>
  /** Why discovery currently fails: a `DiscoveryError` or a defect. It is retried. */
  readonly refused: Option.Option<Error>
  /** The retries that the budget has left. */
  readonly budget: number
  /** Ordered by id. */
  readonly instances: ReadonlyArray<InstanceState<M>>
}

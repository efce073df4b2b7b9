/**
 * What is to be seen of a service and its instances: the numbers of one moment.
 *
 * @module
 */
import type { Option } from "effect"
import type { DiscoveryError } from "../registry/discovery/Discovery.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type { Freshness } from "../etcd/Freshness.ts"
import type { ConnectionStatus } from "./Connection.ts"
import type * as Metrics from "./metrics.ts"

/** How one instance is doing, as seen from here. */
export interface EndpointState<M = unknown> {
  readonly instance: ServiceInstance<M>
  readonly client: ConnectionStatus
  /** Attempts that were sent to it. */
  readonly requests: number
  /** Those of them that failed. */
  readonly failures: number
  readonly inFlight: number
  /** Its latency in milliseconds, averaged with a time constant of ten seconds; none before the first answer. */
  readonly ewma: Option.Option<number>
  /** `"out"` while its `connect` backs off. */
  readonly health: "healthy" | "ejected" | "probing" | "out"
  /** For how many milliseconds from now it gets no call; 0 when it may. */
  readonly outFor: number
  /** How often it was ejected in a row. */
  readonly ejections: number
}

/** How a service is doing, as seen from here. */
export interface EndpointsState<M = unknown> extends Readonly<Metrics.Totals> {
  readonly service: string
  readonly strategy: string
  /** None before the first set. */
  readonly revision: Option.Option<bigint>
  readonly freshness: Option.Option<Freshness>
  /** Why discovery is refused at the moment. */
  readonly refused: Option.Option<DiscoveryError>
  /** Retries that the budget has left. */
  readonly budget: number
  /** Ordered by id. */
  readonly instances: ReadonlyArray<EndpointState<M>>
}

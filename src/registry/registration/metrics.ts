/**
 * The metrics of registrations.
 *
 * @module
 */
import { Clock, Context, type Metric } from "effect"
import { type Family, serviceCounter, SourceGauges } from "../../internal/metrics.ts"
import type { RegistrationStatus } from "./phase.ts"

/** Counts claims that put an instance into etcd. */
export const claims: (service: string) => Metric.Counter<number> = serviceCounter(
  "etcd_discovery_claims_total",
  "Claims that put an instance into etcd, first ones and after a loss"
)

/** Counts losses. */
export const losses: (service: string) => Metric.Counter<number> = serviceCounter(
  "etcd_discovery_registrations_lost_total",
  "Registrations that were lost and had to be made again"
)

/** The state of a registration that the gauges read. */
export interface Source {
  readonly status: RegistrationStatus
  /** When the lease expires unless a heartbeat is acknowledged: milliseconds of the monotonic clock. */
  readonly leaseExpiresAt: (() => number) | undefined
}

/** Every status but `Released`, which has left the process. */
const statuses = ["Registering", "Registered", "Recovering", "Draining", "Superseded", "Failed"] as const

const leaseLeft = ({ leaseExpiresAt, status }: Source, now: number): number => {
  const isInEtcd = status._tag === "Registered" || status._tag === "Draining"
  return isInEtcd && leaseExpiresAt !== undefined ? Math.max(0, leaseExpiresAt() - now) / 1000 : 0
}

/** The gauges of registrations, by service. */
export const registrations: SourceGauges<Source> = new SourceGauges<Source>([
  ...statuses.map((status): Family<Source> => ({
    id: "etcd_discovery_registrations",
    description: "Registrations of this process by status",
    attributes: { status: status.toLowerCase() },
    read: (sources) => {
      let count = 0
      for (const source of sources) if (source.status._tag === status) count += 1
      return count
    }
  })),
  {
    id: "etcd_discovery_lease_remaining_seconds",
    description: "Time until the first lease expires if no heartbeat is acknowledged; 0 while a registration has none",
    read: (sources, context) => {
      const now = Number(Context.get(context, Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6
      let least = Infinity
      for (const source of sources) least = Math.min(least, leaseLeft(source, now))
      return least
    }
  }
])

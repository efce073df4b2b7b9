/**
 * The metrics of a client of etcd.
 *
 * @module
 */
import { type Context, Metric } from "effect"
import { SourceGauges } from "../../internal/metrics.ts"

/** Seconds. A write to etcd includes a write to its disk. */
const boundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

/** The metrics that calls of a method update. */
export interface CallMetrics {
  readonly succeeded: (millis: number) => void
  readonly failed: (millis: number) => void
}

/** Makes the metrics of a method. */
export const ofMethod = (method: string, context: Context.Context<never>): CallMetrics => {
  const attributes = { method }
  const durations = Metric.histogram("etcd_discovery_etcd_call_duration_seconds", {
    description: "Calls to etcd, connecting and authentication included",
    boundaries,
    attributes
  })
  const failures = Metric.counter("etcd_discovery_etcd_calls_failed_total", {
    description: "Calls to etcd that failed or were refused",
    incremental: true,
    attributes
  })
  durations.valueUnsafe(context)
  failures.updateUnsafe(0, context)
  const succeeded = (millis: number) => durations.updateUnsafe(millis / 1000, context)
  return {
    succeeded,
    failed: (millis) => {
      succeeded(millis)
      failures.updateUnsafe(1, context)
    }
  }
}

/** The state of a client that the gauge reads. */
export interface Source {
  readonly isAway: () => boolean
}

/** The gauge of the connection to etcd. */
export const connections: SourceGauges<Source> = new SourceGauges<Source>([{
  id: "etcd_discovery_etcd_reachable",
  description: "1 unless the newest call to etcd got no response",
  read: (sources) => {
    for (const { isAway } of sources) if (isAway()) return 0
    return 1
  }
}])

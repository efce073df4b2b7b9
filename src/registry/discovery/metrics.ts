/**
 * The metrics of discovery.
 *
 * @module
 */
import { Clock, Context, Effect, type Metric } from "effect"
import { type Family, serviceCounter, SourceGauges } from "../../internal/metrics.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import { InstanceStatus } from "../model/Instance.ts"
import { countByStatus, type InstanceSet } from "../model/InstanceSet.ts"

/** The `service` label of a watch on all services. */
export const allServices = "*"

/** Counts complete reads. */
export const lists: (service: string) => Metric.Counter<number> = serviceCounter(
  "etcd_discovery_lists_total",
  "Complete reads by a watch, the first one included"
)

/** Counts what reconciliation repaired. */
export const repairs: (service: string) => Metric.Counter<number> = serviceCounter(
  "etcd_discovery_reconciliation_repairs_total",
  "Keys in which a live watch was wrong; anything but 0 is a defect, or a replaced history"
)

/** Counts values that do not decode. */
export const rejectedValues: (service: string) => Metric.Counter<number> = serviceCounter(
  "etcd_discovery_rejected_values_total",
  "Values that are no instance, counted once per revision"
)

/** How current a watch is. */
export interface Currency {
  /** When the watch was last current, in milliseconds of the monotonic clock. `undefined` while it is live. */
  staleSince: number | undefined
}

/** The state of a followed service that the gauges read. */
export interface Source {
  /** The prefix of the service's keys. Two watches on the same keys count once. */
  readonly prefix: string
  readonly currency: Currency
  /** `undefined` before the first one. */
  readonly set: () => InstanceSet<unknown> | undefined
}

/** The newest source of each prefix. */
const distinct = (sources: Iterable<Source>): Iterable<Source> =>
  new Map(Array.from(sources, (source) => [source.prefix, source])).values()

const sum = (sources: Iterable<Source>, read: (set: InstanceSet<unknown>) => number): number => {
  let total = 0
  for (const source of distinct(sources)) {
    const set = source.set()
    if (set !== undefined) total += read(set)
  }
  return total
}

/** The gauges of the services that are followed, by service. */
const followed: SourceGauges<Source> = new SourceGauges<Source>([
  ...InstanceStatus.literals.map((status): Family<Source> => ({
    id: "etcd_discovery_instances",
    description: "Instances of the services that this process follows, by status",
    attributes: { status },
    read: (sources) => sum(sources, (set) => countByStatus(set)[status])
  })),
  {
    id: "etcd_discovery_rejected_keys",
    description: "Keys of a service that are no instance now",
    read: (sources) => sum(sources, (set) => set.rejected.length)
  },
  {
    id: "etcd_discovery_set_age_seconds",
    description: "Time since the set was known to be current: 0 while its watch is live",
    read: (sources, context) => {
      const now = Number(Context.get(context, Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6
      let oldest = 0
      for (const { currency: { staleSince = now } } of sources) oldest = Math.max(oldest, now - staleSince)
      return oldest / 1000
    }
  }
])

/** Adds the gauges of a service that a watch follows. The returned function removes them. */
export type Track = (service: string, prefix: string, newest: Source["set"]) => () => void

/** Makes the metrics of a new watch, in the metric registry of the context. */
export const ofWatch: Effect.Effect<{ readonly currency: Currency; readonly track: Track }> = Effect.contextWith(
  (context: Context.Context<never>) =>
    Effect.map(monotonicMillis, (now) => {
      const currency: Currency = { staleSince: now }
      return {
        currency,
        track: (service, prefix, set) => followed.add(context, { service }, { prefix, currency, set })
      }
    })
)

/**
 * Metrics with a `service` label: counters that exist at 0 before they count, and gauges that are read when metrics are.
 *
 * @module
 */
import { Context, Metric } from "effect"

/** A service beyond this number shares the label `other`: a process may call names that come from its requests. */
const maxServices = 200

/** A counter with one series for each service. */
export const serviceCounter = (id: string, description: string): (service: string) => Metric.Counter<number> => {
  const series = new Map<string, Metric.Counter<number>>()
  return (service) => {
    const label = series.has(service) || series.size < maxServices ? service : "other"
    const known = series.get(label)
    if (known !== undefined) return known
    const counter = Metric.counter(id, { description, incremental: true, attributes: { service: label } })
    series.set(label, counter)
    return counter
  }
}

/** A gauge over the sources of one group. */
export interface Family<S> {
  readonly id: string
  readonly description: string
  readonly attributes?: Readonly<Record<string, string>>
  readonly read: (sources: Iterable<S>, context: Context.Context<never>) => number
}

interface Group<S> {
  readonly sources: Set<S>
  readonly series: ReadonlyArray<Metric.Registration>
}

/** Groups without series: a namespace that someone fills must not fill the metrics, too. */
const maxGroups = 1000

/**
 * Gauges that are computed from live objects, the sources, at each snapshot. A source costs nothing in between.
 *
 * Sources with the same labels form a group, which has one series of each family while it has a source. The groups of
 * each metric registry are separate.
 */
export class SourceGauges<S> {
  readonly #families: ReadonlyArray<Family<S>>
  readonly #registries = new WeakMap<Metric.MetricRegistry, Map<string, Group<S>>>()

  constructor(families: ReadonlyArray<Family<S>>) {
    this.#families = families
  }

  /** Adds a source. The returned function removes it. */
  add(context: Context.Context<never>, labels: Readonly<Record<string, string>>, source: S): () => void {
    const registry = Context.get(context, Metric.MetricRegistry)
    const groups = this.#registries.get(registry) ?? new Map<string, Group<S>>()
    this.#registries.set(registry, groups)
    const key = JSON.stringify(labels)
    const group = groups.get(key) ?? (groups.size < maxGroups ? this.#open(context, labels) : undefined)
    if (group === undefined) return () => {}
    groups.set(key, group)
    group.sources.add(source)
    return () => {
      group.sources.delete(source)
      if (group.sources.size > 0 || groups.get(key) !== group) return
      groups.delete(key)
      for (const series of group.series) series.remove()
    }
  }

  #open(context: Context.Context<never>, labels: Readonly<Record<string, string>>): Group<S> {
    const sources = new Set<S>()
    return {
      sources,
      series: this.#families.map(({ attributes, description, id, read }) =>
        Metric.registerUnsafe(Metric.gauge(id, { description, attributes: { ...labels, ...attributes } }), context, {
          get: () => ({ value: read(sources, context) }),
          update: () => {},
          modify: () => {}
        })
      )
    }
  }
}

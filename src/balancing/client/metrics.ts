/**
 * The metrics of service clients. Only a snapshot of the metrics reads the statistics; calls update no metric.
 *
 * The series of an instance are removed when it leaves. The number of instances with series is limited, because each
 * start of a process adds a new id. The series of the service and `ServiceClient.state` include instances without
 * series.
 *
 * @module
 */
import { type Context, Metric } from "effect"

/**
 * The counters of a service client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Totals {
  /** Calls. */
  calls: number
  /** Calls that failed: no instance, or no attempt left. */
  failures: number
  /** Attempts of calls, retries and hedges included. */
  attempts: number
  /** Attempts after a failed one. */
  retries: number
  /** Attempts beside a slow one. */
  hedges: number
  /** Retries and hedges that the retry budget did not allow. */
  overBudget: number
  /** Ejections of instances. */
  ejections: number
  /** Failed connects. */
  connectFailures: number
}

/** Counters at 0. */
export const zero = (): Totals => ({
  calls: 0,
  failures: 0,
  attempts: 0,
  retries: 0,
  hedges: 0,
  overBudget: 0,
  ejections: 0,
  connectFailures: 0
})

/** The numbers of an instance. */
export interface InstanceNumbers {
  readonly requests: number
  readonly failures: number
  readonly inFlight: number
  /** Milliseconds. 0 before the first success. */
  readonly ewma: number
  readonly ejected: boolean
}

type Read = () => number
type Register = (context: Context.Context<never>, attributes: Record<string, string>, read: Read) => Metric.Registration

const counter = (id: string, description: string): Register => (context, attributes, read) =>
  Metric.registerUnsafe(Metric.counter(id, { description, incremental: true, attributes }), context, {
    get: () => ({ count: read(), incremental: true }),
    update: () => {},
    modify: () => {}
  })

const gauge = (id: string, description: string): Register => (context, attributes, read) =>
  Metric.registerUnsafe(Metric.gauge(id, { description, attributes }), context, {
    get: () => ({ value: read() }),
    update: () => {},
    modify: () => {}
  })

const totals: Readonly<Record<keyof Totals, Register>> = {
  calls: counter("etcd_discovery_calls_total", "Calls through service clients"),
  failures: counter("etcd_discovery_calls_failed_total", "Calls that failed: no instance, or no attempt left"),
  attempts: counter("etcd_discovery_call_attempts_total", "Attempts of calls, retries and hedges included"),
  retries: counter("etcd_discovery_call_retries_total", "Attempts after a failed one"),
  hedges: counter("etcd_discovery_call_hedges_total", "Attempts beside a slow one"),
  overBudget: counter(
    "etcd_discovery_call_retries_refused_total",
    "Retries and hedges that the retry budget did not allow"
  ),
  ejections: counter("etcd_discovery_ejections_total", "Ejections of instances whose calls failed"),
  connectFailures: counter("etcd_discovery_connects_failed_total", "Failed connects to instances")
}

const instances: Readonly<Record<string, readonly [Register, (numbers: InstanceNumbers) => number]>> = {
  requests: [
    counter("etcd_discovery_instance_requests_total", "Attempts sent to an instance"),
    ({ requests }) => requests
  ],
  failures: [
    counter("etcd_discovery_instance_failures_total", "Attempts at an instance that failed"),
    ({ failures }) => failures
  ],
  inFlight: [
    gauge("etcd_discovery_instance_in_flight", "Attempts in flight at an instance"),
    ({ inFlight }) => inFlight
  ],
  ewma: [
    gauge("etcd_discovery_instance_ewma_seconds", "Moving average of the latency of an instance"),
    ({ ewma }) => ewma / 1000
  ],
  ejected: [
    gauge("etcd_discovery_instance_ejected", "1 while an instance is ejected or probed"),
    (n) => n.ejected ? 1 : 0
  ]
}

/** Seconds. */
const boundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** How long attempts took, in buckets. */
export class Durations {
  readonly #buckets = new Float64Array(boundaries.length + 1)
  #count = 0
  #sum = 0
  #min = Number.MAX_VALUE
  #max = -Number.MAX_VALUE

  add(millis: number): void {
    const seconds = millis / 1000
    let bucket = 0
    while (bucket < boundaries.length && seconds > (boundaries[bucket] ?? 0)) bucket += 1
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1
    this.#count += 1
    this.#sum += seconds
    this.#min = Math.min(this.#min, seconds)
    this.#max = Math.max(this.#max, seconds)
  }

  get state(): Metric.HistogramState {
    let sum = 0
    const buckets = boundaries.map((boundary, index): [number, number] => [boundary, sum += this.#buckets[index] ?? 0])
    return { buckets, count: this.#count, sum: this.#sum, min: this.#min, max: this.#max }
  }
}

const durations: (
  context: Context.Context<never>,
  attributes: Record<string, string>,
  read: Durations
) => Metric.Registration = (context, attributes, read) =>
  Metric.registerUnsafe(
    Metric.histogram("etcd_discovery_call_attempt_duration_seconds", {
      description: "Attempts of calls that succeeded or failed; interrupted ones are left out",
      boundaries,
      attributes
    }),
    context,
    { get: () => read.state, update: () => {}, modify: () => {} }
  )

/** Registers the series of a service. The returned function removes them. */
export const ofService = (
  context: Context.Context<never>,
  attributes: Record<string, string>,
  read: Totals,
  attempts: Durations
): () => void => {
  const registered = [
    ...Object.entries(totals).map(([name, register]) =>
      register(context, attributes, () => read[name as keyof Totals])
    ),
    durations(context, attributes, attempts)
  ]
  return () => registered.forEach((registration) => registration.remove())
}

/** Registers the series of an instance. The returned function removes them. */
export const ofInstance = (
  context: Context.Context<never>,
  attributes: Record<string, string>,
  read: () => InstanceNumbers
): () => void => {
  const registered = Object.values(instances).map(([register, pick]) =>
    register(context, attributes, () => pick(read()))
  )
  return () => registered.forEach((registration) => registration.remove())
}

/**
 * What endpoints tell Effect's metrics. The numbers are read when somebody takes a snapshot; calls pay nothing for it.
 *
 * Series of an instance are removed when it leaves, and there are those of at most so many instances at a time, so that
 * ids, which are new with each start of a process, do not pile up. What has no series of its own is still in the series
 * of the service and in `Endpoints.state`.
 *
 * @module
 */
import { type Context, Metric } from "effect"

/** What is counted for a service. */
export interface Totals {
  calls: number
  failures: number
  attempts: number
  retries: number
  hedges: number
  overBudget: number
  ejections: number
  connectFailures: number
}

/** Nothing was counted yet. */
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

/** What is told of an instance. */
export interface InstanceNumbers {
  readonly requests: number
  readonly failures: number
  readonly inFlight: number
  /** Milliseconds; 0 before the first answer. */
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
  calls: counter("etcd_discovery_calls", "Calls through endpoints"),
  failures: counter("etcd_discovery_calls_failed", "Calls that came to nothing: no instance, or no attempt left"),
  attempts: counter("etcd_discovery_call_attempts", "Attempts of calls, retries and hedges included"),
  retries: counter("etcd_discovery_call_retries", "Attempts after one that failed"),
  hedges: counter("etcd_discovery_call_hedges", "Attempts beside one that took long"),
  overBudget: counter("etcd_discovery_call_retries_refused", "Retries and hedges that the retry budget did not allow"),
  ejections: counter("etcd_discovery_ejections", "Instances taken out because calls to them failed"),
  connectFailures: counter("etcd_discovery_connects_failed", "Instances that could not be connected to")
}

const instances: Readonly<Record<string, readonly [Register, (numbers: InstanceNumbers) => number]>> = {
  requests: [counter("etcd_discovery_instance_requests", "Attempts sent to an instance"), ({ requests }) => requests],
  failures: [counter("etcd_discovery_instance_failures", "Attempts that failed there"), ({ failures }) => failures],
  inFlight: [gauge("etcd_discovery_instance_in_flight", "Attempts that have not ended"), ({ inFlight }) => inFlight],
  ewma: [gauge("etcd_discovery_instance_ewma_ms", "Moving average of its latency, milliseconds"), ({ ewma }) => ewma],
  ejected: [gauge("etcd_discovery_instance_ejected", "1 while it is ejected or probed"), (n) => n.ejected ? 1 : 0]
}

/** Registers the series of a service; what is returned removes them. */
export const ofService = (
  context: Context.Context<never>,
  attributes: Record<string, string>,
  read: Totals
): () => void => {
  const registered = Object.entries(totals).map(([name, register]) =>
    register(context, attributes, () => read[name as keyof Totals])
  )
  return () => registered.forEach((registration) => registration.remove())
}

/** Registers the series of an instance; what is returned removes them. */
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

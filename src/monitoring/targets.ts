/**
 * Instances as targets of Prometheus' HTTP service discovery.
 *
 * Instances come from etcd, where anyone with a role may have written them. A target is a checked `host:port`. Labels
 * are `__scheme__` and `__meta_…` labels, which reach no series unless the scrape configuration keeps them.
 *
 * @module
 */
import type { InstanceStatus, ServiceInstance } from "../registry/model/Instance.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"

/** A group of targets in Prometheus' format. */
export interface TargetGroup {
  readonly targets: ReadonlyArray<string>
  readonly labels: Readonly<Record<string, string>>
}

/** The parameters of a request. */
export interface Query {
  /** Empty: every service. */
  readonly services: ReadonlySet<string>
  /** Empty: every status. */
  readonly statuses: ReadonlySet<InstanceStatus>
  /** The scheme of the endpoint to scrape. Default: `http` or `https`, whichever comes first. */
  readonly scheme: string | undefined
}

/** Longer values are omitted. */
const maxLabelLength = 1024
/** Further members of the metadata are omitted. */
const maxMetadata = 64

const defaultPorts: Readonly<Record<string, string>> = { http: "80", https: "443" }

/** A name or an address, without any other part of a URL. */
const host = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])$/i

interface Address {
  readonly scheme: string
  readonly hostPort: string
  readonly endpoint: string
}

const addressOf = (endpoint: string): Address | undefined => {
  if (!URL.canParse(endpoint)) return undefined
  const { hostname, port, protocol } = new URL(endpoint)
  const scheme = protocol.slice(0, -1)
  const number = port === "" ? defaultPorts[scheme] : port
  if (number === undefined || !host.test(hostname)) return undefined
  return { scheme, hostPort: `${hostname}:${number}`, endpoint }
}

const addressToScrape = (endpoints: ReadonlyArray<string>, wanted: string | undefined): Address | undefined => {
  for (const endpoint of endpoints) {
    const address = addressOf(endpoint)
    if (address === undefined) continue
    if (wanted === undefined ? Object.hasOwn(defaultPorts, address.scheme) : address.scheme === wanted) return address
  }
  return undefined
}

/** A metadata key as part of a label name. Prometheus allows letters, digits and underscores. */
const labelName = (key: string): string => key.replaceAll(/[^a-zA-Z0-9_]/g, "_")

const groupOf = (
  instance: ServiceInstance<unknown>,
  service: string,
  { endpoint, hostPort, scheme }: Address
): TargetGroup => {
  const labels: Record<string, string> = {}
  const add = (name: string, value: string | undefined) => {
    const label = `__meta_etcd_${name}`
    if (value === undefined || value.length > maxLabelLength || Object.hasOwn(labels, label)) return
    labels[label] = value
  }
  add("service", service)
  add("id", instance.id)
  add("status", instance.status)
  add("version", instance.version)
  add("zone", instance.zone)
  add("weight", String(instance.weight))
  add("endpoint", endpoint)
  for (const [key, value] of metadataOf(instance)) {
    const name = `metadata_${labelName(key)}`
    if (name.length <= maxLabelLength) add(name, value)
  }
  if (Object.hasOwn(defaultPorts, scheme)) labels["__scheme__"] = scheme
  return { targets: [hostPort], labels }
}

/**
 * The members of the metadata that are text, numbers or booleans, in an order that resolves equal label names
 * predictably.
 */
const metadataOf = ({ metadata }: ServiceInstance<unknown>): ReadonlyArray<readonly [string, string]> =>
  typeof metadata !== "object" || metadata === null ? [] : Object.entries(metadata)
    .flatMap(([key, value]: [string, unknown]): Array<readonly [string, string]> =>
      typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? [[key, String(value)]] : []
    )
    .sort(([a], [b]) => a < b ? -1 : 1)
    .slice(0, maxMetadata)

/** Returns the targets, ordered by service and id. Omits instances without a suitable endpoint. */
export const groupsOf = (
  sets: Iterable<readonly [service: string, set: InstanceSet<unknown>]>,
  { scheme, services, statuses }: Query
): ReadonlyArray<TargetGroup> => {
  const groups: Array<TargetGroup> = []
  for (const [service, set] of sets) {
    if (services.size > 0 && !services.has(service)) continue
    for (const instance of set) {
      if (statuses.size > 0 && !statuses.has(instance.status)) continue
      const address = addressToScrape(instance.endpoints, scheme)
      if (address !== undefined) groups.push(groupOf(instance, service, address))
    }
  }
  return groups
}

/**
 * The console's view of the instances of a namespace: the newest catalog, the changes that led to it, and how many
 * instances each service had.
 *
 * Its inputs are catalogs and times. It does no I/O, and all its state is bounded.
 *
 * @module
 */
import { Option } from "effect"
import type { Catalog } from "../registry/discovery/Catalog.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import { type Change, diff, type InstanceSet } from "../registry/model/InstanceSet.ts"

/** The states that pages distinguish. `off`: the instance is up and has weight 0. */
export const states = ["up", "off", "starting", "draining", "down", "rejected"] as const

/** See {@link states}. */
export type State = typeof states[number]

/** The state of an instance. */
export const stateOf = ({ status, weight }: ServiceInstance): Exclude<State, "rejected"> =>
  status === "up" && weight === 0 ? "off" : status

/** What happened to a key. */
export type Event = "registered" | "left" | "changed" | "rejected" | "accepted"

/** A change of one instance. */
export interface Entry {
  readonly sequence: number
  /** When the console received it, in milliseconds since the epoch. */
  readonly at: number
  readonly revision: bigint
  readonly service: string
  readonly id: string
  readonly event: Event
  readonly state: State
  /** The change in words. */
  readonly detail: string
  /** The newest known instance. Missing for a rejected value. */
  readonly instance?: ServiceInstance
}

/** The counts of a set. */
export interface Summary {
  readonly counts: Readonly<Record<State, number>>
  readonly available: number
  /** All keys: instances and rejected ones. */
  readonly total: number
  readonly versions: ReadonlyMap<string, number>
  readonly zones: ReadonlyMap<string, number>
}

/** How many changes are kept. */
const maxEntries = 1000
/** How many samples are kept for each service. */
export const maxSamples = 60
/** The time between two samples. */
export const sampleMillis = 15_000

const summaries = new WeakMap<InstanceSet, Summary>()

const increment = (counts: Map<string, number>, name: string): void => {
  counts.set(name, (counts.get(name) ?? 0) + 1)
}

/** Returns the counts of a set, computed once for each set. */
export const summaryOf = (set: InstanceSet): Summary => {
  const known = summaries.get(set)
  if (known !== undefined) return known
  const counts: Record<State, number> = { up: 0, off: 0, starting: 0, draining: 0, down: 0, rejected: 0 }
  const versions = new Map<string, number>()
  const zones = new Map<string, number>()
  for (const instance of set) {
    counts[stateOf(instance)] += 1
    increment(versions, instance.version ?? "")
    increment(zones, instance.zone ?? "")
  }
  counts.rejected = set.rejected.length
  const summary = {
    counts,
    available: set.available.length,
    total: set.size + counts.rejected,
    versions,
    zones
  }
  summaries.set(set, summary)
  return summary
}

/** Describes the members that differ, in words. */
export const describeChange = (from: ServiceInstance, to: ServiceInstance): string => {
  const parts: Array<string> = []
  const compare = (name: string, before: string | undefined, after: string | undefined): void => {
    if (before !== after) parts.push(`${name} ${before ?? "none"} → ${after ?? "none"}`)
  }
  compare("status", from.status, to.status)
  compare("weight", String(from.weight), String(to.weight))
  compare("version", from.version, to.version)
  compare("zone", from.zone, to.zone)
  compare("endpoints", from.endpoints.join(" "), to.endpoints.join(" "))
  for (const name of new Set([...Object.keys(from.metadata), ...Object.keys(to.metadata)])) {
    compare(`metadata ${name}`, from.metadata[name], to.metadata[name])
  }
  return parts.length === 0 ? "rewritten without a change" : parts.join(", ")
}

const describe = (instance: ServiceInstance): string =>
  [instance.version, instance.zone, instance.endpoints.join(" ")].filter((part) => part !== undefined).join(", ")

/** See the module's description. */
export class Fleet {
  readonly #prefix: string
  #nextEntry = 1
  #catalog: Catalog | undefined
  #sequence = 0
  readonly #entries: Array<Entry> = []
  readonly #lastChanges = new Map<string, number>()
  readonly #samples = new Map<string, ReadonlyArray<number>>()
  #totals: ReadonlyArray<number> = []

  /** `prefix` is the namespace with a slash at its end. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** The newest catalog. `undefined` until etcd has answered. */
  get catalog(): Catalog | undefined {
    return this.#catalog
  }

  /** Increments with each catalog and each sample. */
  get sequence(): number {
    return this.#sequence
  }

  /** The changes since the console started, newest first. */
  get entries(): ReadonlyArray<Entry> {
    return this.#entries
  }

  /** When a service last changed. `undefined` if it has not changed since the console started. */
  lastChange(service: string): number | undefined {
    return this.#lastChanges.get(service)
  }

  /** The numbers of available instances of a service, or of all services, oldest first. The last number is current. */
  samplesOf(service?: string): ReadonlyArray<number> {
    const set = service === undefined ? undefined : this.setOf(service)
    const now = service === undefined ? this.#available() : set === undefined ? 0 : summaryOf(set).available
    return [...(service === undefined ? this.#totals : this.#samples.get(service) ?? []), now]
  }

  /** The instances of a service, if it has keys. */
  setOf(service: string): InstanceSet | undefined {
    return this.#catalog === undefined ? undefined : Option.getOrUndefined(this.#catalog.get(service))
  }

  /** Replaces the catalog. The first catalog adds no changes. */
  apply(catalog: Catalog, now: number): void {
    const before = this.#catalog
    this.#catalog = catalog
    this.#sequence += 1
    if (before === undefined) return
    for (const name of new Set([...before.names, ...catalog.names])) {
      const from = Option.getOrUndefined(before.get(name))
      const to = Option.getOrUndefined(catalog.get(name))
      if (from !== to) this.#compare(name, from, to, catalog.revision, now)
    }
  }

  /** Samples the numbers of available instances. */
  sample(): void {
    if (this.#catalog === undefined) return
    this.#sequence += 1
    const keep = (samples: ReadonlyArray<number>, next: number) => [...samples, next].slice(-maxSamples)
    for (const [name, set] of this.#catalog) {
      this.#samples.set(name, keep(this.#samples.get(name) ?? [], summaryOf(set).available))
    }
    for (const [name, samples] of this.#samples) {
      if (this.#catalog.has(name)) continue
      // Drop a service without instances once all its samples are 0.
      if (samples.every((count) => count === 0)) this.#samples.delete(name)
      else this.#samples.set(name, keep(samples, 0))
    }
    for (const name of this.#lastChanges.keys()) {
      if (!this.#samples.has(name) && !this.#catalog.has(name)) this.#lastChanges.delete(name)
    }
    this.#totals = keep(this.#totals, this.#available())
  }

  /** The id in a rejected key: the text after the name of the service. */
  idOf(service: string, key: string): string {
    return key.slice(this.#prefix.length + service.length + 1)
  }

  #rejectedIn(service: string, set: InstanceSet | undefined): ReadonlyMap<string, string> {
    return new Map((set?.rejected ?? []).map(({ error, key }) => [this.idOf(service, key), error.message]))
  }

  #available(): number {
    let total = 0
    for (const [, set] of this.#catalog ?? []) total += summaryOf(set).available
    return total
  }

  #compare(
    service: string,
    from: InstanceSet | undefined,
    to: InstanceSet | undefined,
    revision: bigint,
    now: number
  ): void {
    const add = (entry: Omit<Entry, "sequence" | "at" | "revision" | "service">): void => {
      this.#lastChanges.set(service, now)
      this.#entries.unshift({ ...entry, service, revision, at: now, sequence: this.#nextEntry++ })
      if (this.#entries.length > maxEntries) this.#entries.pop()
    }
    const wasRejected = this.#rejectedIn(service, from)
    const isRejected = this.#rejectedIn(service, to)
    for (const [id, error] of isRejected) {
      if (wasRejected.get(id) !== error) add({ id, event: "rejected", state: "rejected", detail: error })
    }
    for (const change of changesOf(from, to)) {
      const { instance } = change
      const { id } = instance
      const state = stateOf(instance)
      if (change._tag === "Added") {
        add({ id, event: wasRejected.has(id) ? "accepted" : "registered", state, instance, detail: describe(instance) })
      } else if (change._tag === "Updated") {
        add({ id, event: "changed", state, instance, detail: describeChange(change.previous, instance) })
      } else if (!isRejected.has(id)) {
        add({ id, event: "left", state, instance, detail: `was ${state}; its key is gone` })
      }
    }
    for (const id of wasRejected.keys()) {
      const isThere = isRejected.has(id) || (to?.has(id) ?? false)
      if (!isThere) add({ id, event: "left", state: "rejected", detail: "was rejected; its key is gone" })
    }
  }
}

const changesOf = (from: InstanceSet | undefined, to: InstanceSet | undefined): ReadonlyArray<Change> =>
  to === undefined ? (from?.instances ?? []).map((instance) => ({ _tag: "Removed", instance })) : diff(from, to)

/**
 * The catalog of a namespace: one {@link ServiceModel} for each service, fed from one watch.
 *
 * @module
 */
import { Effect, HashMap } from "effect"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { WatchEvent } from "../../etcd/messages/watch.ts"
import type { Freshness } from "../../etcd/Freshness.ts"
import { InvalidInstance } from "../model/Codec.ts"
import type { InstanceSet, Rejected } from "../model/InstanceSet.ts"
import type { Keyspace } from "../model/Keyspace.ts"
import { keyText } from "../model/Layout.ts"
import type { Labels } from "../model/Instance.ts"
import * as Service from "../model/Service.ts"
import * as Catalog from "./Catalog.ts"
import type { Settings } from "./DiscoverOptions.ts"
import type { Track } from "./metrics.ts"
import { type Commit, type KeysReport, type Model, whenPrepared } from "./Model.ts"
import { ServiceModel } from "./ServiceModel.ts"

/** See the module's description. */
export class CatalogModel implements Model<Catalog.Catalog> {
  readonly #keyspace: Keyspace
  readonly #settings: Settings
  readonly #services = new Map<string, ServiceModel<Labels>>()
  /** The services that changed since the last value. */
  readonly #changed = new Set<string>()
  readonly #foreign = new Map<string, bigint>()
  #sets: HashMap.HashMap<string, InstanceSet> = HashMap.empty()
  #rejected: HashMap.HashMap<string, Rejected> = HashMap.empty()
  #freshness: Freshness | undefined

  /** Removes the gauges of a service. */
  readonly #tracked = new Map<string, () => void>()
  readonly #track: Track

  constructor(keyspace: Keyspace, settings: Settings, track: Track) {
    this.#track = track
    this.#keyspace = keyspace
    this.#settings = settings
  }

  prepare(report: KeysReport): Effect.Effect<Commit> {
    return report._tag === "Listed" ? this.#prepareList(report) : this.#prepareChange(report)
  }

  value(revision: bigint, freshness: Freshness): Catalog.Catalog {
    const isFresh = this.#freshness?._tag === "Live" && freshness._tag === "Live"
    const changed = isFresh ? this.#changed : new Set([...this.#changed, ...this.#services.keys()])
    this.#sets = HashMap.mutate(this.#sets, (sets) => {
      for (const name of changed) {
        const service = this.#services.get(name)
        if (service === undefined) HashMap.remove(sets, name)
        else HashMap.set(sets, name, service.value(revision, freshness))
      }
    })
    this.#changed.clear()
    this.#freshness = freshness
    return Catalog.make({ sets: this.#sets, revision, freshness, rejected: this.#rejected })
  }

  release(now: number): boolean {
    for (const [name, service] of this.#services) {
      if (service.release(now)) this.#touch(name, service)
    }
    return this.#changed.size > 0
  }

  nextRelease(): number | undefined {
    if (this.#settings.protect === undefined) return undefined
    const next = Array.from(this.#services.values(), (service) => service.nextRelease() ?? Infinity)
    const earliest = next.reduce((a, b) => Math.min(a, b), Infinity)
    return earliest === Infinity ? undefined : earliest
  }

  differences(kvs: ReadonlyArray<KeyValue>): ReadonlySet<string> {
    const { foreign, services } = this.#group(kvs, (kv) => kv)
    const differing = new Set(this.#foreign.keys())
    for (const kv of foreign) {
      const key = keyText(kv.key)
      if (this.#foreign.get(key) === kv.modRevision) differing.delete(key)
      else differing.add(key)
    }
    for (const name of new Set([...this.#services.keys(), ...services.keys()])) {
      const service = this.#services.get(name) ?? this.#newService(name)
      for (const slot of service.differences(services.get(name) ?? [])) differing.add(`${name}/${slot}`)
    }
    return differing
  }

  #prepareList(report: Extract<KeysReport, { readonly _tag: "Listed" }>): Effect.Effect<Commit> {
    const { foreign, services } = this.#group(report.kvs, (kv) => kv)
    for (const name of this.#services.keys()) if (!services.has(name)) services.set(name, [])
    const reports = Array.from(services, ([name, kvs]): readonly [string, KeysReport] => [name, { ...report, kvs }])
    const gone = new Set(this.#foreign.keys())
    const events = foreign.map((kv): WatchEvent => {
      gone.delete(keyText(kv.key))
      return { type: "put", kv }
    })
    return this.#prepareAll(reports, (now) => {
      for (const key of gone) this.#removeForeign(key)
      return this.#applyForeign(events, now)
    })
  }

  #prepareChange(report: Extract<KeysReport, { readonly _tag: "Changed" }>): Effect.Effect<Commit> {
    const { foreign, services } = this.#group(report.events, ({ kv }) => kv)
    const reports = Array.from(
      services,
      ([name, events]): readonly [string, KeysReport] => [name, { ...report, events }]
    )
    return this.#prepareAll(reports, (now) => this.#applyForeign(foreign, now))
  }

  #prepareAll(reports: ReadonlyArray<readonly [string, KeysReport]>, rest: Commit): Effect.Effect<Commit> {
    const prepared = Effect.forEach(reports, ([name, report]) => {
      const service = this.#services.get(name) ?? this.#newService(name)
      return Effect.map(whenPrepared(service.prepare(report)), (commit) => ({ name, service, commit }))
    })
    return Effect.map(prepared, (changes): Commit => (now) => {
      const rejected = changes.flatMap(({ commit, name, service }) => {
        const found = commit(now)
        this.#touch(name, service)
        return found
      })
      return [...rejected, ...rest(now)]
    })
  }

  /** Removes the gauges of all services. */
  untrack(): void {
    for (const remove of this.#tracked.values()) remove()
    this.#tracked.clear()
  }

  #touch(name: string, service: ServiceModel<Labels>): void {
    this.#changed.add(name)
    if (service.isEmpty) {
      this.#services.delete(name)
      this.#tracked.get(name)?.()
      this.#tracked.delete(name)
    } else if (!this.#services.has(name)) {
      this.#services.set(name, service)
      this.#tracked.set(name, this.#track(name, this.#keyspace.servicePrefix(name), () => service.newest))
    }
  }

  #newService(name: string): ServiceModel<Labels> {
    return new ServiceModel(Service.make(name), this.#keyspace, this.#settings, this.#settings.protect)
  }

  #applyForeign(events: ReadonlyArray<WatchEvent>, _now: number): ReadonlyArray<Rejected> {
    const found: Array<Rejected> = []
    for (const { kv, type } of events) {
      const key = keyText(kv.key)
      if (type === "delete") this.#removeForeign(key)
      else if (this.#foreign.get(key) !== kv.modRevision) {
        const rejected = { key, error: new InvalidInstance({ detail: "the key belongs to no service" }) }
        this.#foreign.set(key, kv.modRevision)
        this.#rejected = HashMap.set(this.#rejected, key, rejected)
        found.push(rejected)
      }
    }
    return found
  }

  #removeForeign(key: string): void {
    this.#foreign.delete(key)
    this.#rejected = HashMap.remove(this.#rejected, key)
  }

  /** Splits keys by service; those of no service are apart. */
  #group<A>(items: ReadonlyArray<A>, kvOf: (item: A) => KeyValue) {
    const services = new Map<string, Array<A>>()
    const foreign: Array<A> = []
    for (const item of items) {
      const name = this.#keyspace.serviceOf(kvOf(item).key)
      if (name === undefined) {
        foreign.push(item)
        continue
      }
      const known = services.get(name)
      if (known === undefined) services.set(name, [item])
      else known.push(item)
    }
    return { services, foreign }
  }
}

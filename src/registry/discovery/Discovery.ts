/**
 * Discovery: the reading side of a registry.
 *
 * This folder has the options (`DiscoverOptions`) and errors (`DiscoveryError`); the view of a service's keys
 * (`ServiceView`) and the set made from it (`ServiceModel`, with `Protection`); the same for all services
 * (`CatalogModel`, `Catalog`); and the watch that consumers share (`SharedWatch`) with its backstop (`reconcile`).
 *
 * @module
 */
import { Duration, Effect, Equal, Hash, RcMap, type Scope, Stream } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import { prefix } from "../../etcd/KeyRange.ts"
import { rangeAll } from "../../etcd/rangeAll.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { Freshness } from "../../etcd/Freshness.ts"
import { checkOptions } from "../../internal/options.ts"
import { monotonicMillis } from "../../internal/time/monotonic.ts"
import type { InstanceSet } from "../model/InstanceSet.ts"
import type { Keyspace } from "../model/Keyspace.ts"
import { layoutOf } from "../model/Layout.ts"
import type { Service } from "../model/Service.ts"
import type { Catalog } from "./Catalog.ts"
import { CatalogModel } from "./CatalogModel.ts"
import {
  checkName,
  checkReading,
  checkSettings,
  type DiscoverOptions,
  type ReadOptions,
  type Settings
} from "./DiscoverOptions.ts"
import { type DiscoveryError, DiscoveryRefused } from "./DiscoveryError.ts"
import { allServices, ofWatch } from "./metrics.ts"
import { whenPrepared } from "./Model.ts"
import { RejectionLog } from "./RejectionLog.ts"
import { ServiceModel } from "./ServiceModel.ts"
import * as SharedWatch from "./SharedWatch.ts"

export type { Catalog } from "./Catalog.ts"
export { type DiscoveryError, DiscoveryRefused } from "./DiscoveryError.ts"
export { checkName, checkSettings, type DiscoverOptions, type ReadOptions } from "./DiscoverOptions.ts"

/** A service that has instances. */
export interface ListedService {
  readonly name: string
  /** The number of its keys that have a lease, whether or not their values decode. */
  readonly instances: number
}

/** The reading side of a registry. */
export interface Discovery {
  readonly discover: <M>(
    service: Service<M>,
    options: DiscoverOptions
  ) => Stream.Stream<InstanceSet<M>, DiscoveryError>
  readonly discoverAll: (options: DiscoverOptions) => Stream.Stream<Catalog, DiscoveryError>
  readonly getInstances: <M>(
    service: Service<M>,
    options: ReadOptions
  ) => Effect.Effect<InstanceSet<M>, DiscoveryError>
  readonly listServices: Effect.Effect<ReadonlyArray<ListedService>, DiscoveryError>
}

/** How long a watch without consumers is kept. */
const idleTimeToLive = Duration.seconds(1)

type Values<A> = Stream.Stream<A, DiscoveryError>

/**
 * Consumers share a watch if they have the same name, the same codec and equal options. Codecs are compared by
 * identity, because two equal-looking objects may decode differently.
 */
class WatchKey<S extends Service<unknown> | undefined> implements Equal.Equal {
  readonly settings: Settings
  /** Missing for the catalog. */
  readonly service: S

  constructor(settings: Settings, service: S) {
    this.settings = settings
    this.service = service
  }

  [Equal.symbol](that: unknown): boolean {
    return that instanceof WatchKey && that.service?.name === this.service?.name &&
      that.service?.codec === this.service?.codec && areEqual(this.settings, that.settings)
  }
  [Hash.symbol](): number {
    return Hash.string(this.service?.name ?? "")
  }
}

const areEqual = (self: Settings, that: Settings): boolean =>
  self.retry === that.retry && self.leaseless === that.leaseless && self.maxValueBytes === that.maxValueBytes &&
  Duration.Equivalence(self.progressEvery, that.progressEvery) &&
  Duration.Equivalence(self.progressTimeout, that.progressTimeout) &&
  Duration.Equivalence(self.reconcileEvery, that.reconcileEvery) &&
  self.protect?.maxLoss === that.protect?.maxLoss && Equal.equals(self.protect?.hold, that.protect?.hold)

/** The reading side of a registry over an etcd. Its watches end with the scope at the latest. */
export const make = Effect.fnUntraced(function* (
  etcd: Etcd,
  keyspace: Keyspace
): Effect.fn.Return<Discovery, never, Scope.Scope> {
  const rejections = new RejectionLog()

  const watches: RcMap.RcMap<WatchKey<Service<unknown>>, Values<InstanceSet<unknown>>> = yield* RcMap.make({
    lookup: Effect.fnUntraced(function* (key: WatchKey<Service<unknown>>) {
      const { service, settings } = key
      const layout = layoutOf(service, keyspace)
      const servicePrefix = layout.servicePrefix(service.name)
      const model = new ServiceModel(service, layout, settings, settings.protect)
      const { currency, track } = yield* ofWatch
      yield* Effect.acquireRelease(
        Effect.sync(() => track(service.name, servicePrefix, () => model.newest)),
        (remove) => Effect.sync(remove)
      )
      return yield* SharedWatch.make({
        etcd,
        currency,
        service: service.name,
        prefix: servicePrefix,
        range: prefix(servicePrefix),
        settings,
        model,
        rejections,
        onEnd: Effect.suspend(() => RcMap.invalidate(watches, key))
      })
    }),
    idleTimeToLive
  })

  const catalogs: RcMap.RcMap<WatchKey<undefined>, Values<Catalog>> = yield* RcMap.make({
    lookup: Effect.fnUntraced(function* (key: WatchKey<undefined>) {
      const { currency, track } = yield* ofWatch
      const model = new CatalogModel(keyspace, key.settings, track)
      yield* Effect.addFinalizer(() => Effect.sync(() => model.untrack()))
      return yield* SharedWatch.make({
        etcd,
        currency,
        service: allServices,
        prefix: keyspace.prefix,
        range: prefix(keyspace.prefix),
        settings: key.settings,
        model,
        rejections,
        onEnd: Effect.suspend(() => RcMap.invalidate(catalogs, key))
      })
    }),
    idleTimeToLive
  })

  const refused = (prefix: string) => Effect.mapError((cause: EtcdError) => new DiscoveryRefused({ prefix, cause }))

  return {
    discover: <M>(service: Service<M>, options: DiscoverOptions) =>
      Stream.unwrap(Effect.gen(function* () {
        const settings = yield* Effect.fromResult(checkOptions("discover", (check) => {
          checkName(check, service)
          return checkSettings(check, options)
        }))
        const sets = yield* RcMap.get(watches, new WatchKey(settings, service as Service<unknown>))
        // Sound: the key holds the codec that makes the sets, so their metadata is `M`.
        return sets as Values<InstanceSet<M>>
      })),

    discoverAll: (options) =>
      Stream.unwrap(Effect.gen(function* () {
        const settings = yield* Effect.fromResult(checkOptions("discoverAll", (check) => checkSettings(check, options)))
        return yield* RcMap.get(catalogs, new WatchKey(settings, undefined))
      })),

    getInstances: Effect.fnUntraced(function* <M>(service: Service<M>, options: ReadOptions) {
      const layout = layoutOf(service, keyspace)
      const { name, settings } = yield* Effect.fromResult(checkOptions("getInstances", (check) => ({
        name: checkName(check, service),
        settings: checkReading(check, options)
      })))
      const servicePrefix = layout.servicePrefix(name)
      const model = new ServiceModel(service, layout, settings, undefined)
      const { header, kvs } = yield* refused(servicePrefix)(rangeAll(etcd, prefix(servicePrefix)))
      const commit = yield* whenPrepared(model.prepare({ _tag: "Listed", revision: header.revision, kvs }))
      commit(yield* monotonicMillis)
      return model.value(header.revision, Freshness.Live())
    }),

    // Read the values too: on etcd 3.7 a read without values carries no leases.
    listServices: Effect.gen(function* () {
      const { kvs } = yield* refused(keyspace.prefix)(rangeAll(etcd, prefix(keyspace.prefix)))
      const counts = new Map<string, number>()
      for (const { key, lease } of kvs) {
        const name = lease === 0n ? undefined : keyspace.serviceOf(key)
        if (name !== undefined && keyspace.idOf(name, key) !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
      }
      return Array.from(counts, ([name, instances]) => ({ name, instances })).sort((a, b) => a.name < b.name ? -1 : 1)
    })
  }
})

/**
 * Discovery: the instances of a service, followed.
 *
 * Each service that is discovered has one *watch* in the process, shared by all its consumers and closed a moment after
 * the last has left. A watch lists the range of the service once and then applies changes to a persistent map, so a
 * change costs what it changes; whoever consumes gets the newest set and skips what it was too slow for.
 *
 * A watch is in one of three states: *unknown* (nothing has been listed yet, nothing is emitted), *live*, or *stale*
 * (etcd cannot be reached; the last set stays and says so). It ends only when etcd refuses.
 *
 * @module
 */
import {
  Clock,
  Data,
  Duration,
  Effect,
  Exit,
  FiberHandle,
  HashMap,
  Metric,
  Option,
  Random,
  RcMap,
  Result,
  type Schedule,
  type Scope,
  Stream
} from "effect"
import { type Etcd, type KeyValue, prefix, rangeAll, type WatchEvent } from "../../etcd/Etcd.ts"
import type { EtcdError } from "../../etcd/EtcdError.ts"
import { follow, type Followed } from "../../etcd/follow.ts"
import { Latest } from "../../internal/Latest.ts"
import { InvalidInstance, maxValueBytes } from "../model/Codec.ts"
import type { ServiceInstance } from "../model/Instance.ts"
import * as InstanceSet from "../model/InstanceSet.ts"
import type { Keyspace } from "../model/Keyspace.ts"
import { type Layout, layoutOf } from "../model/Layout.ts"
import type { AnyService, Service } from "../model/Service.ts"
import { serviceName } from "../model/ServiceName.ts"
import * as Backoff from "../../etcd/Backoff.ts"
import * as Protection from "./Protection.ts"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import type { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"
import { withoutStack } from "../../internal/withoutStack.ts"
import { Freshness } from "../../etcd/Freshness.ts"

const DiscoveryRefusedBase: TaggedErrorClass<"DiscoveryRefused", {
  readonly prefix: string
  readonly cause: EtcdError
}> = Data.TaggedError("DiscoveryRefused")

/** etcd refused, or (reading once) did not answer. */
export class DiscoveryRefused extends DiscoveryRefusedBase {
  override get message(): string {
    return `cannot discover ${JSON.stringify(this.prefix)}: ${this.cause.message}`
  }
}

/** What discovery fails with. */
export type DiscoveryError = InvalidOption | DiscoveryRefused

/** How a service is followed; the layer of the registry can set other defaults. */
export interface DiscoverOptions {
  /** An idle watch hears from etcd at least this often. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long etcd may take to show that it is there. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
  /** How often, on average, keys and revisions are compared with etcd as a backstop. Default: 5 minutes. */
  readonly reconcileEvery?: Duration.Input
  /** When to try again after a failure. Default: `Backoff.reregister`. */
  readonly retry?: Schedule.Schedule<unknown, EtcdError>
  /** Mass-loss protection. Default: off. */
  readonly protect?: Protection.MassLossProtection
}

/** A service that has instances. */
export interface ListedService {
  readonly name: string
  /** Its keys that have a lease, whether or not their values decode. */
  readonly instances: number
}

/** How long a watch without consumers is kept. */
const idleTimeToLive = Duration.seconds(1)

const rejectedValues = Metric.counter("etcd_discovery_rejected", {
  description: "Values that are no instance, counted once a revision",
  incremental: true
})
const relists = Metric.counter("etcd_discovery_lists", {
  description: "Complete reads of a service by its watch, the first one included",
  incremental: true
})
const mended = Metric.counter("etcd_discovery_reconciliation_mended", {
  description:
    "Keys in which reconciliation found a watch to be wrong; anything but 0 is a defect, or a replaced history",
  incremental: true
})

/** The reading side of a registry. */
export interface Discovery {
  readonly discover: <M>(
    service: Service<M>,
    options: DiscoverOptions
  ) => Stream.Stream<InstanceSet.InstanceSet<M>, DiscoveryError>
  readonly getInstances: <M>(service: Service<M>) => Effect.Effect<InstanceSet.InstanceSet<M>, DiscoveryError>
  readonly listServices: Effect.Effect<ReadonlyArray<ListedService>, DiscoveryError>
}

type Sets<M> = Stream.Stream<InstanceSet.InstanceSet<M>, DiscoveryError>

type Watches = RcMap.RcMap<WatchKey, Sets<unknown>>

/** What consumers share a watch by; compared by structure. */
interface WatchKey {
  readonly service: Service<unknown>
  readonly settings: Settings
}

/** How a service is followed, checked. */
export interface Settings {
  readonly progressEvery: Duration.Duration
  readonly progressTimeout: Duration.Duration
  readonly reconcileEvery: Duration.Duration
  readonly retry: Schedule.Schedule<unknown, EtcdError>
  readonly protect: Protection.MassLossProtection | undefined
}

/** Checks the options of discovery and adds their defaults. */
export const checkSettings = (check: Check, options: DiscoverOptions): Settings => {
  const { protect } = options
  if (protect !== undefined) {
    check.duration("protect.hold", protect.hold)
    check.number("protect.maxLoss", protect.maxLoss, { min: 0, max: 1 })
  }
  return {
    progressEvery: check.duration("progressEvery", options.progressEvery ?? "10 seconds"),
    progressTimeout: check.duration("progressTimeout", options.progressTimeout ?? "5 seconds"),
    reconcileEvery: check.duration("reconcileEvery", options.reconcileEvery ?? "5 minutes"),
    retry: options.retry ?? Backoff.reregister,
    protect
  }
}

/** Checks the name of a service by the rules of its format. */
export const checkName = (check: Check, { codec: { layout }, name }: AnyService): string =>
  check.valid("service", name, layout === undefined ? serviceName(name) : layout.checkName(name))

/** The reading side of a registry over an etcd. Its watches live until the scope closes at the latest. */
export const make = Effect.fnUntraced(function* (
  etcd: Etcd,
  keyspace: Keyspace
): Effect.fn.Return<Discovery, never, Scope.Scope> {
  const watches: Watches = yield* RcMap.make({
    lookup: (key: WatchKey): Effect.Effect<Sets<unknown>, never, Scope.Scope> =>
      watchService(etcd, keyspace, key, Effect.suspend(() => RcMap.invalidate(watches, key))),
    idleTimeToLive
  })

  return {
    discover: <M>(service: Service<M>, options: DiscoverOptions) =>
      Stream.unwrap(Effect.gen(function* () {
        const settings = yield* Effect.fromResult(checkOptions("discover", (check) => {
          checkName(check, service)
          return checkSettings(check, options)
        }))
        const sets = yield* RcMap.get(watches, { service: service as Service<unknown>, settings })
        // The key holds the very service whose codec makes the sets, so their metadata is `M`.
        return sets as Sets<M>
      })),

    getInstances: Effect.fnUntraced(function* <M>(service: Service<M>) {
      const layout = layoutOf(service, keyspace)
      const name = yield* Effect.fromResult(checkOptions("getInstances", (check) => checkName(check, service)))
      const servicePrefix = layout.servicePrefix(name)
      const view = new View(service, layout)
      const { header, kvs } = yield* Effect.mapError(
        rangeAll(etcd, prefix(servicePrefix)),
        (cause) => new DiscoveryRefused({ prefix: servicePrefix, cause })
      )
      view.list(kvs)
      return view.set(header.revision, Freshness.Live(), [], new Map())
    }),

    listServices: Effect.gen(function* () {
      const { kvs } = yield* Effect.mapError(
        rangeAll(etcd, { ...prefix(keyspace.prefix), keysOnly: true }),
        (cause) => new DiscoveryRefused({ prefix: keyspace.prefix, cause })
      )
      const counts = new Map<string, number>()
      for (const { key, lease } of kvs) {
        const name = lease === 0n ? undefined : keyspace.parse(key)?.name
        if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
      }
      return Array.from(counts, ([name, instances]) => ({ name, instances })).sort((a, b) => a.name < b.name ? -1 : 1)
    })
  }
})

/** What changed in a view: the ids, and the instances that left. */
interface Delta<M> {
  readonly ids: ReadonlyArray<string>
  readonly left: ReadonlyArray<ServiceInstance<M>>
  /** Values that were found to be no instance, for the log. */
  readonly rejected: ReadonlyArray<InstanceSet.Rejected>
}

interface Known {
  readonly createRevision: bigint
  readonly modRevision: bigint
  readonly lease: bigint
}

/** Which instance each key holds, where several keys may hold the same one; see `hasTwins` of a layout. */
class Twins {
  readonly #held = new Map<string, string>()
  readonly #holders = new Map<string, number>()

  /** A key holds another instance, or none; answers with the instance that no key holds any more. */
  move(key: string, to: string | undefined): string | undefined {
    const from = this.#held.get(key)
    if (from === to) return undefined
    if (to === undefined) this.#held.delete(key)
    else {
      this.#held.set(key, to)
      this.#holders.set(to, (this.#holders.get(to) ?? 0) + 1)
    }
    if (from === undefined) return undefined
    const remaining = (this.#holders.get(from) ?? 0) - 1
    if (remaining > 0) {
      this.#holders.set(from, remaining)
      return undefined
    }
    this.#holders.delete(from)
    return from
  }
}

/** A service as etcd has it: every legal key of its range is either an instance or rejected. */
class View<M> {
  readonly #service: Service<M>
  readonly #layout: Layout
  readonly #history = new InstanceSet.History()
  #instances: HashMap.HashMap<string, ServiceInstance<M>> = HashMap.empty()
  #rejected: HashMap.HashMap<string, InstanceSet.Rejected> = HashMap.empty()
  /** The revisions of each key, by the id in it, for reconciliation and to keep what a new list does not change. */
  readonly #known = new Map<string, Known>()
  readonly #twins: Twins | undefined

  constructor(service: Service<M>, layout: Layout) {
    this.#service = service
    this.#layout = layout
    this.#twins = layout.hasTwins === true ? new Twins() : undefined
  }

  has(id: string): boolean {
    return HashMap.has(this.#instances, id)
  }
  get size(): number {
    return HashMap.size(this.#instances)
  }

  /** Replaces all that is known. */
  list(kvs: ReadonlyArray<KeyValue>): Delta<M> {
    const gone = new Set(this.#known.keys())
    const found: Array<readonly [string, KeyValue | undefined]> = []
    for (const kv of kvs) {
      const id = this.#layout.idOf(this.#service.name, kv.key)
      if (id === undefined) continue
      gone.delete(id)
      if (!this.#isKnown(id, kv)) found.push([id, kv])
    }
    for (const id of gone) found.push([id, undefined])
    return this.#apply(found)
  }

  /** Applies events in order. */
  change(events: ReadonlyArray<WatchEvent>): Delta<M> {
    const found: Array<readonly [string, KeyValue | undefined]> = []
    for (const { type, kv } of events) {
      const id = this.#layout.idOf(this.#service.name, kv.key)
      if (id !== undefined) found.push([id, type === "put" ? kv : undefined])
    }
    return this.#apply(found)
  }

  /** The ids whose revisions are not those of `kvs`. */
  differences(kvs: ReadonlyArray<KeyValue>): ReadonlyArray<string> {
    const missing = new Set(this.#known.keys())
    const differing: Array<string> = []
    for (const kv of kvs) {
      const id = this.#layout.idOf(this.#service.name, kv.key)
      if (id === undefined) continue
      missing.delete(id)
      if (!this.#isKnown(id, kv)) differing.push(id)
    }
    return [...differing, ...missing]
  }

  /** The set of this moment, with what protection holds; `changed` are the ids in which it differs from the last one. */
  set(
    revision: bigint,
    freshness: Freshness,
    changed: ReadonlyArray<string>,
    held: ReadonlyMap<string, ServiceInstance<M>>
  ): InstanceSet.InstanceSet<M> {
    return InstanceSet.make({
      byId: held.size === 0 ? this.#instances : HashMap.setMany(this.#instances, held),
      revision,
      freshness,
      rejected: this.#rejected,
      held,
      history: this.#history,
      sequence: this.#history.append(changed)
    })
  }

  #isKnown(id: string, kv: KeyValue): boolean {
    const known = this.#known.get(id)
    return known !== undefined && known.modRevision === kv.modRevision && known.lease === kv.lease &&
      known.createRevision === kv.createRevision
  }

  #apply(found: ReadonlyArray<readonly [string, KeyValue | undefined]>): Delta<M> {
    const ids: Array<string> = []
    const left: Array<ServiceInstance<M>> = []
    const rejected: Array<InstanceSet.Rejected> = []
    this.#instances = HashMap.mutate(this.#instances, (instances) => {
      for (const [id, kv] of found) {
        // The stack of a refusal would hold on to all that etcd has sent at once.
        const decoded = kv === undefined ? undefined : withoutStack(() => this.#decode(id, kv))
        const instance = decoded !== undefined && Result.isSuccess(decoded) ? decoded.success : undefined
        if (kv === undefined) this.#known.delete(id)
        else this.#known.set(id, { createRevision: kv.createRevision, modRevision: kv.modRevision, lease: kv.lease })
        const to = instance === undefined ? undefined : this.#twins === undefined ? id : instance.id
        const vacated = this.#twins === undefined ? id : this.#twins.move(id, to)
        if (vacated !== undefined && vacated !== to) {
          const before = HashMap.get(instances, vacated)
          HashMap.remove(instances, vacated)
          if (Option.isSome(before)) left.push(before.value)
          ids.push(vacated)
        }
        // A twin is what is there already.
        if (instance !== undefined && to !== undefined && (this.#twins === undefined || !HashMap.has(instances, to))) {
          HashMap.set(instances, to, instance)
          ids.push(to)
        }
        if (decoded !== undefined && Result.isFailure(decoded)) {
          const entry = { key: this.#layout.key(this.#service.name, id), error: decoded.failure }
          this.#rejected = HashMap.set(this.#rejected, id, entry)
          rejected.push(entry)
        } else {
          this.#accept(id)
        }
      }
    })
    return { ids, left, rejected }
  }

  #accept(id: string): void {
    if (!HashMap.isEmpty(this.#rejected)) this.#rejected = HashMap.remove(this.#rejected, id)
  }

  #decode(id: string, kv: KeyValue): Result.Result<ServiceInstance<M>, InvalidInstance> {
    if (kv.lease === 0n && this.#layout.isLeaseOptional !== true) {
      return refuse("the key has no lease, so nothing would remove it")
    }
    if (kv.value.length > maxValueBytes) {
      return refuse(`the value has ${kv.value.length} bytes, more than ${maxValueBytes}`)
    }
    return this.#service.codec.decode(this.#service.name, id, kv.value)
  }
}

const refuse = (detail: string): Result.Result<never, InvalidInstance> => Result.fail(new InvalidInstance({ detail }))

/** Follows one service for a scope and gives its sets. */
const watchService = Effect.fnUntraced(function* <M>(
  etcd: Etcd,
  keyspace: Keyspace,
  { service, settings }: { readonly service: Service<M>; readonly settings: Settings },
  invalidate: Effect.Effect<void>
): Effect.fn.Return<Sets<M>, never, Scope.Scope> {
  const { protect } = settings
  const layout = layoutOf(service, keyspace)
  const servicePrefix = layout.servicePrefix(service.name)
  const range = prefix(servicePrefix)
  const sets = new Latest<InstanceSet.InstanceSet<M>, DiscoveryError>()
  const following = yield* FiberHandle.make()
  const exiting = yield* FiberHandle.make()
  const view = new View(service, layout)

  let revision: bigint | undefined
  let freshness: Freshness = Freshness.Live()
  let protection: Protection.Protection<M> = Protection.initial

  const publish = (changed: ReadonlyArray<string>) => {
    if (revision !== undefined) sets.set(view.set(revision, freshness, changed, Protection.held(protection)))
  }

  /** Moves protection on and answers with the ids that were or are held. */
  const stepProtection = (
    protect: Protection.MassLossProtection,
    now: number,
    left: ReadonlyArray<ServiceInstance<M>>
  ): ReadonlyArray<string> => {
    const before = Protection.held(protection)
    protection = Protection.step(protect, protection, {
      now,
      left,
      isPresent: (id) => view.has(id),
      present: view.size
    })
    return [...before.keys(), ...Protection.held(protection).keys()]
  }

  /** Lets each loss pass when its time has come. */
  const exits: Effect.Effect<void> = Effect.gen(function* () {
    while (protect !== undefined && revision !== undefined) {
      const exit = Protection.nextExit(protection)
      if (exit === undefined) return
      const now = yield* Clock.currentTimeMillis
      if (exit > now) {
        yield* Effect.sleep(Math.ceil(exit - now))
        continue
      }
      const moved = stepProtection(protect, now, [])
      if (moved.length > 0) publish(moved)
    }
  })

  /** Brings the view up to date. */
  const deltaOf = (followed: Followed): Delta<M> => {
    if (followed._tag !== "Listed" && followed._tag !== "Changed") return nothing
    revision = followed.revision
    return followed._tag === "Listed" ? view.list(followed.kvs) : view.change(followed.events)
  }

  /** What follows from what has happened, besides the set that shows it: losses pass in time, and the rest is told. */
  const conclude = Effect.fnUntraced(function* (followed: Followed, { rejected }: Delta<M>) {
    if (protection.losses.size > 0) yield* FiberHandle.run(exiting, exits, { onlyIfMissing: true })
    if (followed._tag === "Listed") yield* Metric.update(relists, 1)
    if (followed._tag === "Interrupted") {
      yield* Effect.logWarning(`${JSON.stringify(servicePrefix)} cannot be followed for now: ${followed.cause.message}`)
    }
    for (const { key, error } of rejected) {
      yield* Effect.logWarning(`${JSON.stringify(key)} is left out: ${error.message}`)
      yield* Metric.update(rejectedValues, 1)
    }
  })

  /** Nothing comes between what has happened and the set that shows it: a newer one never comes before an older one. */
  const tell = (followed: Followed): Effect.Effect<void> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      freshness = followed._tag === "Interrupted" ?
        Freshness.Stale({ since: now, cause: followed.cause }) :
        Freshness.Live()
      const delta = deltaOf(followed)
      publish(protect === undefined ? delta.ids : [...delta.ids, ...stepProtection(protect, now, delta.left)])
      const isSilent = followed._tag === "Changed" && delta.rejected.length === 0 && protection.losses.size === 0
      return isSilent ? Effect.void : conclude(followed, delta)
    })

  const run = FiberHandle.run(
    following,
    follow(etcd, { ...settings, range }, tell).pipe(
      Effect.catch((cause) =>
        Effect.map(invalidate, () => sets.end(Exit.fail(new DiscoveryRefused({ prefix: servicePrefix, cause }))))
      )
    )
  )

  const compare = Effect.map(
    rangeAll(etcd, { ...range, keysOnly: true }),
    ({ kvs }) => new Set(view.differences(kvs))
  )

  /**
   * The ids in which etcd and the view differ although nothing has changed, and no silence was noticed, for longer than
   * either needs to arrive.
   */
  const findDifferences = Effect.gen(function* () {
    while (true) {
      const before = revision
      const first = yield* compare
      if (first.size === 0) return first
      yield* Effect.sleep(Duration.sum(settings.progressEvery, settings.progressTimeout))
      if (Freshness.$is("Stale")(freshness)) return new Set<string>()
      if (revision === before) return first.intersection(yield* compare)
    }
  })

  const reconcile = Effect.gen(function* () {
    const jitter = 0.5 + (yield* Random.next)
    yield* Effect.sleep(Duration.times(settings.reconcileEvery, jitter))
    const differing = yield* Effect.orElseSucceed(findDifferences, () => new Set<string>())
    if (differing.size === 0 || revision === undefined) return
    yield* Effect.logWarning(`the watch of ${JSON.stringify(servicePrefix)} was wrong; it is listed again`, [
      ...differing
    ])
    yield* Metric.update(mended, differing.size)
    yield* run
  })

  yield* run
  yield* Effect.forkScoped(Effect.forever(reconcile))
  return sets.changes
})

const nothing: Delta<never> = { ids: [], left: [], rejected: [] }

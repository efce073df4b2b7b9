/**
 * Several discoveries as one: services in different formats, or in different etcds.
 *
 * The merged set is updated with the changes of each source, so a change costs O(changed instances). An instance is
 * left out while an earlier source has one with the same host and port: it is the same process, registered twice.
 *
 * @module
 */
import { Effect, HashMap, Option, Stream } from "effect"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import { Latest } from "../../internal/Latest.ts"
import { maxWeight, type ServiceInstance } from "../model/Instance.ts"
import * as InstanceSet from "../model/InstanceSet.ts"
import { instanceId } from "../model/ServiceName.ts"
import type { Freshness } from "../../etcd/Freshness.ts"

/**
 * Sets of instances, as `discover` emits them, with a factor for their weights.
 *
 * @since 0.1.0
 * @category models
 */
export interface WeightedSets<A, E, R> {
  readonly sets: Stream.Stream<InstanceSet.InstanceSet<A>, E, R>
  /** Multiplies the weight of each instance. Above 0, at most 1,000,000. */
  readonly weight: number
}

type Sets = Stream.Stream<InstanceSet.InstanceSet<unknown>, unknown, unknown>

/**
 * What {@link merge} merges: sets of instances, or sets with a factor for their weights.
 *
 * @since 0.1.0
 * @category models
 */
export type MergeSource =
  | Stream.Stream<InstanceSet.InstanceSet<unknown>, unknown, unknown>
  | WeightedSets<unknown, unknown, unknown>

type SetsOf<Source> = Source extends { readonly sets: infer S } ? S : Source

/**
 * The metadata of all sources of {@link merge}.
 *
 * @since 0.1.0
 * @category utility types
 */
export type MergeMetadata<Sources> = Stream.Success<SetsOf<Sources[keyof Sources]>> extends
  InstanceSet.InstanceSet<infer M> ? M : never

/**
 * The errors of all sources of {@link merge}.
 *
 * @since 0.1.0
 * @category utility types
 */
export type MergeError<Sources> = Stream.Error<SetsOf<Sources[keyof Sources]>>

/**
 * The services that the sources of {@link merge} require.
 *
 * @since 0.1.0
 * @category utility types
 */
export type MergeServices<Sources> = Stream.Services<SetsOf<Sources[keyof Sources]>>

interface Source {
  readonly label: string
  readonly sets: Sets
  readonly weight: number
}

const sourceOf = (check: Check, [label, given]: readonly [string, MergeSource]): Source => {
  check.valid("label", label, instanceId(label))
  const { sets, weight } = Stream.isStream(given) ? { sets: given, weight: 1 } : given
  // A larger one would make infinite weights.
  return weight > 0 && weight <= maxWeight ?
    { label, sets, weight } :
    check.refuse(`${label}.weight`, weight, `it must be a number above 0, at most ${maxWeight}`)
}

const defaultPorts: Readonly<Record<string, number>> = { http: 80, ws: 80, https: 443, wss: 443 }

/** Host and port of a URL, or everything after the scheme if it has no host. */
const addressOf = (endpoint: string): string => {
  const [, scheme = "", authority = "", rest = ""] = /^([^:]*):\/\/(?:[^/?#@]*@)?([^/?#]*)(.*)/s.exec(endpoint) ?? []
  if (authority === "") return rest
  const port = /:\d+$/.test(authority) ? "" : `:${defaultPorts[scheme.toLowerCase()] ?? ""}`
  return authority.toLowerCase() + port
}

/** One source of a merge. */
class Part {
  readonly source: Source
  set: InstanceSet.InstanceSet<unknown> | undefined
  /** The ids of the instances at each address. */
  readonly #at = new Map<string, Set<string>>()

  constructor(source: Source) {
    this.source = source
  }

  idOf(id: string): string {
    return `${this.source.label}/${id}`
  }

  idsAt(address: string): ReadonlySet<string> {
    return this.#at.get(address) ?? none
  }

  add({ id, endpoints }: ServiceInstance<unknown>): void {
    for (const address of endpoints.map(addressOf)) {
      const ids = this.#at.get(address)
      if (ids === undefined) this.#at.set(address, new Set([id]))
      else ids.add(id)
    }
  }

  remove({ id, endpoints }: ServiceInstance<unknown>): void {
    for (const address of endpoints.map(addressOf)) {
      const ids = this.#at.get(address)
      ids?.delete(id)
      if (ids?.size === 0) this.#at.delete(address)
    }
  }

  /** The instance as it is in the merged set. */
  merged(instance: ServiceInstance<unknown>): ServiceInstance<unknown> {
    const { id, weight } = instance
    return Object.freeze({ ...instance, id: this.idOf(id), weight: weight * this.source.weight })
  }
}

const none: ReadonlySet<string> = new Set()

/** The merged sets of some sources. */
class Union {
  readonly #parts: ReadonlyArray<Part>
  readonly #history = new InstanceSet.History()
  #byId: HashMap.HashMap<string, ServiceInstance<unknown>> = HashMap.empty()

  constructor(sources: ReadonlyArray<Source>) {
    this.#parts = sources.map((source) => new Part(source))
  }

  /** Takes the newest set of a source. Returns the merged set, or `undefined` until every source has a set. */
  take(index: number, set: InstanceSet.InstanceSet<unknown>): InstanceSet.InstanceSet<unknown> | undefined {
    const part = this.#parts[index]
    if (part === undefined) return undefined
    const addresses = new Set<string>()
    const ids = new Set<string>()
    for (const change of InstanceSet.diff(part.set, set)) {
      const after = change._tag === "Removed" ? undefined : change.instance
      const before = change._tag === "Removed" ?
        change.instance :
        change._tag === "Updated" ?
        change.previous :
        undefined
      if (before !== undefined) part.remove(before)
      if (after !== undefined) part.add(after)
      for (const endpoint of [...before?.endpoints ?? [], ...after?.endpoints ?? []]) addresses.add(addressOf(endpoint))
      ids.add(change.instance.id)
    }
    part.set = set
    const later = this.#parts.slice(index + 1)
    const changed = [
      ...this.#settle(part, ids),
      ...later.flatMap((part) =>
        this.#settle(part, new Set([...addresses].flatMap((address) => [...part.idsAt(address)])))
      )
    ]
    const sequence = this.#history.append(changed)
    const sets = this.#parts.flatMap(({ set }) => set ?? [])
    return sets.length < this.#parts.length ? undefined : InstanceSet.make({
      byId: this.#byId,
      revision: sets.reduce((newest, { revision }) => revision > newest ? revision : newest, 0n),
      freshness: sets.map(({ freshness }) => freshness).reduce(staler),
      rejected: HashMap.fromIterable(this.#rejected()),
      held: new Map(this.#held()),
      history: this.#history,
      sequence
    })
  }

  /** Adds or removes instances of a part in the merged set. Returns the merged ids that changed. */
  #settle(part: Part, ids: ReadonlySet<string>): Array<string> {
    const earlier = this.#parts.slice(0, this.#parts.indexOf(part))
    const changed: Array<string> = []
    this.#byId = HashMap.mutate(this.#byId, (byId) => {
      for (const id of ids) {
        const instance = Option.getOrUndefined(part.set?.get(id) ?? Option.none())
        const isLeftOut = instance === undefined || instance.endpoints.some((endpoint) => {
          const address = addressOf(endpoint)
          return earlier.some((other) => other.idsAt(address).size > 0)
        })
        const merged = part.idOf(id)
        if (isLeftOut) HashMap.remove(byId, merged)
        else HashMap.set(byId, merged, part.merged(instance))
        changed.push(merged)
      }
    })
    return changed
  }

  *#rejected(): Iterable<[string, InstanceSet.Rejected]> {
    for (const part of this.#parts) {
      for (const entry of part.set?.rejected ?? []) yield [part.idOf(entry.key), entry]
    }
  }

  *#held(): Iterable<[string, ServiceInstance<unknown>]> {
    for (const part of this.#parts) {
      for (const { id } of part.set?.held ?? []) {
        const merged = HashMap.get(this.#byId, part.idOf(id))
        if (Option.isSome(merged)) yield [merged.value.id, merged.value]
      }
    }
  }
}

/** A merged set is stale since the earliest time of a stale part. */
const staler = (a: Freshness, b: Freshness): Freshness =>
  b._tag === "Live" || (a._tag === "Stale" && a.since <= b.since) ? a : b

/**
 * Merges the sets of several discoveries into one stream of sets.
 *
 * **When to use**
 *
 * Use to discover a service that is registered in different formats, under different names, or in different etcds.
 *
 * **Details**
 *
 * Each source has a label. The stream begins once each source has emitted its first set, and emits whenever one of them
 * does. A slow consumer gets the newest set. It fails as soon as one source fails, and with `InvalidOption` before
 * anything is sent if a label or a weight is invalid. One fiber for each source runs in the scope of the consumer.
 * Nothing is written.
 *
 * In a merged set
 *
 * - the id of an instance is `<label>/<id>`, so that ids never collide; `name` is that of its service;
 * - an instance is left out while an earlier source has one with the same host and port: a process that registers twice,
 *   in an old format and a new one, counts once, as the earlier source describes it;
 * - `revision` is the highest of the parts. Each part is the state of its keys at one revision, the whole is not;
 * - `freshness` is `Stale` if one part is, since the first became so;
 * - `rejected` and `held` are those of all parts.
 *
 * **Gotchas**
 *
 * Formats have different default weights: 1 here, 10 for Kitex, 100 for kratos and Dubbo. A source
 * `{ sets, weight: 1 / 100 }` has its weights multiplied.
 *
 * @example
 * ```ts
 * import { discover, InstanceSet, registerService, Registry } from "@effect-etcd/discovery"
 * import { Effect, Stream } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("users-v1", { id: "a", endpoints: ["http://10.0.0.5:8080"] })
 *   yield* registerService("users-v2", { id: "a", endpoints: ["http://10.0.0.6:8080"] })
 *   const users = InstanceSet.merge({ v1: { sets: discover("users-v1"), weight: 1 / 9 }, v2: discover("users-v2") })
 *   yield* users.pipe(
 *     Stream.take(1),
 *     Stream.runForEach((set) => Effect.sync(() => assert.deepEqual(set.instances.map(({ id }) => id), ["v1/a", "v2/a"])))
 *   )
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = <const Sources extends Readonly<Record<string, MergeSource>>>(
  given: Sources
): Stream.Stream<
  InstanceSet.InstanceSet<MergeMetadata<Sources>>,
  InvalidOption | MergeError<Sources>,
  MergeServices<Sources>
> =>
  Stream.unwrap(Effect.gen(function* () {
    const sources = yield* Effect.fromResult(
      checkOptions("InstanceSet.merge", (check) => Object.entries(given).map((source) => sourceOf(check, source)))
    )
    const latest = new Latest<InstanceSet.InstanceSet<unknown>, unknown>()
    const union = new Union(sources)
    yield* Effect.forEach(
      sources,
      ({ sets }, index) =>
        Stream.runForEach(sets, (set) =>
          Effect.sync(() => {
            const merged = union.take(index, set)
            if (merged !== undefined) latest.set(merged)
          })),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.exit, Effect.map((exit) => latest.end(exit)), Effect.forkScoped)
    return latest.changes
    // Sound: each source has the types of its part of `Sources`, and the merge only passes them on.
  })) as Stream.Stream<
    InstanceSet.InstanceSet<MergeMetadata<Sources>>,
    InvalidOption | MergeError<Sources>,
    MergeServices<Sources>
  >

/**
 * The complete set of a service's instances at one revision.
 *
 * Sets are immutable and share structure.
 *
 * @since 0.1.0
 * @module
 */
import { HashMap, Option } from "effect"
import { Freshness } from "../../etcd/Freshness.ts"
import type { InvalidInstance } from "./Codec.ts"
import { byId, type InstanceStatus, isAvailable, type Labels, type ServiceInstance } from "./Instance.ts"

/**
 * A key that is not an instance, and the reason.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rejected {
  readonly key: string
  readonly error: InvalidInstance
}

/**
 * The complete set of a service's instances at one revision. Iterates over `instances`.
 *
 * **Details**
 *
 * Sets are immutable and share structure: applying a change costs O(changed instances), not O(set size). Arrays are
 * built at their first use, once per set.
 *
 * @since 0.1.0
 * @category models
 */
export interface InstanceSet<M = Labels> extends Iterable<ServiceInstance<M>> {
  /** The number of instances. */
  readonly size: number
  /** The revision of etcd whose state this is. */
  readonly revision: bigint
  /** Whether the set follows etcd or is the last known one. */
  readonly freshness: Freshness
  /** The keys that are not instances, ordered by key. */
  readonly rejected: ReadonlyArray<Rejected>
  /** The instances of this set that are not in etcd and that mass-loss protection keeps, ordered by id. */
  readonly held: ReadonlyArray<ServiceInstance<M>>
  /** The instance with this id. */
  readonly get: (id: string) => Option.Option<ServiceInstance<M>>
  /** Whether there is an instance with this id. */
  readonly has: (id: string) => boolean
  /** All instances, ordered by id. */
  readonly instances: ReadonlyArray<ServiceInstance<M>>
  /** The instances that are `"up"` and have a weight above 0, ordered by id. */
  readonly available: ReadonlyArray<ServiceInstance<M>>
  /** The endpoints of `available`, in the same order. */
  readonly endpoints: ReadonlyArray<string>
}

/**
 * What happened to one instance between two sets.
 *
 * @since 0.1.0
 * @category models
 */
export type Change<M = Labels> =
  | { readonly _tag: "Added"; readonly instance: ServiceInstance<M> }
  | { readonly _tag: "Updated"; readonly instance: ServiceInstance<M>; readonly previous: ServiceInstance<M> }
  | { readonly _tag: "Removed"; readonly instance: ServiceInstance<M> }

/** The parts of a set. */
export interface Members<M> {
  readonly byId: HashMap.HashMap<string, ServiceInstance<M>>
  readonly revision: bigint
  readonly freshness: Freshness
  readonly rejected: HashMap.HashMap<string, Rejected>
  readonly held: ReadonlyMap<string, ServiceInstance<M>>
  readonly history: History
  /** The place of this set in its history. */
  readonly sequence: number
}

/** How many steps a {@link History} keeps. */
const maxHistory = 1024

/**
 * The ids that changed from each set to the next, for the newest sets of one watch. With them, comparing two sets costs
 * O(changed instances).
 */
export class History {
  #sequence = 0
  readonly #steps: Array<ReadonlyArray<string>> = []

  /** Adds the ids in which the next set differs from its predecessor, and returns the place of the next set. */
  append(ids: ReadonlyArray<string>): number {
    this.#sequence += 1
    this.#steps[this.#sequence % maxHistory] = ids
    return this.#sequence
  }

  /** The ids that changed after `from` up to `to`, or `undefined` if the history no longer has them. */
  between(from: number, to: number): ReadonlySet<string> | undefined {
    if (from > to || this.#sequence - from > maxHistory) return undefined
    const ids = new Set<string>()
    for (let sequence = from + 1; sequence <= to; sequence++) {
      for (const id of this.#steps[sequence % maxHistory] ?? []) ids.add(id)
    }
    return ids
  }
}

class InstanceSetImpl<M> implements InstanceSet<M> {
  readonly members: Members<M>
  #instances: ReadonlyArray<ServiceInstance<M>> | undefined
  #available: ReadonlyArray<ServiceInstance<M>> | undefined
  #endpoints: ReadonlyArray<string> | undefined

  constructor(members: Members<M>) {
    this.members = members
  }
  get size(): number {
    return HashMap.size(this.members.byId)
  }
  get revision(): bigint {
    return this.members.revision
  }
  get freshness(): Freshness {
    return this.members.freshness
  }
  get rejected(): ReadonlyArray<Rejected> {
    return Array.from(HashMap.values(this.members.rejected)).sort((a, b) => a.key < b.key ? -1 : 1)
  }
  get held(): ReadonlyArray<ServiceInstance<M>> {
    return Array.from(this.members.held.values()).sort(byId)
  }
  get(id: string): Option.Option<ServiceInstance<M>> {
    return HashMap.get(this.members.byId, id)
  }
  has(id: string): boolean {
    return HashMap.has(this.members.byId, id)
  }
  get instances(): ReadonlyArray<ServiceInstance<M>> {
    return this.#instances ??= Object.freeze(Array.from(HashMap.values(this.members.byId)).sort(byId))
  }
  get available(): ReadonlyArray<ServiceInstance<M>> {
    return this.#available ??= Object.freeze(this.instances.filter(isAvailable))
  }
  get endpoints(): ReadonlyArray<string> {
    return this.#endpoints ??= Object.freeze(this.available.flatMap((instance) => instance.endpoints))
  }
  [Symbol.iterator](): Iterator<ServiceInstance<M>> {
    return this.instances[Symbol.iterator]()
  }
  toJSON(): unknown {
    const { size, revision, freshness, instances, rejected, held } = this
    return { _id: "InstanceSet", size, revision: String(revision), freshness, instances, rejected, held }
  }
  [Symbol.for("nodejs.util.inspect.custom")](): unknown {
    return this.toJSON()
  }
}

/** Makes a set of its parts. */
export const make = <M>(members: Members<M>): InstanceSet<M> => new InstanceSetImpl(members)

/**
 * Makes a set of instances, for tests and for sources other than etcd.
 *
 * **Details**
 *
 * It is `Live` and nothing in it is rejected or held. `revision` is 0 by default.
 *
 * @example
 * ```ts
 * import { InstanceSet } from "@effect-etcd/discovery"
 * import assert from "node:assert/strict"
 *
 * const set = InstanceSet.fromInstances([
 *   { id: "a", name: "orders", metadata: {}, endpoints: ["http://10.0.0.5:8080"], weight: 1, status: "draining" }
 * ])
 * assert.deepEqual([set.size, set.available.length], [1, 0])
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromInstances = <M>(
  instances: Iterable<ServiceInstance<M>>,
  revision: bigint = 0n
): InstanceSet<M> =>
  make({
    byId: HashMap.fromIterable(
      Array.from(instances, (instance): [string, ServiceInstance<M>] => [instance.id, instance])
    ),
    revision,
    freshness: Freshness.Live(),
    rejected: HashMap.empty(),
    held: new Map(),
    history: new History(),
    sequence: 0
  })

/** The number of instances of a set by status. */
export const countByStatus = (set: InstanceSet<unknown>): Readonly<Record<InstanceStatus, number>> => {
  const counts: Record<InstanceStatus, number> = { up: 0, starting: 0, draining: 0, down: 0 }
  // Not `instances`, which would sort them.
  const instances = set instanceof InstanceSetImpl ? HashMap.values(set.members.byId) : set
  for (const { status } of instances as Iterable<ServiceInstance<unknown>>) counts[status] += 1
  return counts
}

const idsOf = <M>(set: InstanceSet<M>): ReadonlySet<string> => new Set(Array.from(set, (instance) => instance.id))

const changedIds = <M>(from: InstanceSet<M>, to: InstanceSet<M>): ReadonlySet<string> => {
  if (from instanceof InstanceSetImpl && to instanceof InstanceSetImpl && from.members.history === to.members.history) {
    const known = to.members.history.between(from.members.sequence, to.members.sequence)
    if (known !== undefined) return known
  }
  return idsOf(from).union(idsOf(to))
}

/**
 * Lists the changes from one set to another, one for each instance, ordered by id.
 *
 * **Details**
 *
 * Without a set to compare with, each instance is `Added`. For two sets of one watch it costs O(changed instances), up
 * to 1,024 sets back, and otherwise O(set size).
 *
 * @example
 * ```ts
 * import { InstanceSet, type ServiceInstance } from "@effect-etcd/discovery"
 * import assert from "node:assert/strict"
 *
 * const instance: ServiceInstance = {
 *   id: "a",
 *   name: "orders",
 *   metadata: {},
 *   endpoints: ["http://10.0.0.5:8080"],
 *   weight: 1,
 *   status: "up"
 * }
 * const changes = InstanceSet.diff(InstanceSet.fromInstances([]), InstanceSet.fromInstances([instance]))
 * assert.deepEqual(changes, [{ _tag: "Added", instance }])
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const diff = <M>(from: InstanceSet<M> | undefined, to: InstanceSet<M>): ReadonlyArray<Change<M>> => {
  if (from === undefined) return to.instances.map((instance) => ({ _tag: "Added", instance }))
  const changes: Array<Change<M>> = []
  for (const id of changedIds(from, to)) {
    const previous = Option.getOrUndefined(from.get(id))
    const instance = Option.getOrUndefined(to.get(id))
    if (previous === instance) continue
    if (instance === undefined) {
      if (previous !== undefined) changes.push({ _tag: "Removed", instance: previous })
    } else if (previous === undefined) changes.push({ _tag: "Added", instance })
    else changes.push({ _tag: "Updated", instance, previous })
  }
  return changes.sort((a, b) => byId(a.instance, b.instance))
}

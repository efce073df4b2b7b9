/**
 * Every service of a namespace at one revision.
 *
 * @since 0.1.0
 * @module
 */
import { HashMap, Option } from "effect"
import type { Freshness } from "../../etcd/Freshness.ts"
import type { InstanceSet, Rejected } from "../model/InstanceSet.ts"

/**
 * The instance sets of all services of a namespace. Iterates over names and sets, ordered by name.
 *
 * **Details**
 *
 * A catalog is immutable. The set of a service that did not change is the same object in the next catalog, so its own
 * `revision` may be lower than that of the catalog.
 *
 * @since 0.1.0
 * @category models
 */
export interface Catalog extends Iterable<readonly [name: string, set: InstanceSet]> {
  /** How many services have keys. */
  readonly size: number
  /** The revision of etcd at which the keys of the namespace were these. */
  readonly revision: bigint
  readonly freshness: Freshness
  /** The names of the services, ordered. */
  readonly names: ReadonlyArray<string>
  /** The keys of the namespace that belong to no service, ordered. A set lists the rejected keys of its service. */
  readonly rejected: ReadonlyArray<Rejected>
  readonly get: (name: string) => Option.Option<InstanceSet>
  readonly has: (name: string) => boolean
}

/** The parts of a catalog. */
export interface Members {
  readonly sets: HashMap.HashMap<string, InstanceSet>
  readonly revision: bigint
  readonly freshness: Freshness
  readonly rejected: HashMap.HashMap<string, Rejected>
}

class CatalogImpl implements Catalog {
  readonly #members: Members
  #names: ReadonlyArray<string> | undefined

  constructor(members: Members) {
    this.#members = members
  }
  get size(): number {
    return HashMap.size(this.#members.sets)
  }
  get revision(): bigint {
    return this.#members.revision
  }
  get freshness(): Freshness {
    return this.#members.freshness
  }
  get names(): ReadonlyArray<string> {
    return this.#names ??= Object.freeze(Array.from(HashMap.keys(this.#members.sets)).sort())
  }
  get rejected(): ReadonlyArray<Rejected> {
    return Array.from(HashMap.values(this.#members.rejected)).sort((a, b) => a.key < b.key ? -1 : 1)
  }
  get(name: string): Option.Option<InstanceSet> {
    return HashMap.get(this.#members.sets, name)
  }
  has(name: string): boolean {
    return HashMap.has(this.#members.sets, name)
  }
  *[Symbol.iterator](): Iterator<readonly [string, InstanceSet]> {
    for (const name of this.names) {
      const set = Option.getOrUndefined(this.get(name))
      if (set !== undefined) yield [name, set]
    }
  }
  toJSON(): unknown {
    const { freshness, rejected, revision, size } = this
    return {
      _id: "Catalog",
      size,
      revision: String(revision),
      freshness,
      services: Object.fromEntries(this),
      rejected
    }
  }
  [Symbol.for("nodejs.util.inspect.custom")](): unknown {
    return this.toJSON()
  }
}

/** The catalog of these members. */
export const make = (members: Members): Catalog => new CatalogImpl(members)

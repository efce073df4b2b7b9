/**
 * etcd's multi-version store: keys with their history.
 *
 * Every write makes a {@link Version}. A key is the chain of its versions, newest first. The log has the same versions
 * in the order of writing. All writes of a transaction share one revision. Its own reads return them at once, other
 * reads after the commit. Nothing is ever undone, because everything that may be refused is refused before the first
 * write.
 *
 * Compaction at a revision removes the versions that were replaced up to it, the keys whose newest version is a
 * deletion up to it, and the log before it. The store can then be read at that revision and later, and watched from it.
 *
 * Revisions are `number`s here: one process never reaches 2^53 of them.
 *
 * @module
 */
import { type ByteText, type Interval, isPoint } from "./keys.ts"
import { type Keyed, SortedIndex } from "./SortedIndex.ts"

/** A key after one write. */
export interface Version {
  readonly key: ByteText
  /** Empty after a deletion. */
  readonly value: ByteText
  /** The revision that created the key, `0` after a deletion. */
  readonly create: number
  /** The revision of this write. */
  readonly mod: number
  /** Number of writes since the key was created, `0` after a deletion. */
  readonly version: number
  readonly lease: bigint
  /** The key before this write; `undefined` if it was compacted. */
  previous: Version | undefined
}

/** Whether the key exists in this version. */
export const exists = (version: Version): boolean => version.version > 0

const orAbsent = (version: Version | undefined): Version | undefined =>
  version !== undefined && exists(version) ? version : undefined

/** The key before this version's revision, if it existed, was not created anew and is not compacted. */
export const before = (version: Version): Version | undefined => {
  if (version.create === version.mod) return undefined
  let previous = version.previous
  while (previous !== undefined && previous.mod === version.mod) previous = previous.previous
  return orAbsent(previous)
}

/** A key's place in the index. */
interface Slot extends Keyed {
  newest: Version
}

const size = (version: Version): number => version.key.length + version.value.length

/** The multi-version store. */
export class Store {
  /** The newest revision; a new store is at 1. */
  revision = 1
  /** History before this revision is gone. A new store can still be compacted at 0. */
  compactRevision = -1
  /** Size of all keys and values, in bytes. */
  bytes = 0
  readonly #index = new SortedIndex<Slot>()
  /** All versions since the compact revision. */
  readonly #log: Array<Version> = []

  /** A key at a revision. */
  at(key: ByteText, revision: number): Version | undefined {
    return versionAt(this.#index.get(key), revision)
  }

  /** Visits the keys that exist in an interval at a revision, in key order. */
  forEach(interval: Interval, revision: number, visit: (version: Version) => void): void {
    const visitSlot = (slot: Slot | undefined): void => {
      const version = versionAt(slot, revision)
      if (version !== undefined) visit(version)
    }
    if (isPoint(interval)) visitSlot(this.#index.get(interval.start))
    else this.#index.forEach(interval, visitSlot)
  }

  /** Starts a transaction, which ends with `commit`. There is one at a time. */
  begin(): Transaction {
    return new Transaction(this)
  }

  /** The versions written since a revision: at least `limit` if there are as many, up to the end of a revision. */
  changes(from: number, limit = Infinity): ReadonlyArray<Version> {
    const first = this.#logPosition(from)
    let end = Math.min(first + limit, this.#log.length)
    while (end > first && end < this.#log.length && this.#log[end]?.mod === this.#log[end - 1]?.mod) end++
    return this.#log.slice(first, end)
  }

  /** Drops the history before a revision, which must be neither compacted nor in the future. */
  compact(revision: number): void {
    this.compactRevision = revision
    const end = this.#logPosition(revision + 1)
    for (let i = 0; i < end; i++) {
      const version = this.#log[i]
      if (version === undefined) continue
      for (let old = version.previous; old !== undefined; old = old.previous) this.bytes -= size(old)
      version.previous = undefined
      if (!exists(version) && this.#index.get(version.key)?.newest === version) {
        this.#index.remove(version.key)
        this.bytes -= size(version)
      }
    }
    this.#log.splice(0, this.#logPosition(revision))
  }

  /** Makes a version the newest of its key. For {@link Transaction}. */
  append(key: ByteText, write: Omit<Version, "key" | "previous">): Version {
    const slot = this.#index.get(key)
    const { value, create, mod, version, lease } = write
    const newest: Version = { key, value, create, mod, version, lease, previous: slot?.newest }
    if (slot === undefined) this.#index.insert({ key, newest })
    else slot.newest = newest
    this.#log.push(newest)
    this.bytes += size(newest)
    return newest
  }

  /** The index in the log of the first version at a revision or later. */
  #logPosition(revision: number): number {
    let low = 0
    let high = this.#log.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const version = this.#log[middle]
      if (version !== undefined && version.mod < revision) low = middle + 1
      else high = middle
    }
    return low
  }
}

const versionAt = (slot: Slot | undefined, revision: number): Version | undefined => {
  let version = slot?.newest
  while (version !== undefined && version.mod > revision) version = version.previous
  return orAbsent(version)
}

/** Writes that share one revision. */
export class Transaction {
  readonly changes: Array<Version> = []
  readonly #store: Store
  readonly #base: number

  constructor(store: Store) {
    this.#store = store
    this.#base = store.revision
  }

  /** The revision of this transaction's reads: the store's, until it has written something. */
  get revision(): number {
    return this.changes.length > 0 ? this.#base + 1 : this.#base
  }

  at(key: ByteText): Version | undefined {
    return this.#store.at(key, this.revision)
  }

  /** Writes a key and returns its previous version. */
  put(key: ByteText, value: ByteText, lease: bigint): Version | undefined {
    const previous = this.at(key)
    const mod = this.#base + 1
    const create = previous?.create ?? mod
    const version = (previous?.version ?? 0) + 1
    this.changes.push(this.#store.append(key, { value, create, mod, version, lease }))
    return previous
  }

  /** Deletes keys and returns their previous versions, in key order. */
  delete(interval: Interval): ReadonlyArray<Version> {
    const deleted: Array<Version> = []
    this.#store.forEach(interval, this.revision, (version) => deleted.push(version))
    const tombstone = { value: "", create: 0, mod: this.#base + 1, version: 0, lease: 0n }
    for (const { key } of deleted) this.changes.push(this.#store.append(key, tombstone))
    return deleted
  }

  /** Ends the transaction: its writes become the newest revision. */
  commit(): void {
    this.#store.revision = this.revision
  }
}

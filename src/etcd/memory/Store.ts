/**
 * Keys with their history: etcd's multi-version store.
 *
 * Every write makes a {@link Version}, and a key is the chain of its versions, newest first. The log has the same
 * versions in the order they were written. A write transaction has one revision for all it writes; what it wrote is
 * visible to its own reads at once and to everybody else when it is committed. Nothing is ever undone: whatever may
 * be refused is refused before the first write.
 *
 * Compacting at a revision cuts the chains of what was replaced up to it, drops keys whose newest version is a deletion
 * up to it, and drops the log before it. The store can then be read at that revision and later, and watched from it.
 *
 * Revisions are `number`s in here: 2^53 of them do not fit into one process.
 *
 * @module
 */
import { type ByteText, type Interval, isPoint } from "./keys.ts"
import { type Keyed, SortedIndex } from "./SortedIndex.ts"

/** What one write made of a key. */
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
  /** What the key was before; gone when compacted. */
  previous: Version | undefined
}

/** Whether the key exists in this version. */
export const exists = (version: Version): boolean => version.version > 0

const orAbsent = (version: Version | undefined): Version | undefined =>
  version !== undefined && exists(version) ? version : undefined

/** What the key was before the revision that made this version, if it existed, lived on and is not compacted. */
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
  /** The newest revision; a fresh store is at 1. */
  revision = 1
  /** History before this revision is gone. A fresh store can still be compacted at 0. */
  compactRevision = -1
  /** Bytes of the keys and values that are held. */
  bytes = 0
  readonly #index = new SortedIndex<Slot>()
  /** All versions since the compact revision. */
  readonly #log: Array<Version> = []

  /** What a key is at a revision. */
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

  /** Starts a transaction. One at a time, and it ends with its `commit`. */
  begin(): Transaction {
    return new Transaction(this)
  }

  /** The versions written from a revision on: at least `limit` of them, and then whole revisions only. */
  changes(from: number, limit = Infinity): ReadonlyArray<Version> {
    const first = this.#logPosition(from)
    let end = Math.min(first + limit, this.#log.length)
    while (end > first && end < this.#log.length && this.#log[end]?.mod === this.#log[end - 1]?.mod) end++
    return this.#log.slice(first, end)
  }

  /** Drops history before a revision, which is neither compacted nor in the future. */
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

  /** The place in the log of the first version at a revision or later. */
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

  /** The revision that reads see: the store's until something was written. */
  get revision(): number {
    return this.changes.length > 0 ? this.#base + 1 : this.#base
  }

  at(key: ByteText): Version | undefined {
    return this.#store.at(key, this.revision)
  }

  /** Writes a key and answers with what it was. */
  put(key: ByteText, value: ByteText, lease: bigint): Version | undefined {
    const previous = this.at(key)
    const mod = this.#base + 1
    const create = previous?.create ?? mod
    const version = (previous?.version ?? 0) + 1
    this.changes.push(this.#store.append(key, { value, create, mod, version, lease }))
    return previous
  }

  /** Deletes keys and answers with what they were, in key order. */
  delete(interval: Interval): ReadonlyArray<Version> {
    const deleted: Array<Version> = []
    this.#store.forEach(interval, this.revision, (version) => deleted.push(version))
    const tombstone = { value: "", create: 0, mod: this.#base + 1, version: 0, lease: 0n }
    for (const { key } of deleted) this.changes.push(this.#store.append(key, tombstone))
    return deleted
  }

  /** Ends the transaction: what it wrote becomes the newest revision. */
  commit(): void {
    this.#store.revision = this.revision
  }
}

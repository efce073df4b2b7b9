/**
 * Watches, each with a buffer of messages that were not taken yet.
 *
 * A *live* watch is in the index, and matching writes go into its buffer. A watch is *behind* if it must read older
 * history first, which it does when its reader takes messages: a watch that starts in the past, and a watch whose
 * buffer is full. So a slow reader delays no one and costs constant memory. It loses nothing unless that history is
 * compacted, which ends the watch.
 *
 * The index is a map for watches of one key and an interval tree for the rest, with one entry per range. A write finds
 * its watches without visiting the others.
 *
 * @module
 */
import { Deadline, type Deadlines } from "../../internal/time/Deadlines.ts"
import { find, forEachHolding, insert, type IntervalTree, remove } from "./IntervalTree.ts"
import { type ByteText, type Interval, isPoint } from "./keys.ts"
import { before, exists, type Store, type Version } from "./Store.ts"

/** A change, with the version it replaced if `prevKv` was requested. */
export interface Change {
  readonly version: Version
  readonly previous: Version | undefined
}

/** A message of a watch; `revision` is the store's at that time. */
export type Message =
  | { readonly _tag: "Created"; readonly revision: number }
  | { readonly _tag: "Events"; readonly revision: number; readonly changes: ReadonlyArray<Change> }
  | { readonly _tag: "Progress"; readonly revision: number }

/** Maximum messages in a buffer, and versions per read of history. */
const capacity = 1024

/** Options of a watch. */
export interface WatchOptions extends Interval {
  /** The first revision to report; `0` means the one after the newest. */
  readonly from: number
  readonly prevKv: boolean
  readonly puts: boolean
  readonly deletes: boolean
  /** Milliseconds without a message after which a progress message is sent. */
  readonly progressEvery: number
}

interface Group extends Interval {
  readonly watches: Set<Watch>
}

/** The watches of a store. */
export class Watchers {
  readonly #store: Store
  readonly #deadlines: Deadlines
  readonly #ofKey = new Map<ByteText, Group>()
  #ofRange: IntervalTree<Group> = undefined

  constructor(store: Store, deadlines: Deadlines) {
    this.#store = store
    this.#deadlines = deadlines
  }

  /** Starts a watch, which lasts until it is closed. */
  open(options: WatchOptions, now: number): Watch {
    return new Watch(this, this.#store, this.#deadlines, options, now)
  }

  /** Adds the versions of a transaction to the live watches that match. */
  publish(versions: ReadonlyArray<Version>, now: number): void {
    const concerned = new Map<Watch, Array<Version>>()
    for (const version of versions) {
      const add = (group: Group): void => {
        for (const watch of group.watches) {
          if (!watch.wants(version)) continue
          const others = concerned.get(watch)
          if (others === undefined) concerned.set(watch, [version])
          else others.push(version)
        }
      }
      const exact = this.#ofKey.get(version.key)
      if (exact !== undefined) add(exact)
      forEachHolding(this.#ofRange, version.key, add)
    }
    for (const [watch, wanted] of concerned) watch.push(wanted, now)
  }

  /** Adds a watch to the index: it is live. For {@link Watch}. */
  enter(watch: Watch): void {
    const { start, end } = watch.options
    const single = isPoint(watch.options)
    const known = single ? this.#ofKey.get(start) : find(this.#ofRange, watch.options)
    if (known !== undefined) {
      known.watches.add(watch)
      return
    }
    const group: Group = { start, end, watches: new Set([watch]) }
    if (single) this.#ofKey.set(start, group)
    else this.#ofRange = insert(this.#ofRange, group)
  }

  /** Removes a watch from the index. For {@link Watch}. */
  leave(watch: Watch): void {
    const { start } = watch.options
    const single = isPoint(watch.options)
    const group = single ? this.#ofKey.get(start) : find(this.#ofRange, watch.options)
    if (group === undefined || !group.watches.delete(watch) || group.watches.size > 0) return
    if (single) this.#ofKey.delete(start)
    else this.#ofRange = remove(this.#ofRange, group)
  }
}

/** One watch. */
export class Watch {
  readonly options: WatchOptions
  /** Called when there is something to take. */
  wake: (() => void) | undefined
  readonly #watchers: Watchers
  readonly #store: Store
  readonly #deadlines: Deadlines
  readonly #progress: Deadline
  readonly #first: number
  #buffer: Array<Message>
  /** The next revision to read from history; `undefined` if live. */
  #behind: number | undefined
  #lastMessage: number

  constructor(watchers: Watchers, store: Store, deadlines: Deadlines, options: WatchOptions, now: number) {
    this.options = options
    this.#watchers = watchers
    this.#store = store
    this.#deadlines = deadlines
    this.#buffer = [{ _tag: "Created", revision: store.revision }]
    this.#lastMessage = now
    this.#first = options.from === 0 ? store.revision + 1 : options.from
    this.#progress = new Deadline((at) => this.#reportProgress(at))
    this.#deadlines.set(this.#progress, now + options.progressEvery)
    if (this.#first <= store.revision) this.#behind = this.#first
    else this.#watchers.enter(this)
  }

  /** Whether `take` may return messages. */
  get isReady(): boolean {
    return this.#buffer.length > 0 || this.#behind !== undefined
  }

  /** Whether a version of a watched key must be reported. */
  wants(version: Version): boolean {
    return version.mod >= this.#first && (exists(version) ? this.options.puts : this.options.deletes)
  }

  /** Adds the versions of one revision. */
  push(versions: ReadonlyArray<Version>, now: number): void {
    if (this.#buffer.length >= capacity) {
      this.#behind = this.#store.revision
      this.#watchers.leave(this)
      return
    }
    this.#add({ _tag: "Events", revision: this.#store.revision, changes: versions.map(this.#change) }, now)
  }

  /** The messages so far, perhaps none; `"compacted"` if the next revision to read is gone. */
  take(now: number): ReadonlyArray<Message> | "compacted" {
    while (this.#buffer.length === 0 && this.#behind !== undefined) {
      if (this.#behind < this.#store.compactRevision) return "compacted"
      this.#behind = this.#catchUp(this.#behind, now)
      if (this.#behind === undefined) this.#watchers.enter(this)
    }
    const messages = this.#buffer
    if (messages.length > 0) this.#buffer = []
    return messages
  }

  /** Ends the watch. */
  close(): void {
    this.wake = undefined
    this.#watchers.leave(this)
    this.#deadlines.delete(this.#progress)
  }

  /** Reads some history and returns the revision to continue from, if there is more. */
  #catchUp(from: number, now: number): number | undefined {
    const versions = this.#store.changes(from, capacity)
    const { start, end } = this.options
    let changes: Array<Change> = []
    versions.forEach((version, i) => {
      if (version.key >= start && version.key < end && this.wants(version)) changes.push(this.#change(version))
      if (changes.length > 0 && versions[i + 1]?.mod !== version.mod) {
        this.#add({ _tag: "Events", revision: this.#store.revision, changes }, now)
        changes = []
      }
    })
    const last = versions.at(-1)
    return last === undefined || last.mod === this.#store.revision ? undefined : last.mod + 1
  }

  #add(message: Message, now: number): void {
    this.#buffer.push(message)
    this.#lastMessage = now
    this.wake?.()
  }

  readonly #change = (version: Version): Change => ({
    version,
    previous: this.options.prevKv ? before(version) : undefined
  })

  #reportProgress(now: number): void {
    const due = this.#lastMessage + this.options.progressEvery
    if (due > now) return this.#deadlines.set(this.#progress, due)
    if (this.#behind === undefined && this.#buffer.length === 0) {
      this.#add({ _tag: "Progress", revision: this.#store.revision }, now)
    }
    this.#deadlines.set(this.#progress, now + this.options.progressEvery)
  }
}

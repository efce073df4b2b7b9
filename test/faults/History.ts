/**
 * A history: what was done to etcd and to its clients, the calls and results of the clients under test, and the truth,
 * in order of time. It is plain data; `check.ts` judges it.
 *
 * @module
 */

/** A set that a subscriber received. */
export interface SeenSet {
  readonly revision: bigint
  readonly live: boolean
  /** By id: `contentOf` of the instance. */
  readonly contents: ReadonlyMap<string, string>
}

/** One entry. `registrant` and `subscriber` are unique names. */
export type Happened =
  /** The truth: a key was written (or, without a value, deleted) at this revision of this life of etcd. */
  | {
    readonly _tag: "Wrote"
    readonly epoch: number
    readonly revision: bigint
    readonly key: string
    readonly value: string | undefined
    readonly lease: bigint
  }
  /** etcd begins another life: its data was wiped, or replaced by older data. Lives count from 0. */
  | { readonly _tag: "Replaced"; readonly epoch: number }
  /** The operator wrote this revision. */
  | { readonly _tag: "Operated"; readonly epoch: number; readonly revision: bigint }
  /** A fault begins. */
  | {
    readonly _tag: "FaultBegan"
    readonly fault: number
    readonly name: string
    /** Until it ends, no client has contact to etcd. */
    readonly cuts: boolean
    /** Clients do not run. */
    readonly freezes: boolean
    /** etcd may refuse requests. */
    readonly refuses: boolean
  }
  | { readonly _tag: "FaultHealed"; readonly fault: number }
  | { readonly _tag: "Called"; readonly registrant: string; readonly call: Call; readonly key: string }
  /** `failure` is the tag of the error, if the call failed. */
  | { readonly _tag: "Returned"; readonly registrant: string; readonly call: Call; readonly failure?: string }
  | {
    readonly _tag: "Status"
    readonly registrant: string
    readonly status: string
    readonly claim?: { readonly lease: bigint; readonly revision: bigint }
  }
  | { readonly _tag: "Subscribed"; readonly subscriber: string; readonly service: string }
  | { readonly _tag: "Emitted"; readonly subscriber: string; readonly set: SeenSet }
  | {
    readonly _tag: "Changed"
    readonly subscriber: string
    readonly change: "Added" | "Updated" | "Removed"
    readonly id: string
    readonly content: string
  }
  /** The stream ended by itself. `failure` is the tag of the reason. */
  | { readonly _tag: "Ended"; readonly subscriber: string; readonly failure: string }
  | { readonly _tag: "Unsubscribed"; readonly subscriber: string }
  /**
   * All faults have ended and nothing is written any more: every client must have converged. Once before the clients
   * leave, and once after.
   */
  | { readonly _tag: "Quiet" }
  /** Every scope is closed: the keys and leases of clients under test that remain in etcd. */
  | { readonly _tag: "Left"; readonly keys: ReadonlyArray<string>; readonly leases: ReadonlyArray<string> }
  /** How many keys reconciliation repaired. */
  | { readonly _tag: "Mended"; readonly count: number }

/** `start` registers with `startup: "background"`. */
export type Call = "register" | "start" | "update" | "release"

/** An entry with its time in milliseconds, on one monotonic clock for all processes. */
export type Entry = Happened & { readonly at: number }

export type History = ReadonlyArray<Entry>

/** Milliseconds since the epoch, monotonic after the start of the process. */
export const now = (): number => performance.timeOrigin + performance.now()

/** Collects a history. */
export class Recorder {
  readonly #entries: Array<Entry> = []
  readonly #listeners = new Set<(entry: Entry) => void>()

  add(happened: Happened, at: number = now()): void {
    const entry: Entry = { ...happened, at }
    this.#entries.push(entry)
    for (const listener of this.#listeners) listener(entry)
  }

  /** Calls `listener` with each entry from now on. Returns a function that stops it. */
  listen(listener: (entry: Entry) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get length(): number {
    return this.#entries.length
  }

  /** The entries so far, ordered by time. Entries of other processes arrive late. */
  get history(): History {
    return [...this.#entries].sort((a, b) => a.at - b.at)
  }
}

/** An instance as one line: all of its members but the name and the id. */
export const contentOf = (instance: {
  readonly endpoints: ReadonlyArray<string>
  readonly metadata: unknown
  readonly status: string
  readonly weight: number
  readonly version?: string | undefined
  readonly zone?: string | undefined
}): string =>
  JSON.stringify([
    instance.endpoints,
    Object.entries(instance.metadata ?? {}).sort(([a], [b]) => a < b ? -1 : 1),
    instance.status,
    instance.weight,
    instance.version ?? null,
    instance.zone ?? null
  ])

/** Converts an entry to a line of text, and back. */
export const toLine = (entry: Entry): string =>
  JSON.stringify(entry, (_, value: unknown) => {
    if (typeof value === "bigint") return { bigint: String(value) }
    return value instanceof Map ? { map: [...value] } : value
  })

export const fromLine = (line: string): Entry =>
  JSON.parse(line, (_, value: unknown) => {
    if (typeof value !== "object" || value === null) return value
    if ("bigint" in value && typeof value.bigint === "string") return BigInt(value.bigint)
    return "map" in value && Array.isArray(value.map) ? new Map(value.map) : value
  })

/** A history as text; only the last part if it is long. */
export const show = (history: History, lines = 120): string => {
  const start = history[0]?.at ?? 0
  const entries = history.map(({ at, ...happened }) => {
    const time = `${((at - start) / 1000).toFixed(3).padStart(8)} s`
    const text = happened._tag === "Emitted" ?
      `Emitted ${happened.subscriber} ${happened.set.live ? "live" : "stale"} at ${happened.set.revision}: ${
        [...happened.set.contents.keys()].join(" ") || "nobody"
      }` :
      Object.entries(happened).map(([name, value]) =>
        name === "_tag" ?
          String(value) :
          `${name}=${
            JSON.stringify(value, (_, member: unknown) => typeof member === "bigint" ? String(member) : member)
          }`
      ).join(" ")
    return `${time}  ${text.length > 220 ? `${text.slice(0, 220)}…` : text}`
  })
  return (entries.length > lines ? [`… ${entries.length - lines} before`, ...entries.slice(-lines)] : entries).join(
    "\n"
  )
}

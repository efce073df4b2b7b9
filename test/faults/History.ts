/**
 * What happened, in the order of its moments: what was done to etcd and to its clients, what a client under test was
 * asked and said, and what was true. It is plain data; `check.ts` judges it.
 *
 * @module
 */

/** A set as a subscriber was given it. */
export interface SeenSet {
  readonly revision: bigint
  readonly live: boolean
  /** By id: what `contentOf` makes of the instance. */
  readonly contents: ReadonlyMap<string, string>
}

/** One entry. `registrant` and `subscriber` are names that are unique in the history. */
export type Happened =
  /** True: a key was written (or, without a value, deleted) at this revision of this life of etcd. */
  | {
    readonly _tag: "Wrote"
    readonly epoch: number
    readonly revision: bigint
    readonly key: string
    readonly value: string | undefined
    readonly lease: bigint
  }
  /** etcd begins another life: its data were wiped, or replaced by older ones. Lives count from 0. */
  | { readonly _tag: "Replaced"; readonly epoch: number }
  /** That revision was written by the operator's hand. */
  | { readonly _tag: "Operated"; readonly epoch: number; readonly revision: bigint }
  /** A fault begins. */
  | {
    readonly _tag: "FaultBegan"
    readonly fault: number
    readonly name: string
    /** Until it heals, nobody hears from etcd. */
    readonly cuts: boolean
    /** Clients do not run. */
    readonly freezes: boolean
    /** etcd may refuse, with reason. */
    readonly refuses: boolean
  }
  | { readonly _tag: "FaultHealed"; readonly fault: number }
  | { readonly _tag: "Called"; readonly registrant: string; readonly call: Call; readonly key: string }
  /** `failure` is the tag of the error, if it failed. */
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
  /** The stream has ended by itself; `failure` is the tag of the reason. */
  | { readonly _tag: "Ended"; readonly subscriber: string; readonly failure: string }
  | { readonly _tag: "Unsubscribed"; readonly subscriber: string }
  /**
   * All has healed and nothing is written any more; whoever has not converged by now never will. Once while all are
   * there, and once after they have left.
   */
  | { readonly _tag: "Quiet" }
  /** Every scope is closed: what remains in etcd that a client under test has put there. */
  | { readonly _tag: "Left"; readonly keys: ReadonlyArray<string>; readonly leases: ReadonlyArray<string> }
  /** What reconciliation had to mend. */
  | { readonly _tag: "Mended"; readonly count: number }

/** `start` registers without waiting. */
export type Call = "register" | "start" | "update" | "release"

/** An entry with its moment, in milliseconds: the same clock in every process, and one that never jumps. */
export type Entry = Happened & { readonly at: number }

export type History = ReadonlyArray<Entry>

/** Milliseconds since the epoch, on a clock that never jumps once the process has started. */
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

  /** Tells of each entry from now on; the answer ends it. */
  listen(listener: (entry: Entry) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** So far, by moment. What other processes report comes late. */
  get history(): History {
    return [...this.#entries].sort((a, b) => a.at - b.at)
  }
}

/** An instance in one line: all that a registrant says about itself, but its name and its id. */
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

/** An entry as a line of text, and back. */
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

/** A history for people, its last part where it is long. */
export const show = (history: History, lines = 120): string => {
  const start = history[0]?.at ?? 0
  const told = history.map(({ at, ...happened }) => {
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
  return (told.length > lines ? [`… ${told.length - lines} before`, ...told.slice(-lines)] : told).join("\n")
}

/**
 * An independent check of a cluster: derives the owner of each shard over time from etcd's history. It shares no code
 * with the library.
 *
 * @module
 */
import { Effect, Stream } from "effect"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import type { WatchEvent } from "../../src/etcd/messages/watch.ts"

const decoder = new TextDecoder()

/** The result of checking a history. */
export interface Verdict {
  /** Broken rules, in the order of the history. */
  readonly violations: ReadonlyArray<string>
  /** The runners that wrote for each shard, in order, without repetitions in a row. */
  readonly writers: Readonly<Record<string, ReadonlyArray<string>>>
  /** How often a shard changed its owner or lost it. */
  readonly moves: number
}

/**
 * Checks events below `<prefix>locks/` and `/written/`. A lock passes from one owner to another only by a deletion, and
 * every value below `/written/` must be the owner of the shard at that revision.
 */
export const judge = (prefix: string, events: ReadonlyArray<WatchEvent>): Verdict => {
  const owners = new Map<string, string>()
  const writers = new Map<string, Array<string>>()
  const violations: Array<string> = []
  let moves = 0
  const locks = `${prefix}locks/`
  for (const { kv, type } of events) {
    const key = decoder.decode(kv.key)
    const value = decoder.decode(kv.value)
    if (key.startsWith(locks)) {
      const shard = key.slice(locks.length)
      const owner = owners.get(shard)
      if (type === "delete") {
        owners.delete(shard)
        moves++
      } else {
        if (owner !== undefined && owner !== value) {
          violations.push(`revision ${kv.modRevision}: ${value} took ${shard} from ${owner}`)
        }
        owners.set(shard, value)
      }
    } else if (type === "put" && key.startsWith("/written/")) {
      const shard = key.slice("/written/".length)
      const owner = owners.get(shard) ?? "nobody"
      if (owner !== value) violations.push(`revision ${kv.modRevision}: ${value} wrote for ${shard} of ${owner}`)
      const list = writers.get(shard) ?? []
      if (list.at(-1) !== value) list.push(value)
      writers.set(shard, list)
    }
  }
  return { violations, writers: Object.fromEntries(writers), moves }
}

/** All events of etcd, from the first revision on. */
export const historyOf = (etcd: Etcd): Effect.Effect<ReadonlyArray<WatchEvent>, unknown> =>
  Effect.gen(function* () {
    // The last event of a complete history is a write of our own.
    const { header } = yield* etcd.put({ key: "/end", value: "" })
    const events: Array<WatchEvent> = []
    yield* etcd.watch({ ...prefixRange("/"), startRevision: 1n }).pipe(
      Stream.takeUntil((answer) => {
        if (answer._tag === "Events") events.push(...answer.events)
        return events.some(({ kv }) => kv.modRevision >= header.revision)
      }),
      Stream.runDrain
    )
    return events.filter(({ kv }) => kv.modRevision <= header.revision)
  })

/**
 * An independent check of a line: derives the holder over time from etcd's history. It shares no code with the library.
 *
 * @module
 */
import type { WatchEvent } from "../../src/etcd/messages/watch.ts"

const decoder = new TextDecoder()

/** The result of checking a history. */
export interface Verdict {
  /** Broken rules, in the order of the history. */
  readonly violations: ReadonlyArray<string>
  /** For each contender, the number of different keys that it wrote, which is how often it held. */
  readonly turns: Readonly<Record<string, number>>
  /** Keys of the line that are left at the end. */
  readonly left: ReadonlyArray<string>
}

/**
 * Checks events below `<name>/` and `/written/`. The holder is the key with the smallest create revision. Every value below
 * `/written/` must be the key of the holder at that revision, and holders must follow each other by create revision.
 */
export const judge = (name: string, events: ReadonlyArray<WatchEvent>): Verdict => {
  const line = new Map<string, bigint>()
  const turns = new Map<string, Set<string>>()
  const violations: Array<string> = []
  let newest = 0n
  for (const { kv, type } of events) {
    const key = decoder.decode(kv.key)
    if (key.startsWith(`${name}/`)) {
      if (type === "put") line.set(key, kv.createRevision)
      else line.delete(key)
      continue
    }
    if (type !== "put" || !key.startsWith("/written/")) continue
    const who = key.slice("/written/".length)
    const claimed = decoder.decode(kv.value)
    const [holder] = [...line].sort(([, a], [, b]) => a < b ? -1 : 1)
    if (holder === undefined || holder[0] !== claimed) {
      violations.push(
        `revision ${kv.modRevision}: ${who} wrote as ${claimed}, the holder is ${holder?.[0] ?? "nobody"}`
      )
      continue
    }
    if (holder[1] < newest) violations.push(`revision ${kv.modRevision}: ${who} holds ${holder[1]} after ${newest}`)
    newest = holder[1]
    turns.set(who, (turns.get(who) ?? new Set()).add(`${claimed}@${holder[1]}`))
  }
  return {
    violations,
    turns: Object.fromEntries([...turns].map(([who, keys]) => [who, keys.size])),
    left: [...line.keys()]
  }
}

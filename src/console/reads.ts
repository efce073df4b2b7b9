/**
 * Reads of etcd for the pages that show more than the catalog.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { after, type Bytes, type KeyRange, prefix, toBytes } from "../etcd/KeyRange.ts"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import type { Read } from "./Readings.ts"

/** A lease and its keys. */
export interface LeaseState {
  readonly id: LeaseId
  /** Seconds. `-1` if the lease no longer exists. */
  readonly ttl: number
  readonly grantedTtl: number
  readonly keys: ReadonlyArray<Uint8Array>
}

/** A key and its values, newest first, as far as etcd still has them. */
export interface KeyHistory {
  /** Missing if the key does not exist. */
  readonly current: KeyValue | undefined
  readonly values: ReadonlyArray<KeyValue>
  /** Whether `values` goes back to the creation of the key. False if older values were compacted or exceed the limit. */
  readonly isComplete: boolean
  readonly lease: LeaseState | undefined
}

/** How many values of a key are read. */
const maxValues = 20

/** Reads the values of a key before this one. Older ones may be compacted. */
const before = Effect.fnUntraced(function* (
  etcd: Etcd,
  key: Bytes,
  newest: KeyValue
): Effect.fn.Return<{ readonly values: ReadonlyArray<KeyValue>; readonly isComplete: boolean }, EtcdError> {
  const values: Array<KeyValue> = []
  let oldest = newest
  while (oldest.version > 1n) {
    if (values.length >= maxValues - 1) return { values, isComplete: false }
    const answer = yield* Effect.result(etcd.range({ key, revision: oldest.modRevision - 1n }))
    if (answer._tag === "Failure") {
      if (answer.failure.reason._tag === "Compacted") return { values, isComplete: false }
      return yield* answer.failure
    }
    const [found] = answer.success.kvs
    if (found === undefined) return { values, isComplete: false }
    values.push(found)
    oldest = found
  }
  return { values, isComplete: true }
})

/** Reads how much time a lease has left. */
export const leaseState = (etcd: Etcd, id: LeaseId): Effect.Effect<LeaseState, EtcdError> =>
  Effect.map(etcd.leaseTimeToLive({ id, keys: true }), ({ grantedTtl, keys, ttl }) => ({ id, ttl, grantedTtl, keys }))

/** Reads a key, its lease and its history. */
export const keyHistory = Effect.fnUntraced(function* (
  etcd: Etcd,
  key: Bytes
): Effect.fn.Return<Read<KeyHistory>, EtcdError> {
  const { header: { revision }, kvs: [current] } = yield* etcd.range({ key })
  if (current === undefined) {
    return { revision, value: { current, values: [], isComplete: true, lease: undefined } }
  }
  const { isComplete, values } = yield* before(etcd, key, current)
  const lease = current.lease === 0n ? undefined : yield* leaseState(etcd, current.lease)
  return { revision, value: { current, values: [current, ...values], isComplete, lease } }
})

/** How many leases are read in detail. */
export const maxLeases = 500

/** Reads the leases with the least time left, in that order. */
export const leases = Effect.fnUntraced(function* (
  etcd: Etcd
): Effect.fn.Return<Read<{ readonly total: number; readonly leases: ReadonlyArray<LeaseState> }>, EtcdError> {
  const answer = yield* etcd.leaseLeases
  const found = yield* Effect.forEach(answer.leases.slice(0, maxLeases), (id) => leaseState(etcd, id), {
    concurrency: 16
  })
  return {
    revision: answer.header.revision,
    value: {
      total: answer.leases.length,
      leases: found.filter(({ ttl }) => ttl >= 0).sort((a, b) => a.ttl - b.ttl || (a.id < b.id ? -1 : 1))
    }
  }
})

/** The children of a prefix. */
export type Child =
  | { readonly _tag: "Key"; readonly kv: KeyValue }
  | { readonly _tag: "Folder"; readonly prefix: Uint8Array; readonly keys: bigint }

/** How many children of a prefix are read at once. */
const maxChildren = 100
/** How many keys one read fetches to find them. */
const batch = 500

const startsWith = (key: Uint8Array, start: Uint8Array): boolean =>
  key.length >= start.length && start.every((byte, index) => key[index] === byte)

/**
 * Reads the children of a prefix, starting at `from`, with `/` between the levels. Each folder costs one read for its
 * number of keys, however many it contains.
 */
export const children = Effect.fnUntraced(function* (
  etcd: Etcd,
  parent: string,
  from?: Uint8Array
): Effect.fn.Return<
  Read<{ readonly children: ReadonlyArray<Child>; readonly total: bigint; readonly next: Uint8Array | undefined }>,
  EtcdError
> {
  const start = toBytes(parent)
  const range = prefix(parent)
  const { count: total, header: { revision } } = yield* etcd.range({ ...range, countOnly: true })
  const found: Array<Child> = []
  let key: Bytes = from ?? range.key
  while (found.length < maxChildren) {
    const { kvs, more } = yield* etcd.range({ key, rangeEnd: range.rangeEnd, limit: batch, revision })
    let skipTo: Uint8Array | undefined
    for (const kv of kvs) {
      if (skipTo !== undefined && startsWith(kv.key, skipTo)) continue
      skipTo = undefined
      if (found.length >= maxChildren) return { revision, value: { children: found, total, next: kv.key } }
      const slash = kv.key.indexOf(slashByte, start.length + (kv.key[start.length] === slashByte ? 1 : 0))
      if (slash < 0 || slash === kv.key.length - 1) found.push({ _tag: "Key", kv })
      else {
        skipTo = kv.key.slice(0, slash + 1)
        const { count } = yield* etcd.range({ ...prefix(skipTo), countOnly: true, revision })
        found.push({ _tag: "Folder", prefix: skipTo, keys: count })
      }
    }
    const last = kvs.at(-1)
    if (!more || last === undefined) return { revision, value: { children: found, total, next: undefined } }
    const end = skipTo === undefined ? undefined : prefix(skipTo).rangeEnd
    if (end !== undefined && toBytes(end).length === 1 && toBytes(end)[0] === 0) break
    key = end ?? after(last.key)
  }
  return { revision, value: { children: found, total, next: toBytes(key) } }
})

const slashByte = 0x2f

/** A contender for a lock, an election or a semaphore. */
export interface Contender {
  readonly key: string
  readonly value: Uint8Array
  readonly lease: LeaseId
  /** The place in the queue. */
  readonly createRevision: bigint
  readonly modRevision: bigint
}

/** A name that processes compete for, and its queue. */
export interface Line {
  readonly name: string
  readonly contenders: ReadonlyArray<Contender>
}

/** How many keys are searched for queues. */
export const maxSearched = 5000

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/**
 * Finds the queues of locks, elections and semaphores. Their keys end in the hexadecimal id of their own lease, as Go's
 * `clientv3/concurrency` and `./coordination` write them.
 */
export const lines = Effect.fnUntraced(function* (
  etcd: Etcd,
  ranges: ReadonlyArray<Required<KeyRange>>
): Effect.fn.Return<Read<{ readonly lines: ReadonlyArray<Line>; readonly isComplete: boolean }>, EtcdError> {
  let revision: bigint | undefined
  let isComplete = true
  const found = new Map<string, Array<Contender>>()
  for (const range of ranges) {
    // Reads the values, too: etcd 3.7 omits leases from reads without values.
    const answer = yield* etcd.range({ ...range, limit: maxSearched, ...(revision === undefined ? {} : { revision }) })
    revision ??= answer.header.revision
    if (answer.more) isComplete = false
    for (const { createRevision, key, lease, modRevision, value } of answer.kvs) {
      if (lease === 0n) continue
      const text = decoder.decode(key)
      const ending = `/${lease.toString(16)}`
      if (!text.endsWith(ending)) continue
      const name = text.slice(0, -ending.length)
      const line = found.get(name) ?? []
      line.push({ key: text, value, lease, createRevision, modRevision })
      found.set(name, line)
    }
  }
  const all = Array.from(found, ([name, contenders]): Line => ({
    name,
    contenders: contenders.sort((a, b) => a.createRevision < b.createRevision ? -1 : 1)
  }))
  return {
    revision: revision ?? 0n,
    value: { lines: all.sort((a, b) => a.name < b.name ? -1 : 1), isComplete }
  }
})

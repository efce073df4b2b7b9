/**
 * What the conformance suite is run on, and what its checks are written with.
 *
 * A check sees nothing but `Etcd`. Many checks share one store, so each has a part of the keyspace to itself, speaks of
 * revisions relative to the one it began at, and ends the leases it granted. No two checks run at the same time.
 *
 * @module
 */
import { Effect, Queue, type Scope, Stream } from "effect"
import type {
  Etcd,
  KeyRange,
  LeaseGrantRequest,
  LeaseGrantResponse,
  RangeRequest,
  ResponseHeader,
  WatchEvent,
  WatchRequest,
  WatchResponse
} from "../../../src/etcd/Etcd.ts"
import { prefix, toBytes } from "../../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import assert from "node:assert/strict"

/** A store under test. */
export interface Store {
  /** Opens a client; it is closed with the scope. */
  readonly connect: Effect.Effect<Etcd, unknown, Scope.Scope>
  /** Lets time pass: moves the virtual clock, or waits. */
  readonly elapse: (milliseconds: number) => Effect.Effect<void>
}

/** What a check is given. */
export interface Subject extends Store {
  readonly etcd: Etcd
  /** The beginning of all keys the check may use. */
  readonly root: string
  /** The newest revision when the check began. */
  readonly revision: bigint
  /** The header of an answer that many revisions later. */
  readonly header: (later?: number) => ResponseHeader
}

/** One promise of `Etcd`. */
export interface Check {
  /** A sentence about an operation. */
  readonly title: string
  readonly body: (subject: Subject) => Effect.Effect<void, unknown, Scope.Scope>
}

let subjects = 0

/** Runs a check on a store. */
export const run = (check: Check, store: Store): Effect.Effect<void, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const etcd = yield* store.connect
    const root = `conformance/${++subjects}/`
    const { header } = yield* etcd.range({ key: root })
    yield* check.body({
      ...store,
      etcd,
      root,
      revision: header.revision,
      header: (later = 0) => ({ ...header, revision: header.revision + BigInt(later) })
    })
  })

/** Grants a lease for the lifetime of the scope. */
export const grant = (
  etcd: Etcd,
  request: LeaseGrantRequest
): Effect.Effect<LeaseGrantResponse, EtcdError, Scope.Scope> =>
  Effect.acquireRelease(etcd.leaseGrant(request), ({ id }) => Effect.ignore(etcd.leaseRevoke(id)))

/** Why an operation was refused; fails when it was not. */
export const refusal = <A>(operation: Effect.Effect<A, EtcdError>): Effect.Effect<EtcdError["reason"]["_tag"], A> =>
  Effect.map(Effect.flip(operation), ({ reason }) => reason._tag)

/** Asserts that an operation is refused, why, and what the error says about it. */
export const assertRefused = <A>(
  operation: Effect.Effect<A, EtcdError>,
  expected: { readonly reason: EtcdError["reason"]["_tag"]; readonly method: string; readonly key?: string }
): Effect.Effect<void, A> =>
  Effect.map(
    Effect.flip(operation),
    ({ reason, method, key }) =>
      assert.deepEqual({ reason: reason._tag, method, ...(key === undefined ? {} : { key }) }, expected)
  )

/**
 * A value that can be compared as a whole and read in a failure: bytes become text (with `\xff` for what is not UTF-8),
 * whatever class of `Uint8Array` they were.
 */
export const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return text(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]))
}

const decoder = new TextDecoder("utf-8", { fatal: true })

export const text = (bytes: Uint8Array): string => {
  try {
    return decoder.decode(bytes)
  } catch {
    return Array.from(bytes, (byte) => byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`).join("")
  }
}

export const assertEqual = (actual: unknown, expected: unknown): void =>
  assert.deepEqual(plain(actual), plain(expected))

/** A key-value as `plain` shows it. */
export const kv = (
  key: string,
  value: string,
  place: { readonly create: bigint; readonly mod?: bigint; readonly version?: bigint; readonly lease?: bigint }
) => ({
  key,
  value,
  createRevision: place.create,
  modRevision: place.mod ?? place.create,
  version: place.version ?? 1n,
  lease: place.lease ?? 0n
})

/** What a watch says of a deleted key, as `plain` shows it. */
export const tombstone = (key: string, mod: bigint) => kv(key, "", { create: 0n, mod, version: 0n })

/** The keys of a range, in the order they are answered in. */
export const keysIn = (etcd: Etcd, request: RangeRequest): Effect.Effect<ReadonlyArray<string>, EtcdError> =>
  Effect.map(etcd.range(request), ({ kvs }) => kvs.map(({ key }) => text(key)))

/** A watch as a check reads it. */
export interface Reader {
  /** The header of `Created`. */
  readonly created: ResponseHeader
  /** The next response. */
  readonly next: Effect.Effect<WatchResponse, EtcdError>
  /** The next events, at least so many, as `plain` shows them. */
  readonly events: (count: number) => Effect.Effect<ReadonlyArray<unknown>, EtcdError>
}

/** Opens a watch and waits until it is there; it ends with the scope. */
export const open = (
  etcd: Etcd,
  request: WatchRequest
): Effect.Effect<Reader, EtcdError, Scope.Scope> =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<WatchResponse, EtcdError>()
    yield* etcd.watch(request).pipe(
      Stream.runForEach((response) => Queue.offer(queue, response)),
      Effect.catch((error) => Queue.fail(queue, error)),
      Effect.forkScoped({ startImmediately: true })
    )
    const next = Queue.take(queue)
    const first = yield* next
    assert.equal(first._tag, "Created")
    let lastRevision = 0n
    const events = Effect.fnUntraced(function* (count: number) {
      const all: Array<WatchEvent> = []
      while (all.length < count) {
        const response = yield* next
        if (response._tag !== "Events") continue
        const revisions = response.events.map(({ kv }) => kv.modRevision)
        assert.ok((revisions[0] ?? 0n) > lastRevision, "a revision is not spread over responses and comes in order")
        lastRevision = revisions.at(-1) ?? lastRevision
        assert.ok(response.header.revision >= lastRevision, "the header is not older than the events")
        all.push(...response.events)
      }
      return all.map(plain)
    })
    return { created: first.header, next, events }
  })

/** Lets time pass until an effect completes. */
export const whileElapsing = <A, E>(subject: Subject, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.raceFirst(effect, Effect.forever(subject.elapse(250)))

/** A key of raw bytes below the check's root. */
export const rawKey = (root: string, ...bytes: ReadonlyArray<number>): Uint8Array =>
  new Uint8Array([...toBytes(root), ...bytes])

/** All keys of a check. */
export const all = (subject: Subject): Required<KeyRange> => prefix(subject.root)

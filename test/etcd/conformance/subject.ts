/**
 * The subject of the conformance suite, and the helpers of its checks.
 *
 * A check uses only `Etcd`. Many checks share one store, so each has its own part of the keyspace, uses revisions
 * relative to its first one, and ends its leases. Checks do not run concurrently.
 *
 * @module
 */
import { Effect, Queue, type Scope, Stream } from "effect"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { type KeyRange, prefix, toBytes } from "../../../src/etcd/KeyRange.ts"
import type { RangeRequest } from "../../../src/etcd/messages/kv.ts"
import type { LeaseGrantRequest, LeaseGrantResponse } from "../../../src/etcd/messages/lease.ts"
import type { ResponseHeader } from "../../../src/etcd/messages/ResponseHeader.ts"
import type { WatchEvent, WatchRequest, WatchResponse } from "../../../src/etcd/messages/watch.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import assert from "node:assert/strict"

/** A store under test. */
export interface Store {
  /** Opens a client until the scope closes. */
  readonly connect: Effect.Effect<Etcd, unknown, Scope.Scope>
  /** Moves the virtual clock, or waits. */
  readonly elapse: (milliseconds: number) => Effect.Effect<void>
}

/** The argument of a check. */
export interface Subject extends Store {
  readonly etcd: Etcd
  /** The prefix of all keys of the check. */
  readonly root: string
  /** The newest revision at the start of the check. */
  readonly revision: bigint
  /** The header of a response this many revisions later. */
  readonly header: (later?: number) => ResponseHeader
}

/** A check of one promise of `Etcd`. */
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

/** Grants a lease until the scope closes. */
export const grant = (
  etcd: Etcd,
  request: LeaseGrantRequest
): Effect.Effect<LeaseGrantResponse, EtcdError, Scope.Scope> =>
  Effect.acquireRelease(etcd.leaseGrant(request), ({ id }) => Effect.ignore(etcd.leaseRevoke(id)))

/** The error of an operation. Fails if there is none. */
export const refusal = <A>(operation: Effect.Effect<A, EtcdError>): Effect.Effect<EtcdError["reason"]["_tag"], A> =>
  Effect.map(Effect.flip(operation), ({ reason }) => reason._tag)

/** Asserts that an operation is refused, and the fields of its error. */
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
 * Converts a value for comparison and for messages: bytes become text, with `\xff` for what is not UTF-8.
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

/** A key-value in the form of `plain`. */
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

/** The event of a deleted key, in the form of `plain`. */
export const tombstone = (key: string, mod: bigint) => kv(key, "", { create: 0n, mod, version: 0n })

/** The keys of a range, in the order of the response. */
export const keysIn = (etcd: Etcd, request: RangeRequest): Effect.Effect<ReadonlyArray<string>, EtcdError> =>
  Effect.map(etcd.range(request), ({ kvs }) => kvs.map(({ key }) => text(key)))

/** A watch for checks. */
export interface Reader {
  /** The header of `Created`. */
  readonly created: ResponseHeader
  /** The next response. */
  readonly next: Effect.Effect<WatchResponse, EtcdError>
  /** At least this many of the next events, in the form of `plain`. */
  readonly events: (count: number) => Effect.Effect<ReadonlyArray<unknown>, EtcdError>
}

/** Opens a watch until the scope closes, and waits until it is created. */
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

/** Moves time until an effect completes. */
export const whileElapsing = <A, E>(subject: Subject, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.raceFirst(effect, Effect.forever(subject.elapse(250)))

/** A key of raw bytes below the check's root. */
export const rawKey = (root: string, ...bytes: ReadonlyArray<number>): Uint8Array =>
  new Uint8Array([...toBytes(root), ...bytes])

/** All keys of a check. */
export const all = (subject: Subject): Required<KeyRange> => prefix(subject.root)

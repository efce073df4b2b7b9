/**
 * Keys with their decoded values and their place in history.
 *
 * @module
 */
import { Effect, Result } from "effect"
import type { KeyValue } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { withJson } from "../internal/json.ts"
import { mapInSlices } from "../internal/time/slices.ts"
import { invalid, type InvalidValue, keyText, type ValueCodec } from "./Key.ts"

/**
 * A key with its value as of its last write.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<A> {
  readonly key: string
  readonly value: A
  /** The revision of the last write: etcd's `mod_revision`. */
  readonly revision: bigint
  /** The revision at which the key was created. */
  readonly createRevision: bigint
  /** The number of writes since the key was created: `1n` after the first. */
  readonly version: bigint
  /** The lease that the key is attached to, `0n` for none. */
  readonly lease: LeaseId
}

/**
 * The keys under a prefix, or a page of them, at one revision.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listing<A> {
  readonly revision: bigint
  /** In the byte order of their keys. */
  readonly entries: ReadonlyArray<Entry<A>>
  /** The keys whose values do not decode. They are missing from `entries` and do not affect other keys. */
  readonly rejected: ReadonlyArray<InvalidValue>
}

/** Decodes a key. */
export const readEntry = <A>(codec: ValueCodec<A>, kv: KeyValue): Result.Result<Entry<A>, InvalidValue> => {
  const { createRevision, lease, modRevision: revision, version } = kv
  return Result.flatMap(keyText(kv.key, revision), (key) =>
    Result.mapBoth(codec.decode(kv.value), {
      onSuccess: (value) => withJson({ key, value, revision, createRevision, version, lease }),
      onFailure: (cause) => invalid(key, cause, revision)
    }))
}

/** Decodes the keys of one response inside a transaction. */
export const readListing = <A>(
  codec: ValueCodec<A>,
  kvs: ReadonlyArray<KeyValue>,
  revision: bigint
): Listing<A> => listingOf(kvs.map((kv) => readEntry(codec, kv)), revision)

/** Decodes many keys, in slices of a few milliseconds. */
export const readListingInSlices = <A>(
  codec: ValueCodec<A>,
  kvs: ReadonlyArray<KeyValue>,
  revision: bigint
): Effect.Effect<Listing<A>> =>
  Effect.map(
    mapInSlices(kvs, (kv) => readEntry(codec, kv), ({ value }) => value.length),
    (entries) => listingOf(entries, revision)
  )

const listingOf = <A>(
  read: ReadonlyArray<Result.Result<Entry<A>, InvalidValue>>,
  revision: bigint
): Listing<A> => {
  const entries: Array<Entry<A>> = []
  const rejected: Array<InvalidValue> = []
  for (const entry of read) {
    if (Result.isSuccess(entry)) entries.push(entry.success)
    else rejected.push(entry.failure)
  }
  return withJson({ revision, entries, rejected })
}

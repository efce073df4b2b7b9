/**
 * The shard locks of this process: keys under one lease of their own, so that one revocation releases all.
 *
 * A process owns a shard as long as the key has its lease. Ownership is always read from etcd, linearizably. The state
 * in memory serves only to find locks that `acquire` has written but not returned.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import { prefix as prefixRange } from "../etcd/KeyRange.ts"
import type { Compare, KeyValue, RequestOp, ResponseOp } from "../etcd/messages/kv.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { rangeAll } from "../etcd/rangeAll.ts"
import { type Keys, textOf } from "./keys.ts"
import type { LazyLease } from "./LazyLease.ts"
import type { Membership } from "./Membership.ts"

/** etcd refuses transactions of more than 128 operations. */
const maxShards = 100

/** The locks of this process. Each operation is safe to repeat. */
export class ShardLocks {
  readonly #etcd: Etcd
  readonly #keys: Keys
  readonly #lease: LazyLease
  readonly #membership: Membership
  /** Shards that `acquire` has returned to Sharding. */
  readonly #returned = new Set<string>()
  /** The shards of each call of `acquire` that has not returned. */
  readonly #requests = new Set<ReadonlySet<string>>()

  constructor(etcd: Etcd, keys: Keys, membership: Membership, lease: LazyLease) {
    this.#etcd = etcd
    this.#keys = keys
    this.#membership = membership
    this.#lease = lease
  }

  /** Records which shards a call of `acquire` requests in all its attempts, and which it returns. */
  track<E>(
    shardIds: ReadonlyArray<string>,
    call: Effect.Effect<Array<string>, E>
  ): Effect.Effect<Array<string>, E> {
    return Effect.suspend(() => {
      const request = new Set(shardIds)
      this.#requests.add(request)
      return call.pipe(
        Effect.tap((acquired) =>
          Effect.sync(() => {
            for (const shardId of acquired) this.#returned.add(shardId)
          })
        ),
        Effect.ensuring(Effect.sync(() => this.#requests.delete(request)))
      )
    })
  }

  /** Acquires the shards that are free or locked by a predecessor at the address. Returns those that are owned then. */
  acquire(address: string, shardIds: ReadonlyArray<string>): Effect.Effect<Array<string>, EtcdError> {
    const batches = Array.from(
      { length: Math.ceil(shardIds.length / maxShards) },
      (_, index) => shardIds.slice(index * maxShards, (index + 1) * maxShards)
    )
    return this.#lease.use((lease) =>
      Effect.map(
        Effect.forEach(batches, (batch) => this.#acquireBatch(address, batch, lease)),
        (acquired) => acquired.flat()
      )
    )
  }

  #acquireBatch(
    address: string,
    shardIds: ReadonlyArray<string>,
    lease: LeaseId
  ): Effect.Effect<ReadonlyArray<string>, EtcdError> {
    const lock = (shardId: string): RequestOp => {
      const key = this.#keys.lock(shardId)
      const put: RequestOp = { _tag: "Put", request: { key, value: address, lease } }
      return {
        _tag: "Txn",
        request: {
          compare: [{ key, target: "create", result: "equal", value: 0n }],
          then: [put],
          else: [{
            _tag: "Txn",
            request: { compare: [{ key, target: "value", result: "equal", value: address }], then: [put] }
          }]
        }
      }
    }
    return Effect.map(
      this.#etcd.txn({
        compare: this.#membership.guard(address),
        then: shardIds.map(lock),
        // Not a member any more: acquire nothing, but return what is owned.
        else: shardIds.map((shardId) => ({ _tag: "Range", request: { key: this.#keys.lock(shardId) } }))
      }),
      ({ responses }) =>
        shardIds.filter((_, index) => {
          const response = responses[index]
          return response?._tag === "Range" ?
            response.response.kvs[0]?.lease === lease :
            response !== undefined && hasLocked(response)
        })
    )
  }

  /** Returns which of these shards this process owns, by a linearizable read of each. */
  owned(address: string, shardIds: ReadonlyArray<string>): Effect.Effect<Array<string>, EtcdError> {
    const lease = this.#lease.id
    // Without shards this is a read as well: it fails while etcd is unreachable.
    const read = [this.#keys.runner(address), ...shardIds.map(this.#keys.lock)]
    return Effect.map(
      this.#etcd.txn({ then: read.map((key) => ({ _tag: "Range", request: { key } })) }),
      ({ responses }) =>
        shardIds.filter((_, index) => {
          const response = responses[index + 1]
          const kv = response?._tag === "Range" ? response.response.kvs[0] : undefined
          return kv !== undefined && kv.lease === lease
        })
    )
  }

  /**
   * Returns which of these shards this process owns, by a linearizable read of all locks. Releases locks of this process
   * that `acquire` has not returned: those of a call that failed although etcd applied it.
   */
  ownedOfAll(address: string, shardIds: ReadonlyArray<string>): Effect.Effect<Array<string>, EtcdError> {
    return Effect.gen({ self: this }, function* () {
      const lease = this.#lease.id
      const { kvs } = yield* rangeAll(this.#etcd, prefixRange(this.#keys.locks))
      const { kvs: [runner] } = yield* this.#etcd.range({ key: this.#keys.runner(address) })
      yield* this.#membership.check(address, runner)
      const owned = new Map(
        kvs.filter((kv) => kv.lease === lease).map((kv) => [textOf(kv.key).slice(this.#keys.locks.length), kv])
      )
      yield* Effect.forEach(
        owned,
        ([shardId, kv]) => this.#isExpected(shardId) ? Effect.void : this.#releaseUnexpected(kv),
        {
          discard: true
        }
      )
      return shardIds.filter((shardId) => owned.has(shardId))
    })
  }

  #isExpected(shardId: string): boolean {
    return this.#returned.has(shardId) || Array.from(this.#requests).some((request) => request.has(shardId))
  }

  /** Releases a lock unless `acquire` has written it again in between. */
  #releaseUnexpected({ key, modRevision }: KeyValue): Effect.Effect<void, EtcdError> {
    return Effect.asVoid(this.#etcd.txn({
      compare: [{ key, target: "mod", result: "equal", value: modRevision }],
      then: [{ _tag: "DeleteRange", request: { key } }]
    }))
  }

  /** Releases one shard. Does nothing if another process owns it. */
  release(shardId: string): Effect.Effect<void, EtcdError> {
    return Effect.suspend(() => {
      const { key, ...compare } = this.fence(shardId)
      return Effect.map(
        this.#etcd.txn({ compare: [{ key, ...compare }], then: [{ _tag: "DeleteRange", request: { key } }] }),
        () => {
          this.#returned.delete(shardId)
        }
      )
    })
  }

  /** Holds as long as this process owns the shard. */
  fence(shardId: string): Compare {
    // No key has a lease of -1.
    return { key: this.#keys.lock(shardId), target: "lease", result: "equal", value: this.#lease.id ?? -1n }
  }

  /** Clears the state: the lease is gone. */
  forget(): void {
    this.#returned.clear()
  }
}

/** Whether the transaction for one shard has written the lock. */
const hasLocked = (response: ResponseOp): boolean => {
  if (response._tag !== "Txn") return false
  const { responses: [inner], succeeded } = response.response
  return succeeded || (inner?._tag === "Txn" && inner.response.succeeded)
}

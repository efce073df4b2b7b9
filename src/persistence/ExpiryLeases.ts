/**
 * Leases that let etcd delete keys some time after they have expired. Keys with a similar time to live share a lease.
 *
 * A lease for each key would double the writes of etcd. So the TTLs of leases are powers of 1.25. A lease starts 25 to
 * 57 % longer than its first key needs, and serves further keys as long as it covers their time to live. A key outlives
 * its time to live by at most 57 % and a second or two. So the existence of a key does not prove that it is valid.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../etcd/Etcd.ts"
import type { EtcdError } from "../etcd/EtcdError.ts"
import type { LeaseId } from "../etcd/messages/lease.ts"
import { monotonicMillis } from "../internal/time/monotonic.ts"

const ratio = 1.25

/** The shortest TTL that a server with default settings grants, in seconds. */
const minTtlSeconds = 2

/** etcd's own limit, MaxLeaseTTL of its lease package. */
const maxTtlSeconds = 9_000_000_000

/** The TTL of the lease for a key, in seconds. */
const ttlFor = (neededMillis: number): number => {
  const step = Math.ceil(Math.log(Math.max(1, neededMillis / 1000) * ratio) / Math.log(ratio))
  return Math.min(maxTtlSeconds, Math.max(minTtlSeconds, Math.ceil(ratio ** step)))
}

/** A key that needs more, such as one without an end, gets this. Its lease can then be shared as well. */
const maxNeededMillis = maxTtlSeconds * 500

interface Shared {
  readonly id: LeaseId
  /** Milliseconds of the monotonic clock. etcd keeps the lease at least until this time. */
  readonly expiresAt: number
}

/** The leases of one store in this process. */
export class ExpiryLeases {
  readonly #etcd: Etcd
  readonly #leases = new Map<number, Shared>()

  constructor(etcd: Etcd) {
    this.#etcd = etcd
  }

  /**
   * Runs a write with a lease that lasts at least `neededMillis`. If the lease is gone, for example revoked by an
   * operator, the write runs once more with a new one.
   */
  use<A>(
    neededMillis: number,
    write: (lease: LeaseId) => Effect.Effect<A, EtcdError>
  ): Effect.Effect<A, EtcdError> {
    return Effect.flatMap(
      this.#lease(neededMillis),
      (lease) =>
        Effect.catchIf(write(lease), (error) => error.reason._tag === "LeaseNotFound", () => {
          for (const [ttl, { id }] of this.#leases) if (id === lease) this.#leases.delete(ttl)
          return Effect.flatMap(this.#lease(neededMillis), write)
        })
    )
  }

  #lease(neededMillis: number): Effect.Effect<LeaseId, EtcdError> {
    return Effect.flatMap(monotonicMillis, (now) => {
      const needed = Math.min(neededMillis, maxNeededMillis)
      const ttl = ttlFor(needed)
      const shared = this.#leases.get(ttl)
      if (shared !== undefined && shared.expiresAt - now >= needed) return Effect.succeed(shared.id)
      return Effect.map(this.#etcd.leaseGrant({ ttl }), (granted) => {
        for (const [ttl, { expiresAt }] of this.#leases) if (expiresAt <= now) this.#leases.delete(ttl)
        this.#leases.set(ttl, { id: granted.id, expiresAt: now + granted.ttl * 1000 })
        return granted.id
      })
    })
  }
}

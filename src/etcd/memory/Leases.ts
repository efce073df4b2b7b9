/**
 * Leases, their keys and their deadlines.
 *
 * A lease expires when its TTL has passed since it was granted or renewed. The caller decides what happens then. Times
 * are in milliseconds.
 *
 * @module
 */
import { Deadline, type Deadlines } from "../../internal/time/Deadlines.ts"
import { type ByteText, compareText } from "./keys.ts"

/** A lease that has neither expired nor been revoked. */
export interface Lease {
  readonly id: bigint
  /** Seconds. */
  readonly ttl: number
  readonly keys: Set<ByteText>
  readonly expiry: Deadline
}

/** The leases of a store. */
export class Leases {
  readonly #byId = new Map<bigint, Lease>()
  readonly #deadlines: Deadlines
  readonly #expired: (lease: Lease) => void

  /** `expired` is called with each lease that has expired; it may end the lease. */
  constructor(deadlines: Deadlines, expired: (lease: Lease) => void) {
    this.#deadlines = deadlines
    this.#expired = expired
  }

  get(id: bigint): Lease | undefined {
    return this.#byId.get(id)
  }

  /** Ordered by expiry. */
  get all(): ReadonlyArray<Lease> {
    return [...this.#byId.values()].sort((self, that) => self.expiry.at - that.expiry.at)
  }

  /** Adds a lease. Its id must be free. */
  grant(id: bigint, ttl: number, now: number): Lease {
    const lease: Lease = { id, ttl, keys: new Set(), expiry: new Deadline(() => this.#expired(lease)) }
    this.#byId.set(id, lease)
    this.renew(lease, now)
    return lease
  }

  /** Starts the TTL of a lease again. */
  renew(lease: Lease, now: number): void {
    this.#deadlines.set(lease.expiry, now + lease.ttl * 1000)
  }

  /** Removes a lease and returns its keys in order. */
  end(lease: Lease): ReadonlyArray<ByteText> {
    this.#byId.delete(lease.id)
    this.#deadlines.delete(lease.expiry)
    return keysOf(lease)
  }

  /** Moves a key from one lease to another. Either lease may be none (`0n`) or have ended. */
  move(key: ByteText, from: bigint, to: bigint): void {
    if (from === to) return
    if (from !== 0n) this.#byId.get(from)?.keys.delete(key)
    if (to !== 0n) this.#byId.get(to)?.keys.add(key)
  }
}

/** The keys of a lease in order. */
export const keysOf = (lease: Lease): ReadonlyArray<ByteText> => [...lease.keys].sort(compareText)

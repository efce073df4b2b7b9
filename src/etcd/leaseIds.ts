/**
 * The ids of the leases that sessions grant: each carries the time of its grant.
 *
 * @module
 */
import type { LeaseId } from "./messages/lease.ts"

/**
 * The number of random bits of a lease id. The 16 bits above them are the time of the grant, in seconds of the epoch.
 */
const randomBits = 47n

/** Random numbers, drawn in blocks: on Node a draw takes longer than the rest of a lease id. */
const randomNumbers = new BigUint64Array(64)
let drawn = randomNumbers.length

const nextRandom = (): bigint => {
  if (drawn === randomNumbers.length) {
    crypto.getRandomValues(randomNumbers)
    drawn = 0
  }
  return randomNumbers[drawn++] ?? 0n
}

/** A positive int64 that no other lease has. */
export const newLeaseId = (nowMillis: number): LeaseId => {
  const seconds = BigInt.asUintN(16, BigInt(Math.floor(nowMillis / 1000)))
  return (seconds << randomBits | BigInt.asUintN(Number(randomBits), nextRandom())) || 1n
}

/**
 * How long ago a session granted a lease, to the second. Wraps around after 18 hours, so an older lease, or that of
 * another client, may seem new.
 */
export const leaseAgeMillis = (id: LeaseId, nowMillis: number): number => {
  const granted = BigInt.asUintN(16, id >> randomBits)
  return Number(BigInt.asUintN(16, BigInt(Math.floor(nowMillis / 1000)) - granted)) * 1000
}

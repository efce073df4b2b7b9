/**
 * Locks, elections, semaphores and barriers on etcd, compatible with Go's `clientv3/concurrency`.
 *
 * **When to use**
 *
 * `Election.whileLeader` for a worker that runs exactly once in a fleet, `Lock.withLock` for work that must not
 * overlap, `DistributedSemaphore` to limit concurrent work, `Barrier` to make processes wait.
 *
 * @module
 */
export * as Barrier from "./Barrier.ts"
export * as DistributedSemaphore from "./DistributedSemaphore.ts"
export * as Election from "./Election.ts"
export { LockLost, LockTimeout, PermitsMismatch } from "./errors.ts"
export type { Fence, Held } from "./Line.ts"
export * as Lock from "./Lock.ts"
export type { AcquireOptions } from "./options.ts"
export * as Session from "./Session.ts"

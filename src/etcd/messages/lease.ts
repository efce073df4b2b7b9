/**
 * The messages of etcd's Lease service.
 *
 * @module
 */
import type { Duration } from "effect"
import type { ResponseHeader } from "./ResponseHeader.ts"

/**
 * The id of a lease, a positive int64. `0n` means no lease.
 *
 * @since 0.1.0
 * @category models
 */
export type LeaseId = bigint

/**
 * A lease to grant.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseGrantRequest {
  /** Seconds. The server raises a value below its minimum. */
  readonly ttl: number
  /** Chosen by the caller, so that a repeated grant is recognised. Default: the server chooses. */
  readonly id?: LeaseId
}

/**
 * The lease that was granted.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseGrantResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Seconds, as granted. */
  readonly ttl: number
}

/**
 * The response to a revocation.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseRevokeResponse {
  readonly header: ResponseHeader
}

/**
 * A read of the remaining time of a lease.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseTimeToLiveRequest {
  readonly id: LeaseId
  /** Returns the keys that are attached to the lease. */
  readonly keys?: boolean
}

/**
 * The remaining time of a lease.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseTimeToLiveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Remaining seconds; `-1` if the lease does not exist. */
  readonly ttl: number
  /** Granted seconds; `0` if the lease does not exist. */
  readonly grantedTtl: number
  /** Empty unless requested. */
  readonly keys: ReadonlyArray<Uint8Array>
}

/**
 * The leases that exist.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseLeasesResponse {
  readonly header: ResponseHeader
  readonly leases: ReadonlyArray<LeaseId>
}

/**
 * One heartbeat.
 *
 * @since 0.1.0
 * @category requests
 */
export interface LeaseKeepAliveRequest {
  readonly id: LeaseId
  /** How long to wait for the response. Default: the request timeout of the client. */
  readonly timeout?: Duration.Input
}

/**
 * The response to a heartbeat.
 *
 * @since 0.1.0
 * @category responses
 */
export interface LeaseKeepAliveResponse {
  readonly header: ResponseHeader
  readonly id: LeaseId
  /** Remaining seconds from now. */
  readonly ttl: number
}

/**
 * The contract with etcd: its KV, Lease, Watch and Maintenance services in etcd's own terms, as one Effect service.
 *
 * Everything else in this package uses {@link Etcd} and does not depend on the transport. There are two
 * implementations: `EtcdGrpc` for servers, and `EtcdMemory`, etcd's data model in this process. One conformance suite
 * runs against both.
 *
 * Revisions, lease ids and versions are `bigint` (int64 on the wire). Times to live are in seconds.
 *
 * @since 0.1.0
 * @module
 */
import { Context, type Effect, type Stream } from "effect"
import type { Administration, StatusResponse } from "./Administration.ts"
import type { EtcdError } from "./EtcdError.ts"
import type {
  CompactRequest,
  CompactResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse
} from "./messages/kv.ts"
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseId,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse
} from "./messages/lease.ts"
import type { WatchRequest, WatchResponse } from "./messages/watch.ts"

/**
 * The operations of etcd, in etcd's own terms.
 *
 * **Details**
 *
 * Each operation runs once and is not retried: the schedule of the caller decides. Interruption cancels it on the wire;
 * an interrupted write may have been applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Etcd {
  /** Reads one key or a range, in one response. Use {@link rangeAll} for ranges of any size. */
  readonly range: (request: RangeRequest) => Effect.Effect<RangeResponse, EtcdError>
  /** Writes a key. Fails with `LeaseNotFound` if the lease does not exist. */
  readonly put: (request: PutRequest) => Effect.Effect<PutResponse, EtcdError>
  /** Deletes a key or a range. A deletion of nothing succeeds and makes no revision. */
  readonly deleteRange: (request: DeleteRangeRequest) => Effect.Effect<DeleteRangeResponse, EtcdError>
  /** Compares, and then applies one branch, at one revision. */
  readonly txn: (request: TxnRequest) => Effect.Effect<TxnResponse, EtcdError>
  /** Grants a lease. Fails with `LeaseExists` if the chosen id exists. */
  readonly leaseGrant: (request: LeaseGrantRequest) => Effect.Effect<LeaseGrantResponse, EtcdError>
  /** Ends a lease and deletes its keys, at one revision. Fails with `LeaseNotFound`. */
  readonly leaseRevoke: (id: LeaseId) => Effect.Effect<LeaseRevokeResponse, EtcdError>
  /** Reads the remaining time of a lease. Returns `ttl: -1` if the lease does not exist. */
  readonly leaseTimeToLive: (request: LeaseTimeToLiveRequest) => Effect.Effect<LeaseTimeToLiveResponse, EtcdError>
  /** Lists the leases that exist. */
  readonly leaseLeases: Effect.Effect<LeaseLeasesResponse, EtcdError>
  /**
   * Sends one heartbeat and waits for its response. Fails with `LeaseNotFound` if the lease does not exist, and with
   * `DeadlineExceeded` if no response arrives in time. All heartbeats of a client share one stream. If that stream is
   * silent, the client gives up its connection, which also ends the watches on it.
   */
  readonly leaseKeepAlive: (request: LeaseKeepAliveRequest) => Effect.Effect<LeaseKeepAliveResponse, EtcdError>
  /**
   * Watches a key or a range until it is interrupted or fails. All watches of a client share one stream. Each fails if
   * that stream breaks or is silent for `progressEvery` + `progressTimeout`; the caller watches again from the revision
   * after the last event. Fails with `Compacted`, possibly after `Created`, if `startRevision` was compacted.
   */
  readonly watch: (request: WatchRequest) => Stream.Stream<WatchResponse, EtcdError>
  /** Drops the history before a revision. */
  readonly compact: (request: CompactRequest) => Effect.Effect<CompactResponse, EtcdError>
  /** Reads the state of the member that answers. */
  readonly status: Effect.Effect<StatusResponse, EtcdError>
  /**
   * Completes when etcd answers again after an outage. Race a backoff against it to retry as soon as etcd is back
   * (D12).
   *
   * An outage begins with a call that gets no response, and ends with the first response to a call that requires a
   * leader; a refusal counts. If there is no outage, this waits for the end of the next one. If an outage shorter than 100
   * ms ends within 10 seconds of the last one, this completes up to 5 seconds later, so that a server that answers only
   * some calls does not end every backoff. While etcd is away and something waits here, the client probes all endpoints.
   */
  readonly recovered: Effect.Effect<void>
  /** Administration of the cluster. See `@effect-etcd/discovery/admin`. */
  readonly administration: Administration
}

/**
 * The service key of {@link Etcd}.
 *
 * @since 0.1.0
 * @category services
 */
export const Etcd: Context.Service<Etcd, Etcd> = Context.Service("@effect-etcd/discovery/Etcd")

/**
 * The part of the {@link Etcd} contract for administration: members, their state, and calls of any RPC. `./admin` is
 * built on it.
 *
 * @module
 */
import type { Duration, Effect, Result, Stream } from "effect"
import type { EtcdError } from "./EtcdError.ts"
import type { ResponseHeader } from "./messages/ResponseHeader.ts"

/**
 * A member of a cluster.
 *
 * @since 0.1.0
 * @category models
 */
export interface Member {
  readonly id: bigint
  /** Empty until the member has started. */
  readonly name: string
  /** Where other members reach it. */
  readonly peerUrls: ReadonlyArray<string>
  /** Where clients reach it. Empty until the member has started. */
  readonly clientUrls: ReadonlyArray<string>
  /** Whether it follows the leader without a vote. */
  readonly isLearner: boolean
}

/**
 * The members of a cluster.
 *
 * @since 0.1.0
 * @category responses
 */
export interface MemberListResponse {
  readonly header: ResponseHeader
  readonly members: ReadonlyArray<Member>
}

/**
 * An alarm of a member.
 *
 * @since 0.1.0
 * @category models
 */
export interface Alarm {
  readonly memberId: bigint
  /** `nospace`: the storage quota is used up. `corrupt`: the member's data differs from that of the others. */
  readonly type: "nospace" | "corrupt" | "unknown"
}

/**
 * The alarms of a cluster.
 *
 * @since 0.1.0
 * @category responses
 */
export interface AlarmResponse {
  readonly header: ResponseHeader
  readonly alarms: ReadonlyArray<Alarm>
}

/**
 * The state of a member.
 *
 * @since 0.1.0
 * @category responses
 */
export interface StatusResponse {
  readonly header: ResponseHeader
  /** The version of the server, such as `3.5.16`. */
  readonly version: string
  /** Bytes. */
  readonly dbSize: bigint
  /** The member id of the leader; `0n` if there is none. */
  readonly leader: bigint
  readonly raftIndex: bigint
  readonly raftTerm: bigint
  readonly raftAppliedIndex: bigint
  /** Alarms, and whether the member has no leader, in etcd's own words. */
  readonly errors: ReadonlyArray<string>
  /** Bytes of `dbSize` that hold data. The rest is what a defragmentation frees. `0n` before etcd 3.4. */
  readonly dbSizeInUse: bigint
  /** Whether the member follows the leader without a vote. */
  readonly isLearner: boolean
  /** The version of the storage format, such as `3.6.0`. From etcd 3.6 on. */
  readonly storageVersion?: string
  /** The storage quota in bytes. From etcd 3.6 on. */
  readonly dbSizeQuota?: bigint
  /** The version that a downgrade leads to, while one is enabled. From etcd 3.6 on. */
  readonly downgradeTarget?: string
}

/**
 * One call of an RPC, with its message as bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rpc<Response> {
  /** The name of the operation in errors and spans, such as `memberAdd`. */
  readonly name: string
  /** The path on the wire, such as `/etcdserverpb.Cluster/MemberAdd`. */
  readonly path: string
  readonly request: Uint8Array
  /** Decodes a response. Throws if the bytes are not that message. */
  readonly decode: (bytes: Uint8Array) => Response
  /** How long to wait for the response. Default: the request timeout of the client. */
  readonly timeout?: Duration.Input
}

/**
 * Calls of administration to the cluster.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClusterCalls {
  /** Reads the members. `serializable` reads the state of the answering member, which may be stale. */
  readonly memberList: (request?: {
    readonly serializable?: boolean
  }) => Effect.Effect<MemberListResponse, EtcdError>
  /** Reads the state of the member that answers. */
  readonly status: Effect.Effect<StatusResponse, EtcdError>
  /** Reads the alarms of all members. */
  readonly alarms: Effect.Effect<AlarmResponse, EtcdError>
  /** Calls an RPC with one response. */
  readonly unary: <Response>(rpc: Rpc<Response>) => Effect.Effect<Response, EtcdError>
}

/**
 * Calls to one member.
 *
 * @since 0.1.0
 * @category models
 */
export interface MemberCalls extends ClusterCalls {
  /** Calls an RPC with a stream of responses, which arrive at the reader's pace. */
  readonly serverStream: <Response>(rpc: Rpc<Response>) => Stream.Stream<Response, EtcdError>
}

/**
 * The rule that an endpoint breaks, and the endpoint without a password.
 *
 * @since 0.1.0
 * @category models
 */
export interface InvalidEndpoint {
  readonly value: string
  readonly rule: string
}

/**
 * Administration of a cluster.
 *
 * @since 0.1.0
 * @category models
 */
export interface Administration extends ClusterCalls {
  /**
   * Selects the member at an endpoint.
   *
   * Calls use the client's credentials and certificates. Each call has a connection of its own, and its failure does
   * not affect the rest of the client. Fails with an {@link InvalidEndpoint}.
   */
  readonly at: (endpoint: string) => Result.Result<MemberCalls, InvalidEndpoint>
}

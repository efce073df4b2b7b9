/**
 * The etcd v3 client: etcd's operations in etcd's terms, over gRPC or on an engine in this process.
 *
 * @module
 */
export type {
  Administration,
  Alarm,
  AlarmResponse,
  ClusterCalls,
  InvalidEndpoint,
  Member,
  MemberCalls,
  MemberListResponse,
  Rpc
} from "./Administration.ts"
export {
  type Bytes,
  type CompactRequest,
  type CompactResponse,
  type Compare,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  Etcd,
  type KeyRange,
  type KeyValue,
  type LeaseGrantRequest,
  type LeaseGrantResponse,
  type LeaseId,
  type LeaseKeepAliveRequest,
  type LeaseKeepAliveResponse,
  type LeaseLeasesResponse,
  type LeaseRevokeResponse,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
  prefix,
  type PutRequest,
  type PutResponse,
  rangeAll,
  type RangeRequest,
  type RangeResponse,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  type StatusResponse,
  type TxnRequest,
  type TxnResponse,
  type WatchEvent,
  type WatchRequest,
  type WatchResponse
} from "./Etcd.ts"
export * as EtcdError from "./EtcdError.ts"
export * as EtcdGrpc from "./grpc/EtcdGrpc.ts"
export * as EtcdMemory from "./memory/EtcdMemory.ts"
export { Freshness } from "./Freshness.ts"

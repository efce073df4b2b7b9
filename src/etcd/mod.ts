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
  Rpc,
  StatusResponse
} from "./Administration.ts"
export { Etcd } from "./Etcd.ts"
export { type Bytes, type KeyRange, prefix } from "./KeyRange.ts"
export type * from "./messages/kv.ts"
export type * from "./messages/lease.ts"
export type * from "./messages/ResponseHeader.ts"
export type * from "./messages/watch.ts"
export { rangeAll } from "./rangeAll.ts"
export * as EtcdError from "./EtcdError.ts"
export * as EtcdGrpc from "./grpc/EtcdGrpc.ts"
export * as EtcdMemory from "./memory/EtcdMemory.ts"
export { Freshness } from "./Freshness.ts"

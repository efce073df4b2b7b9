/**
 * Service registration and discovery on etcd v3, as Effect resources and Streams, for Deno, Bun and Node.
 *
 * A service registers itself for the lifetime of a scope, and consumers follow its instances as a stream of complete,
 * immutable sets:
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { discover, registerService, Registry } from "@effect-etcd/discovery"
 *
 * const main = Effect.gen(function*() {
 *   yield* registerService({ name: "orders", endpoints: ["http://10.0.0.5:8080"] })
 *   yield* discover("orders").pipe(
 *     Stream.takeUntil((set) => set.size > 0),
 *     Stream.runForEach((set) => Effect.log(`${set.endpoints} at revision ${set.revision}`))
 *   )
 * })
 *
 * // With etcd: Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] })
 * await Effect.runPromise(main.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @module
 */
export { Discovery, type Merged, type MergeSource, type SetsOf, type WeightedSets } from "./src/discovery/merge.ts"
export {
  type DiscoverOptions,
  type DiscoveryError,
  DiscoveryRefused,
  InvalidName,
  type ListedService
} from "./src/Discovery.ts"
export { type DeclarationProblem, InvalidDeclaration } from "./src/declared/InvalidDeclaration.ts"
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
} from "./src/etcd/Etcd.ts"
export {
  Cancelled,
  Compacted,
  DeadlineExceeded,
  EtcdError,
  type EtcdErrorFields,
  type EtcdErrorReason,
  InvalidArgument,
  LeaseExists,
  LeaseNotFound,
  NoSpace,
  PermissionDenied,
  TooLarge,
  Unauthenticated,
  Unavailable,
  Unknown
} from "./src/etcd/EtcdError.ts"
export * as EtcdGrpc from "./src/etcd/EtcdGrpc.ts"
export * as EtcdMemory from "./src/etcd/EtcdMemory.ts"
export { type Codec, InvalidInstance, type MetadataSchema } from "./src/model/Codec.ts"
export { InstanceStatus, type ServiceInstance } from "./src/model/Instance.ts"
export type { Layout } from "./src/model/Layout.ts"
export { type Change, Freshness, type InstanceSet, type Rejected } from "./src/model/InstanceSet.ts"
export { type DefineService, Service } from "./src/model/Service.ts"
export * as Backoff from "./src/policy/Backoff.ts"
export type { Protect } from "./src/policy/Protection.ts"
export type {
  Claim,
  InstanceOptions,
  InstancePatch,
  RegisterOptions,
  RegistrationPolicy
} from "./src/registration/RegisterOptions.ts"
export {
  type Holder,
  InstanceIdTaken,
  InvalidRegistration,
  type RegistrationError,
  RegistrationLost,
  RegistrationRefused,
  StartupTimeout
} from "./src/registration/RegistrationError.ts"
export { type Registration, RegistrationStatus } from "./src/Registration.ts"
export {
  type DeclarationOptions,
  type DeclarationSource,
  discover,
  discoverChanges,
  type FixedInstance,
  getInstances,
  listServices,
  type ListServicesOptions,
  registerFromConfig,
  registerService,
  Registry,
  type RegistryOptions,
  type RegistryService
} from "./src/Registry.ts"
export { runMain } from "./src/runMain.ts"

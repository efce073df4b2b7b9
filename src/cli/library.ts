/**
 * The parts of this package that commands use. Import it through `library` of `load.ts` only, so that `--help` and
 * completions start without it.
 *
 * @module
 */
export * as Backoff from "../etcd/Backoff.ts"
export { Etcd } from "../etcd/Etcd.ts"
export { prefix } from "../etcd/KeyRange.ts"
export { rangeAll } from "../etcd/rangeAll.ts"
export { EtcdError } from "../etcd/EtcdError.ts"
export * as EtcdGrpc from "../etcd/grpc/EtcdGrpc.ts"
export * as EtcdMemory from "../etcd/memory/EtcdMemory.ts"
export { checkOptions } from "../internal/options.ts"
export { discover } from "../registry/discover.ts"
export { discoverAll } from "../registry/discoverAll.ts"
export { discoverChanges } from "../registry/discoverChanges.ts"
export { getInstances } from "../registry/getInstances.ts"
export { listServices } from "../registry/listServices.ts"
export * as InstanceSet from "../registry/InstanceSet.ts"
export * as Keyspace from "../registry/model/Keyspace.ts"
export * as Service from "../registry/model/Service.ts"
export { registerService } from "../registry/registerService.ts"
export * as Registry from "../registry/Registry.ts"

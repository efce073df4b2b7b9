/**
 * Storage and health of Effect Cluster on etcd.
 *
 * **When to use**
 *
 * To shard entities over a fleet that has etcd, without an SQL database for the shard locks.
 *
 * @stability unstable
 * @module
 */
export { InvalidOption } from "../internal/options.ts"
export * as EtcdRunnerHealth from "./EtcdRunnerHealth.ts"
export * as EtcdRunnerStorage from "./EtcdRunnerStorage.ts"
export { ShardFence } from "./ShardFence.ts"

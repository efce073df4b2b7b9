/**
 * Stores of Effect's `persistence` modules on etcd: key-value store, persisted results, shared rate limits.
 *
 * **When to use**
 *
 * For small shared state that is written rarely. See each module for its limits.
 *
 * @stability unstable
 * @module
 */
export { InvalidOption } from "../internal/options.ts"
export * as EtcdKeyValueStore from "./EtcdKeyValueStore.ts"
export * as EtcdPersistence from "./EtcdPersistence.ts"
export * as EtcdRateLimiterStore from "./EtcdRateLimiterStore.ts"

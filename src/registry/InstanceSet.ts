/**
 * Sets of instances: comparing, merging and making them.
 *
 * @since 0.1.0
 * @module
 */
export { merge, type MergeError, type MergeMetadata, type MergeServices, type MergeSource } from "./discovery/merge.ts"
export { type Change, diff, fromInstances, type InstanceSet, type Rejected } from "./model/InstanceSet.ts"

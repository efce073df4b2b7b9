/**
 * The settings of the clusters of processes in the tests.
 *
 * @module
 */

/** The prefix of the cluster. */
export const prefix = "/c/"

/** Shards, and times that leave a busy machine enough room. */
export const settings = {
  shardsPerGroup: 12,
  shardLockExpiration: "9 seconds",
  shardLockRefreshInterval: "3 seconds",
  refreshAssignmentsInterval: "500 millis",
  runnerHealthCheckInterval: "1 second",
  entityMessagePollInterval: "1 second"
} as const

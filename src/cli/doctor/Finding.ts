/**
 * The report of `doctor`.
 *
 * @module
 */

/** The names of the checks. They are stable: scripts select findings by them. */
export type CheckName =
  | "endpoint-unreachable"
  | "endpoint-missing"
  | "clusters-differ"
  | "member-not-started"
  | "no-leader"
  | "alarm"
  | "quota"
  | "fragmentation"
  | "versions-differ"
  | "certificate-expires"
  | "password-unencrypted"
  | "clock-differs"
  | "namespace-denied"
  | "key-foreign"
  | "value-invalid"
  | "key-without-lease"
  | "lease-expiring"
  | "service-unavailable"

/** A problem and its remedy. */
export interface Finding {
  readonly check: CheckName
  /** A problem disrupts the service, now or soon. A warning may be intentional. */
  readonly severity: "problem" | "warning"
  /** The endpoint, member, key or service concerned. */
  readonly subject: string
  /** What `doctor` found. */
  readonly message: string
  readonly remedy: string
}

/** A check that could not run, and why. */
export interface Skipped {
  readonly checks: ReadonlyArray<CheckName>
  readonly subject: string
  readonly reason: string
}

/**
 * What `doctor` reports.
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

/** One thing that is wrong, and what to do. */
export interface Finding {
  readonly check: CheckName
  /** A problem disturbs the service or will; a warning may be on purpose. */
  readonly severity: "problem" | "warning"
  /** What it is about: an endpoint, a member, a key, a service. */
  readonly subject: string
  /** What was found. */
  readonly message: string
  readonly remedy: string
}

/** A check that could not run, and why. */
export interface Skipped {
  readonly checks: ReadonlyArray<CheckName>
  readonly subject: string
  readonly reason: string
}

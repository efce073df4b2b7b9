/**
 * The negative control: the rules that the naive clients (`Naive.ts`) break under each fault, on every runtime and in
 * every run. They may break more. An unlisted fault does not break the same rule every time.
 *
 * `deno task faults --subject naive` (or `forgetful`) runs all of them, compares the outcome with this list, and prints
 * the differences.
 *
 * @module
 */
import type { Rule } from "./check.ts"
import type { NaiveName } from "./Subject.ts"

const blind = ["reliable", "converged", "live is true"] as const

export const caughtBy: Readonly<Record<NaiveName, Readonly<Record<string, ReadonlyArray<Rule>>>>> = {
  naive: {
    "F1 etcd is killed and started again after the TTL": ["says stale", "back"],
    "F2 etcd is down at start for 1 s": ["resumable", "back"],
    "F2 etcd is down at start for 10 s": ["resumable", "back"],
    "F2 etcd is down at start for 60 s": ["resumable", "back"],
    "F3 etcd hangs at release, after a drain": ["says stale"],
    "F5 etcd is stopped (SIGSTOP) for two times the TTL": ["says stale"],
    "F8 etcd has no space left": ["back"],
    "F11 clients with one endpoint, whose member is partitioned from the others": [...blind, "says stale", "back"],
    "F14 a black hole from the client for two times the TTL": ["live is true"],
    "F14 a black hole from etcd for two times the TTL": ["says stale"],
    "F14 a black hole in both directions for two times the TTL": ["says stale"],
    "F14 watches hang while all else is answered": blind,
    "F16 keys are deleted": ["back"],
    "F16 keys are rewritten without a lease, with other content, and moved to another lease": ["back"],
    "F19 a grant is answered and the put is lost": blind,
    "F19 a put is applied and the answer is lost": blind,
    "F19 a revocation is applied and the answer is lost": blind,
    "F20 the password is changed, and changed back": [...blind, "back"],
    "F20 the role is revoked, and granted again": [...blind, "back"],
    "F21 a process comes back under its id while its old run still holds it": ["back"],
    "F21 claimants of one id, exclusive, over a bad network": ["one owner"],
    "F21 claimants of one id, restart, over a bad network": ["one owner"]
  },
  forgetful: {
    "F1 etcd is killed and started again after the TTL": ["says stale", "back"],
    "F2 etcd is down at start for 1 s": ["resumable", "back"],
    "F2 etcd is down at start for 10 s": ["resumable", "back"],
    "F2 etcd is down at start for 60 s": ["resumable", "back"],
    "F5 etcd is stopped (SIGSTOP) for two times the TTL": ["says stale", "back"],
    "F6 the client is stopped (SIGSTOP) for two times the TTL": ["back"],
    "F6 the event loop of the client is blocked for two times the TTL": ["back"],
    "F7 the data are wiped": [...blind, "back"],
    "F7 an older snapshot is restored (the revision goes back)": [...blind, "back"],
    "F7 an older snapshot is restored and has passed the revision that clients saw": [...blind, "back"],
    "F8 etcd has no space left": ["back"],
    "F9 compaction during a partition": blind,
    "F9 compaction at a delete revision, during a partition and during a watch": blind,
    "F14 a black hole from the client for two times the TTL": ["back"],
    "F14 a black hole from etcd for two times the TTL": ["says stale", "back"],
    "F14 a black hole in both directions for two times the TTL": ["says stale", "back"],
    "F14 watches hang while all else is answered": blind,
    "F16 keys are deleted": ["back"],
    "F16 keys are rewritten without a lease, with other content, and moved to another lease": ["back"],
    "F17 leases are revoked": ["back"],
    "F17 leases are revoked during a partition": [...blind, "back"],
    "F20 the password is changed, and changed back": [...blind, "back"],
    "F20 the role is revoked, and granted again": [...blind, "back"]
  }
}

/**
 * The conformance suite: one behaviour for every implementation of `Etcd`.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { describe } from "../../harness/it.ts"
import { kvChecks } from "./kv.ts"
import { leaseChecks } from "./lease.ts"
import { maintenanceChecks } from "./maintenance.ts"
import { type Check, run, type Store } from "./subject.ts"
import { txnChecks } from "./txn.ts"
import { clientChecks, watchChecks } from "./watch.ts"

/** All checks. */
export const checks: ReadonlyArray<Check> = [
  ...kvChecks,
  ...txnChecks,
  ...leaseChecks,
  ...watchChecks,
  ...maintenanceChecks,
  ...clientChecks
]

/** Declares one test per check. `it` is the harness's `live` or `effect`, `store` makes the store of a test. */
export const conformance = (
  name: string,
  it: (title: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) => void,
  store: () => Effect.Effect<Store, unknown, Scope.Scope>
): void => {
  describe(`conformance of ${name}`, () => {
    for (const check of checks) it(check.title, () => Effect.flatMap(store(), (one) => run(check, one)))
  })
}

/**
 * Reports rejected values: counts each, and logs a bounded number of them.
 *
 * @module
 */
import { Effect, Metric } from "effect"
import { RejectionWarnings } from "../../internal/RejectionWarnings.ts"
import type { Rejected } from "../model/InstanceSet.ts"
import { rejectedValues } from "./metrics.ts"

/** One for each registry. */
export class RejectionLog {
  readonly #warnings = new RejectionWarnings()

  /** Counts and logs what a change of a service rejected; `now` is milliseconds of the monotonic clock. */
  report(service: string, rejected: ReadonlyArray<Rejected>, now: number): Effect.Effect<void> {
    return Effect.andThen(
      Metric.update(rejectedValues(service), rejected.length),
      this.#warnings.log(rejected, now, ({ error, key }) => `${JSON.stringify(key)} is left out: ${error.message}`)
    )
  }
}

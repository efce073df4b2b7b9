/**
 * Reports rejected values: counts each, and logs a bounded number of them.
 *
 * @module
 */
import { Effect, Metric } from "effect"
import { logWarning } from "../../internal/log.ts"
import type { Rejected } from "../model/InstanceSet.ts"
import { rejectedValues } from "./metrics.ts"

const maxLines = 20
const windowMillis = 60_000

/** One for each registry: at most 20 lines a minute, then one line that counts the rest. */
export class RejectionLog {
  #windowFrom = -Infinity
  #lines = 0
  #suppressed = 0

  /** Counts and logs what a change of a service rejected; `now` is milliseconds of the monotonic clock. */
  report(service: string, rejected: ReadonlyArray<Rejected>, now: number): Effect.Effect<void> {
    const lines: Array<string> = []
    if (now - this.#windowFrom >= windowMillis) {
      if (this.#suppressed > 0) lines.push(`${this.#suppressed} more rejected values were not logged`)
      this.#windowFrom = now
      this.#lines = 0
      this.#suppressed = 0
    }
    for (const { error, key } of rejected) {
      if (this.#lines < maxLines) {
        this.#lines += 1
        lines.push(`${JSON.stringify(key)} is left out: ${error.message}`)
      } else {
        if (this.#suppressed === 0) lines.push(`${maxLines} values were rejected within a minute; not logging more`)
        this.#suppressed += 1
      }
    }
    return Effect.andThen(
      Metric.update(rejectedValues(service), rejected.length),
      Effect.forEach(lines, (line) => logWarning(line), { discard: true })
    )
  }
}

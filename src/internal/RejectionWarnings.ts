import { Effect } from "effect"
import { logWarning } from "./log.ts"

const maxLines = 20
const windowMillis = 60_000

/**
 * Warnings about rejected values, which another process may write as fast as etcd accepts them: at most 20 lines a
 * minute, then one line that counts the rest.
 */
export class RejectionWarnings {
  #windowFrom = -Infinity
  #lines = 0
  #suppressed = 0

  /** Logs those that fit, each as its `text`; `now` is milliseconds of the monotonic clock. */
  log<A>(rejected: ReadonlyArray<A>, now: number, text: (rejected: A) => string): Effect.Effect<void> {
    const lines: Array<string> = []
    if (now - this.#windowFrom >= windowMillis) {
      if (this.#suppressed > 0) lines.push(`${this.#suppressed} more rejected values were not logged`)
      this.#windowFrom = now
      this.#lines = 0
      this.#suppressed = 0
    }
    for (const one of rejected) {
      if (this.#lines < maxLines) {
        this.#lines += 1
        lines.push(text(one))
      } else {
        if (this.#suppressed === 0) lines.push(`${maxLines} values were rejected within a minute; not logging more`)
        this.#suppressed += 1
      }
    }
    return Effect.forEach(lines, (line) => logWarning(line), { discard: true })
  }
}

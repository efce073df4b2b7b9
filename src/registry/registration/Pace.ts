/**
 * The rate limit of writes that the owner did not request: for changes of health, and to undo foreign writes of the
 * key.
 *
 * @module
 */

/** The burst: writes that may follow each other at once. */
const burst = 5

/** After the burst, one write per this time. */
const refillMillis = 1000

/** A token bucket: a flapping check or two programs that fight over a key cause at most one write a second. */
export class Pace {
  #tokens = burst
  #refilledAt = -Infinity

  /** Takes a token and returns 0, or returns the milliseconds after which there is one. `now` is monotonic. */
  take(now: number): number {
    const refilled = Math.floor((now - this.#refilledAt) / refillMillis)
    if (this.#tokens + refilled >= burst) {
      this.#tokens = burst
      this.#refilledAt = now
    } else if (refilled > 0) {
      this.#tokens += refilled
      this.#refilledAt += refilled * refillMillis
    }
    if (this.#tokens === 0) return this.#refilledAt + refillMillis - now
    this.#tokens -= 1
    return 0
  }
}

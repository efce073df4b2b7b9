/**
 * Sums over the last stretch of time, in constant memory: the stretch is cut into ten slices, and a slice that has
 * passed counts no longer.
 *
 * @module
 */

const slices = 10

/** A sum of what was added during the last `window` milliseconds, to a tenth of that. */
export class SlidingSum {
  readonly #width: number
  readonly #sums = new Float64Array(slices)
  #total = 0
  #slice = Number.NEGATIVE_INFINITY

  constructor(window: number) {
    this.#width = window / slices
  }

  /** Adds to the slice of this moment. */
  add(amount: number, now: number): void {
    this.#advance(now)
    const index = ((this.#slice % slices) + slices) % slices
    this.#sums[index] = (this.#sums[index] ?? 0) + amount
    this.#total += amount
  }

  /** The sum at this moment. */
  at(now: number): number {
    this.#advance(now)
    return this.#total
  }

  /** Forgets everything. */
  clear(): void {
    this.#sums.fill(0)
    this.#total = 0
  }

  #advance(now: number): void {
    const slice = Math.floor(now / this.#width)
    if (slice <= this.#slice) return
    if (slice - this.#slice >= slices) this.clear()
    else {
      for (let passed = this.#slice + 1; passed <= slice; passed++) {
        const index = ((passed % slices) + slices) % slices
        this.#total -= this.#sums[index] ?? 0
        this.#sums[index] = 0
      }
    }
    this.#slice = slice
  }
}

/**
 * The sum of what was added during a sliding time window, in constant memory.
 *
 * The window is cut into ten slices. A slice leaves the sum as a whole.
 *
 * @module
 */

const slices = 10

/** The sum of the amounts added during the last `windowMillis`, exact to one slice (a tenth of the window). */
export class SlidingSum {
  readonly #sliceMillis: number
  readonly #sums = new Float64Array(slices)
  #total = 0
  #slice = Number.NEGATIVE_INFINITY

  constructor(windowMillis: number) {
    this.#sliceMillis = windowMillis / slices
  }

  /** Adds an amount at the time `now`. */
  add(amount: number, now: number): void {
    this.#advance(now)
    const index = ((this.#slice % slices) + slices) % slices
    this.#sums[index] = (this.#sums[index] ?? 0) + amount
    this.#total += amount
  }

  /** The sum at the time `now`. */
  at(now: number): number {
    this.#advance(now)
    return this.#total
  }

  /** Resets the sum to 0. */
  clear(): void {
    this.#sums.fill(0)
    this.#total = 0
  }

  #advance(now: number): void {
    const slice = Math.floor(now / this.#sliceMillis)
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

/**
 * The weights of a group of instances.
 *
 * @module
 */

/** The limits of weights, which keep sums and ratios exact enough. */
const minWeight = 1e-6
const maxWeight = 1e6

/** Returns the weight for strategies: 0 unless it is above 0, otherwise clamped to 1e-6 … 1e6. */
export const clampWeight = (weight: number): number => weight > 0 ? Math.min(Math.max(weight, minWeight), maxWeight) : 0

/**
 * Counts the instances of each weight. The total is recomputed after a change, so rounding errors do not accumulate.
 */
export class Weights {
  readonly #counts = new Map<number, number>()
  #count = 0
  #total: number | undefined

  /** Replaces one weight by another. 0 stands for an absent instance. */
  change(from: number, to: number): void {
    if (from === to) return
    this.#add(from, -1)
    this.#add(to, 1)
    this.#total = undefined
  }

  /** Whether all weights are equal. */
  get uniform(): boolean {
    return this.#counts.size <= 1
  }

  get total(): number {
    if (this.#total === undefined) {
      this.#total = 0
      for (const [weight, count] of this.#counts) this.#total += weight * count
    }
    return this.#total
  }

  get mean(): number {
    return this.total / this.#count
  }

  #add(weight: number, by: 1 | -1): void {
    if (weight === 0) return
    this.#count += by
    const count = (this.#counts.get(weight) ?? 0) + by
    if (count === 0) this.#counts.delete(weight)
    else this.#counts.set(weight, count)
  }
}

/**
 * The weights of a group of instances.
 *
 * @module
 */

/** The range that weights are clamped to, so that sums and ratios stay exact enough. */
const minWeight = 1e-6
const maxWeight = 1e6

/** A weight as strategies use it: 0 unless it is above 0, and otherwise from 1e-6 to 1e6. */
export const clampWeight = (weight: number): number => weight > 0 ? Math.min(Math.max(weight, minWeight), maxWeight) : 0

/** The number of instances of each weight. The total is computed again after a change, so rounding does not add up. */
export class Weights {
  readonly #counts = new Map<number, number>()
  #count = 0
  #total: number | undefined

  /** Replaces one weight by another. 0 stands for an instance that is absent. */
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

/**
 * The weights of some instances, as a whole.
 *
 * @module
 */

/** How many there are of each weight. The total is summed up afresh after a change, so nothing drifts. */
export class Weights {
  readonly #counts = new Map<number, number>()
  #count = 0
  #total: number | undefined

  /** One weight becomes another; 0 stands for "not there". */
  change(from: number, to: number): void {
    if (from === to) return
    this.#add(from, -1)
    this.#add(to, 1)
    this.#total = undefined
  }
  /** Whether all are equal. */
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

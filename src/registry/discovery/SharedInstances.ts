/**
 * Counts the keys of each instance, for formats in which several keys hold the same instance; see `idFromValue` of
 * `Layout`.
 *
 * @module
 */

/** Which instance each key holds, and how many keys hold each instance. */
export class SharedInstances {
  readonly #idOf = new Map<string, string>()
  readonly #holders = new Map<string, number>()

  /** Records that a key holds the instance `to`, or none. Returns the id of the instance that lost its last key. */
  move(key: string, to: string | undefined): string | undefined {
    const from = this.#idOf.get(key)
    if (from === to) return undefined
    if (to === undefined) this.#idOf.delete(key)
    else {
      this.#idOf.set(key, to)
      this.#holders.set(to, (this.#holders.get(to) ?? 0) + 1)
    }
    if (from === undefined) return undefined
    const remaining = (this.#holders.get(from) ?? 0) - 1
    if (remaining > 0) {
      this.#holders.set(from, remaining)
      return undefined
    }
    this.#holders.delete(from)
    return from
  }
}

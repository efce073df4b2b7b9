/**
 * A map of entries by key: lookup by hash, iteration in key order.
 *
 * The order is kept in sorted blocks of bounded size, as in a B-tree of two levels. Finding a block is a binary search,
 * and an insert moves at most one block. The index must not change during an iteration.
 *
 * @module
 */
import type { ByteText, Interval } from "./keys.ts"

const maxBlock = 512

/** An entry of the index. Its key never changes. */
export interface Keyed {
  readonly key: ByteText
}

type Block<A> = Array<A>

/** A map from keys to entries, in key order. */
export class SortedIndex<A extends Keyed> {
  readonly #byKey = new Map<ByteText, A>()
  /** In order; no block is empty, except a single one. */
  readonly #blocks: Array<Block<A>> = []

  get size(): number {
    return this.#byKey.size
  }

  get(key: ByteText): A | undefined {
    return this.#byKey.get(key)
  }

  /** Adds an entry. Its key must be new. */
  insert(entry: A): void {
    this.#byKey.set(entry.key, entry)
    const at = Math.max(0, this.#blockAfter(entry.key) - 1)
    const block = this.#blocks[at]
    if (block === undefined) {
      this.#blocks.push([entry])
      return
    }
    block.splice(position(block, entry.key), 0, entry)
    if (block.length > maxBlock) this.#blocks.splice(at + 1, 0, block.splice(block.length >>> 1))
  }

  remove(key: ByteText): void {
    if (!this.#byKey.delete(key)) return
    const at = this.#blockAfter(key) - 1
    const block = this.#blocks[at]
    if (block === undefined) return
    block.splice(position(block, key), 1)
    const next = this.#blocks[at + 1]
    if (block.length === 0) this.#blocks.splice(at, 1)
    else if (next !== undefined && block.length + next.length < maxBlock >>> 1) {
      for (const entry of next) block.push(entry)
      this.#blocks.splice(at + 1, 1)
    }
  }

  /** Visits the entries of an interval in key order. */
  forEach({ start, end }: Interval, visit: (entry: A) => void): void {
    if (end <= start) return
    const first = Math.max(0, this.#blockAfter(start) - 1)
    for (let b = first; b < this.#blocks.length; b++) {
      const block = this.#blocks[b] ?? []
      for (let i = b === first ? position(block, start) : 0; i < block.length; i++) {
        const entry = block[i]
        if (entry === undefined || entry.key >= end) return
        visit(entry)
      }
    }
  }

  /** The index of the first block that starts after the key. */
  #blockAfter(key: ByteText): number {
    let low = 0
    let high = this.#blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const first = this.#blocks[middle]?.[0]
      if (first !== undefined && first.key <= key) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The index of the first entry at or after the key. */
const position = <A extends Keyed>(block: Block<A>, key: ByteText): number => {
  let low = 0
  let high = block.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const entry = block[middle]
    if (entry !== undefined && entry.key < key) low = middle + 1
    else high = middle
  }
  return low
}

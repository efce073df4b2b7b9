/**
 * A ring of hashes on which instances own points (Karger et al., "Consistent Hashing and Random Trees", STOC 1997).
 *
 * Hashes are uniform, so points are sorted into buckets by their leading bits, about one point per bucket. Building
 * takes linear time, and a lookup takes constant time. Effect's `HashRing` needs ten times the memory and more than 1
 * µs for a lookup (ADR 0040).
 *
 * @module
 */
import { hash } from "../../internal/hash.ts"

/**
 * Hash `i` of an id: MurmurHash3's finalizer over an arithmetic sequence. The id's two hashes are its start and step.
 */
const pointHash = (start: number, step: number, i: number): number => {
  let h = start + Math.imul(step, i) | 0
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return (h ^ h >>> 16) >>> 0
}

const at = (array: Uint32Array, index: number): number => array[index] ?? 0

const add = (array: Uint32Array, index: number, amount: number): void => {
  array[index] = at(array, index) + amount
}

/** An immutable ring. */
export class Ring {
  /** Sorted as text, so that all clients resolve equal hashes alike. */
  readonly #ids: ReadonlyArray<string>
  /** The sorted points, and the index of each point's owner. */
  readonly #hashes: Uint32Array
  readonly #owners: Uint32Array
  /** The number of bits of a hash below those that select its bucket, and where each bucket starts. */
  readonly #shift: number
  readonly #starts: Uint32Array

  /** `pointsOf` returns the number of points of an id: 1 or more. */
  constructor(ids: Iterable<string>, pointsOf: (id: string) => number) {
    this.#ids = Array.from(ids).sort()
    const counts = this.#ids.map(pointsOf)
    const total = counts.reduce((sum, count) => sum + count, 0)
    this.#hashes = new Uint32Array(total)
    this.#owners = new Uint32Array(total)
    // Below 32 bits: a shift by 32 is a shift by 0.
    const bits = Math.min(24, Math.max(1, Math.ceil(Math.log2(total))))
    this.#shift = 32 - bits
    this.#starts = new Uint32Array(2 ** bits + 1)
    const points = new Uint32Array(total)
    let next = 0
    this.#ids.forEach((id, owner) => {
      const [start, step] = [hash(id), hash(id, -1) | 1]
      for (let i = 0; i < (counts[owner] ?? 0); i++) points[next++] = pointHash(start, step, i)
    })
    for (const point of points) add(this.#starts, (point >>> this.#shift) + 1, 1)
    for (let bucket = 1; bucket < this.#starts.length; bucket++) add(this.#starts, bucket, at(this.#starts, bucket - 1))
    const ends = this.#starts.slice()
    next = 0
    counts.forEach((count, owner) => {
      for (let i = 0; i < count; i++) this.#insert(at(points, next++), owner, ends)
    })
  }

  /** The owner of the first point at or after a hash (0 to 2³² - 1), or `undefined` if the ring is empty. */
  ownerOf(hash: number): string | undefined {
    let place = at(this.#starts, hash >>> this.#shift)
    while (place < this.#hashes.length && at(this.#hashes, place) < hash) place++
    const owner = this.#owners[place === this.#hashes.length ? 0 : place]
    return owner === undefined ? undefined : this.#ids[owner]
  }

  /** Inserts a point into its bucket, behind those with smaller or equal hashes. */
  #insert(point: number, owner: number, ends: Uint32Array): void {
    const bucket = point >>> this.#shift
    const start = at(this.#starts, bucket)
    let place = at(ends, bucket)
    add(ends, bucket, 1)
    while (place > start && at(this.#hashes, place - 1) > point) {
      this.#hashes[place] = at(this.#hashes, place - 1)
      this.#owners[place] = at(this.#owners, place - 1)
      place--
    }
    this.#hashes[place] = point
    this.#owners[place] = owner
  }
}

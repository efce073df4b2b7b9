/**
 * A hash of text to integers below 2³². Every bit depends on every character.
 *
 * Effect's `Hash.string` does not promise that: texts that differ in their first characters only get neighbouring hashes.
 *
 * FNV-1a over the code units (Fowler, Noll, Vo), then the finalizer of MurmurHash3 (A. Appleby).
 *
 * @module
 */

/** The hash of a text. Each `seed` gives another hash function. */
export const hash = (text: string, seed: number = 0): number => {
  let h = 0x811c9dc5 ^ seed
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return (h ^ h >>> 16) >>> 0
}

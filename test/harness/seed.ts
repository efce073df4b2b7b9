/**
 * The seed of this run's random tests. `deno task test` pins it, `deno task test:all` draws one; both print it, and
 * `--seed` or `TEST_SEED` repeats a run.
 *
 * @module
 */
import process from "node:process"

/** A whole number. */
export const seed: number = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 1e9))

/** Draws numbers from 0 to 1; the same seed draws the same sequence (mulberry32). */
export const randomOf = (seed: number): () => number => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * Weights as repetitions: a list under `round_robin` in which each value occurs as often as its weight demands.
 *
 * grpc-js has no weights for addresses, but takes an address several times, and shares one connection between them.
 *
 * @module
 */

/** A value with its weight, which is above 0. */
export interface Weighted<A> {
  readonly value: A
  readonly weight: number
}

/** The most entries for unequal weights, or twice the number of values if that is larger. */
const maxEntries = 64

/**
 * The values, each at least once, in proportion to their weights and evenly mixed.
 *
 * **Details**
 *
 * Whole weights with a small sum are exact. Others are rounded to shares of `maxEntries`, or of twice the number of
 * values if that is larger.
 */
export const spread = <A>(values: ReadonlyArray<Weighted<A>>): ReadonlyArray<A> => {
  const counts = countsOf(values.map(({ weight }) => weight))
  const turns: Array<{ readonly at: number; readonly value: A }> = []
  values.forEach(({ value }, index) => {
    const count = counts[index] ?? 1
    // The middle of each of `count` equal parts of the list.
    for (let turn = 0; turn < count; turn++) turns.push({ at: (turn + 0.5) / count, value })
  })
  return turns.sort((a, b) => a.at - b.at).map(({ value }) => value)
}

const countsOf = (weights: ReadonlyArray<number>): ReadonlyArray<number> => {
  const limit = Math.max(maxEntries, 2 * weights.length)
  // A spread call overflows the stack with some 100,000 arguments.
  const smallest = weights.reduce((a, b) => Math.min(a, b), Infinity)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const divisor = weights.every(Number.isSafeInteger) ? weights.reduce(greatestCommonDivisor, 0) : smallest
  const isExact = total / divisor <= limit && weights.every((weight) => Number.isInteger(weight / divisor))
  return weights.map((weight) => isExact ? weight / divisor : Math.max(1, Math.round(limit * weight / total)))
}

const greatestCommonDivisor = (a: number, b: number): number => b === 0 ? a : greatestCommonDivisor(b, a % b)

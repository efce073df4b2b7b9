/**
 * Percentiles of recent latencies, in constant memory.
 *
 * Two histograms of ten seconds each: the current and the previous one. Each bucket is a twelfth wider than the one
 * before.
 *
 * @module
 */

const growth = Math.log(13 / 12)
/** From a microsecond to about twelve days. */
const buckets = 350
const windowMillis = 10_000
/** The number of measurements that a percentile needs. */
const minSamples = 20

const indexOf = (millis: number): number =>
  Math.min(buckets - 1, Math.max(0, Math.ceil(Math.log(Math.max(millis, 1e-3) * 1000) / growth)))

/** The latencies of the last 10 to 20 seconds. */
export class Latencies {
  #before = new Uint32Array(buckets)
  #current = new Uint32Array(buckets)
  #count = 0
  #countBefore = 0
  #until = Number.NEGATIVE_INFINITY

  /** Adds a measurement. */
  add(millis: number, now: number): void {
    this.#advance(now)
    const index = indexOf(millis)
    this.#current[index] = (this.#current[index] ?? 0) + 1
    this.#count += 1
  }

  /**
   * The latency in milliseconds that a share (0 to 1) of the measurements did not exceed, rounded up by at most a
   * twelfth. `undefined` with fewer than 20 measurements.
   */
  percentile(share: number, now: number): number | undefined {
    this.#advance(now)
    const total = this.#count + this.#countBefore
    if (total < minSamples) return undefined
    let left = Math.ceil(share * total)
    for (let index = 0; index < buckets; index++) {
      left -= (this.#current[index] ?? 0) + (this.#before[index] ?? 0)
      if (left <= 0) return Math.exp(index * growth) / 1000
    }
    return undefined
  }

  #advance(now: number): void {
    if (now < this.#until) return
    const isOld = now >= this.#until + windowMillis
    const spare = this.#before
    this.#before = isOld ? new Uint32Array(buckets) : this.#current
    this.#countBefore = isOld ? 0 : this.#count
    this.#current = spare.fill(0)
    this.#count = 0
    this.#until = now + windowMillis
  }
}

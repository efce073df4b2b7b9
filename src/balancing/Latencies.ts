/**
 * Percentiles of the latency of late, in constant memory: a histogram whose buckets grow by a twelfth each, kept for
 * two stretches of time of which the older one is dropped.
 *
 * @module
 */

const growth = Math.log(13 / 12)
/** From a microsecond to about twelve days. */
const buckets = 350
/** Milliseconds. */
const stretch = 10_000
/** With fewer measurements a percentile says nothing. */
const enough = 20

const indexOf = (millis: number): number =>
  Math.min(buckets - 1, Math.max(0, Math.ceil(Math.log(Math.max(millis, 1e-3) * 1000) / growth)))

/** The latencies of the last 10 to 20 seconds. */
export class Latencies {
  #before = new Uint32Array(buckets)
  #now = new Uint32Array(buckets)
  #count = 0
  #countBefore = 0
  #until = Number.NEGATIVE_INFINITY

  /** Adds a measurement, in milliseconds. */
  add(millis: number, now: number): void {
    this.#advance(now)
    const index = indexOf(millis)
    this.#now[index] = (this.#now[index] ?? 0) + 1
    this.#count += 1
  }

  /**
   * The latency in milliseconds that a share (0 to 1) of the calls stayed below, to a twelfth; `undefined` as long as
   * there are fewer than 20 measurements.
   */
  percentile(share: number, now: number): number | undefined {
    this.#advance(now)
    const total = this.#count + this.#countBefore
    if (total < enough) return undefined
    let left = Math.ceil(share * total)
    for (let index = 0; index < buckets; index++) {
      left -= (this.#now[index] ?? 0) + (this.#before[index] ?? 0)
      if (left <= 0) return Math.exp(index * growth) / 1000
    }
    return undefined
  }

  #advance(now: number): void {
    if (now < this.#until) return
    const isOld = now >= this.#until + stretch
    const spare = this.#before
    this.#before = isOld ? new Uint32Array(buckets) : this.#now
    this.#countBefore = isOld ? 0 : this.#count
    this.#now = spare.fill(0)
    this.#count = 0
    this.#until = now + stretch
  }
}

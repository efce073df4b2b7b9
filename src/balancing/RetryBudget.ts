/**
 * How many retries a service may get, so that retries cannot multiply the load on a service that is in trouble.
 *
 * A token bucket that leaks, after Finagle's `com.twitter.finagle.service.RetryBudget` (twitter.github.io/finagle,
 * "Clients", "Retries"): each call pays `ratio` of a retry in, each retry takes one out, what was paid in is worth
 * something for `window`, and `minPerSecond` retries are there even when there are no calls.
 *
 * @module
 */
import { SlidingSum } from "./SlidingSum.ts"

/** How much load retries and hedges may add. */
export interface RetryBudgetOptions {
  /** Retries for each call, 0 to 1,000. Default: 0.2, that is at most 20 % extra load. */
  readonly ratio?: number
  /** Retries for each second of the window that are allowed on top, for services with few calls. Default: 10. */
  readonly minPerSecond?: number
}

/** The window of Finagle's default, in milliseconds. */
export const window = 10_000

/** What is left of a budget. */
export class RetryBudget {
  readonly #ratio: number
  readonly #reserve: number
  readonly #balance = new SlidingSum(window)

  constructor({ ratio = 0.2, minPerSecond = 10 }: RetryBudgetOptions) {
    this.#ratio = ratio
    this.#reserve = minPerSecond * window / 1000
  }

  /** A call begins. */
  deposit(now: number): void {
    this.#balance.add(this.#ratio, now)
  }

  /** Whether one more retry may be sent; if so, it is paid for. */
  withdraw(now: number): boolean {
    if (this.available(now) < 1) return false
    this.#balance.add(-1, now)
    return true
  }

  /** The retries that are left at this moment. */
  available(now: number): number {
    // Sums of tenths are not exact.
    return Math.max(0, Math.floor(this.#reserve + this.#balance.at(now) + 1e-6))
  }
}

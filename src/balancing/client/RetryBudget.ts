/**
 * A limit on retries, so that they cannot multiply the load on a service in trouble.
 *
 * A leaky token bucket modelled on Finagle's `com.twitter.finagle.service.RetryBudget` (twitter.github.io/finagle,
 * "Clients", "Retries"). Each call deposits `ratio` of a retry, and each retry withdraws one. Deposits expire after ten
 * seconds. `minPerSecond` retries are available without any calls.
 *
 * @module
 */
import { SlidingSum } from "../../internal/time/SlidingSum.ts"

/** The checked options of a {@link RetryBudget}. */
export interface RetryBudgetRules {
  readonly ratio: number
  readonly minPerSecond: number
}

/** The window of Finagle's default. */
const windowMillis = 10_000

/** The remaining retries of a service client. */
export class RetryBudget {
  readonly #ratio: number
  readonly #reserve: number
  readonly #balance = new SlidingSum(windowMillis)

  constructor({ minPerSecond, ratio }: RetryBudgetRules) {
    this.#ratio = ratio
    this.#reserve = minPerSecond * windowMillis / 1000
  }

  /** Records the start of a call. */
  deposit(now: number): void {
    this.#balance.add(this.#ratio, now)
  }

  /** Withdraws one retry and returns true, or returns false if there is none. */
  withdraw(now: number): boolean {
    if (this.available(now) < 1) return false
    this.#balance.add(-1, now)
    return true
  }

  /** The number of retries that are left. */
  available(now: number): number {
    // Sums of tenths are inexact.
    return Math.max(0, Math.floor(this.#reserve + this.#balance.at(now) + 1e-6))
  }
}

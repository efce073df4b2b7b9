/**
 * The effect of one call of a rate limiter on the state of its key.
 *
 * @module
 */

import { Schema } from "effect"

/** The last time of a `Date`. */
const maxTime = 8.64e15

/** A time in milliseconds since 1970. A stored number out of this range was not written by a limiter. */
export const Time = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: maxTime }))

/** A time as it can be stored: JSON has no infinity. */
export const storable = (millis: number): number => Math.min(millis, maxTime)

/** A number of tokens, below 0 if some are owed. */
export const Tokens = Schema.Finite.check(
  Schema.isBetween({ minimum: -Number.MAX_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER })
)

/** The result of a call, and the state to write, if the call changes it. Times are milliseconds since 1970. */
export interface Step<out S, out A> {
  readonly result: A
  readonly next?: {
    readonly state: S
    /** From this time on the state has no effect and may be deleted. */
    readonly expiresAt: number
  }
}

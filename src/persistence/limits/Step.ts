/**
 * The effect of one call of a rate limiter on the state of its key.
 *
 * @module
 */

/** The result of a call, and the state to write, if the call changes it. Times are milliseconds since 1970. */
export interface Step<out S, out A> {
  readonly result: A
  readonly next?: {
    readonly state: S
    /** From this time on the state has no effect and may be deleted. */
    readonly expiresAt: number
  }
}

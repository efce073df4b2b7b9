/**
 * The token bucket: a whole token is added after each interval, up to the limit.
 *
 * @module
 */
import { Schema } from "effect"
import { type Step, Time, Tokens } from "./Step.ts"

/** The tokens in the bucket, below 0 if some are owed, and the start of the current interval. */
export const State = Schema.Struct({ tokens: Tokens, intervalStart: Time })

/** See {@link State}. */
export type State = typeof State.Type

/** What a call takes. A call that may overflow takes tokens that the bucket does not have yet. */
export interface Take {
  readonly tokens: number
  readonly limit: number
  readonly millisPerToken: number
  readonly allowOverflow: boolean
}

/**
 * Returns the tokens that are left after this call, and the elapsed time of the current interval.
 *
 * A call that takes nothing writes nothing: what the time has added follows from the older state as well.
 */
export const take = (
  current: State | undefined,
  { allowOverflow, limit, millisPerToken, tokens }: Take,
  now: number
): Step<State, readonly [remaining: number, elapsedMillis: number]> => {
  const bucket = current ?? { tokens: limit, intervalStart: now }
  const added = Math.max(0, Math.floor((now - bucket.intervalStart) / millisPerToken))
  const available = added === 0 ? bucket.tokens : Math.min(limit, bucket.tokens + added)
  const refilled = added === 0 ? bucket.intervalStart : bucket.intervalStart + added * millisPerToken
  const intervalStart = available >= limit ? now : refilled
  const remaining = available - tokens
  const elapsed = Math.max(0, now - intervalStart)
  if (tokens === 0 || (remaining < 0 && !allowOverflow)) return { result: [remaining, elapsed] }
  return {
    result: [remaining, elapsed],
    next: {
      state: { tokens: remaining, intervalStart },
      expiresAt: intervalStart + Math.ceil(limit - remaining) * millisPerToken
    }
  }
}

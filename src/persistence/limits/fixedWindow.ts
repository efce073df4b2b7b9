/**
 * The fixed window: tokens are counted until the window is over. Each token prolongs the window.
 *
 * @module
 */
import { Schema } from "effect"
import { type Step, storable, Time, Tokens } from "./Step.ts"

/** The tokens of the current window, and its end. */
export const State = Schema.Struct({ tokens: Tokens, endsAt: Time })

/** See {@link State}. */
export type State = typeof State.Type

/** What a call takes. Without a limit it always succeeds. */
export interface Take {
  readonly tokens: number
  readonly limit: number | undefined
  readonly millisPerToken: number
}

/**
 * Returns the tokens of the window, including this call's, and the rest of the window. A call above the limit takes
 * none.
 */
export const take = (
  current: State | undefined,
  { limit, millisPerToken, tokens }: Take,
  now: number
): Step<State, readonly [tokens: number, restMillis: number]> => {
  const { endsAt, tokens: taken } = current === undefined || current.endsAt <= now ?
    { endsAt: now, tokens: 0 } :
    current
  const total = taken + tokens
  if (limit !== undefined && total > limit) return { result: [total, endsAt - now] }
  const state = { tokens: total, endsAt: storable(endsAt + millisPerToken * tokens) }
  return { result: [total, state.endsAt - now], next: { state, expiresAt: state.endsAt } }
}

/**
 * The adaptive limit: it learns a server's rate limit from its 429 responses.
 *
 * The first 429 starts a cooldown. Then calls are counted until the next 429. Their number becomes the limit, and the
 * time that they took the window. Another 429 starts a cooldown again. Each phase of counting or limiting has a new
 * epoch; feedback from an older epoch is ignored.
 *
 * @module
 */
import { Schema } from "effect"
import { type Step, storable, Time, Tokens } from "./Step.ts"

const maxMillis = 60 * 60 * 1000

const Cooldown = Schema.TaggedStruct("Cooldown", { epoch: Schema.Finite, until: Time })
const Learning = Schema.TaggedStruct("Learning", {
  epoch: Schema.Finite,
  startedAt: Time,
  tokens: Tokens,
  expiresAt: Time
})
const Learned = Schema.TaggedStruct("Learned", {
  epoch: Schema.Finite,
  limit: Tokens.check(Schema.isGreaterThan(0)),
  windowMillis: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: maxMillis })),
  /** The tokens taken since the limit was idle, and the time until which they exhaust it. */
  tokens: Tokens,
  busyUntil: Time,
  expiresAt: Time
})

/** A phase. A key without a phase is inactive, with epoch 0. */
export const State = Schema.Union([Cooldown, Learning, Learned])

/** See {@link State}. */
export type State = typeof State.Type

/** The limits of a call. */
export interface Admission {
  readonly delayMillis: number
  readonly epoch: number
  readonly phase: "inactive" | "cooldown" | "learning" | "learned"
}

/** How long after its end a phase is deleted. */
const graceMillis = 60_000

const bounded = (millis: number): number => millis > 0 ? Math.min(millis, maxMillis) : 1

const expiryOf = (state: State): number => state._tag === "Cooldown" ? state.until + graceMillis : state.expiresAt

const present = (current: State | undefined, now: number): State | undefined =>
  current === undefined || expiryOf(current) <= now ? undefined : current

const to = (state: State): { readonly state: State; readonly expiresAt: number } => ({
  state,
  expiresAt: expiryOf(state)
})

/** Counts a call, and returns how long it has to wait. */
export const consume = (
  current: State | undefined,
  { fallbackWindowMillis, tokens }: { readonly tokens: number; readonly fallbackWindowMillis: number },
  now: number
): Step<State, Admission> => {
  const state = present(current, now)
  switch (state?._tag) {
    case undefined:
      return { result: { delayMillis: 0, epoch: 0, phase: "inactive" } }
    case "Cooldown": {
      if (state.until > now) {
        return { result: { delayMillis: state.until - now, epoch: state.epoch, phase: "cooldown" } }
      }
      const epoch = state.epoch + 1
      const expiresAt = storable(now + fallbackWindowMillis + graceMillis)
      return {
        result: { delayMillis: 0, epoch, phase: "learning" },
        next: to({ _tag: "Learning", epoch, startedAt: now, tokens, expiresAt })
      }
    }
    case "Learning":
      return {
        result: { delayMillis: 0, epoch: state.epoch, phase: "learning" },
        next: to({ ...state, tokens: state.tokens + tokens })
      }
    case "Learned": {
      const millisPerToken = state.windowMillis / state.limit
      const before = state.busyUntil <= now ? { tokens: 0, busyUntil: now } : state
      const total = before.tokens + tokens
      const busyUntil = before.busyUntil + millisPerToken * tokens
      const elapsed = total * millisPerToken - (busyUntil - now)
      const windows = Math.floor((total - 1) / state.limit)
      return {
        result: {
          delayMillis: Math.max(0, windows * state.windowMillis - elapsed),
          epoch: state.epoch,
          phase: "learned"
        },
        next: to({ ...state, tokens: total, busyUntil })
      }
    }
  }
}

/** Adopts a 429 response to a call of this epoch that took these tokens. */
export const feedback = (
  current: State | undefined,
  { epoch, retryAfterMillis, tokens }: {
    readonly epoch: number
    readonly tokens: number
    readonly retryAfterMillis: number
  },
  now: number
): Step<State, void> => {
  const state = present(current, now)
  if ((state?.epoch ?? 0) !== epoch) return { result: undefined }
  const retryMillis = bounded(retryAfterMillis)
  const until = now + retryMillis
  switch (state?._tag) {
    case "Cooldown":
      return { result: undefined, next: to({ ...state, until: Math.max(state.until, until) }) }
    case "Learning": {
      // The call that was refused is not part of the limit.
      const limit = state.tokens - tokens
      if (limit <= 0) return { result: undefined, next: to({ _tag: "Cooldown", epoch, until }) }
      const windowMillis = bounded(now - state.startedAt + retryMillis)
      return {
        result: undefined,
        next: to({
          _tag: "Learned",
          epoch: epoch + 1,
          limit,
          windowMillis,
          tokens: limit,
          busyUntil: state.startedAt + windowMillis,
          expiresAt: now + windowMillis + graceMillis
        })
      }
    }
    default:
      return { result: undefined, next: to({ _tag: "Cooldown", epoch, until }) }
  }
}

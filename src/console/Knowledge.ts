/**
 * How much a page may claim: what was read, at which revision, and when that was last confirmed.
 *
 * Everything here is pure.
 *
 * @module
 */
import { Data } from "effect"

/**
 * `Unknown`: etcd has not answered yet; nothing may be shown, least of all an empty list. `Known`: this was the state at
 * `revision`, and at `confirmedAt` (milliseconds of the epoch) nothing newer existed. `failure` is what has gone wrong
 * since.
 */
export type Knowledge = Data.TaggedEnum<{
  Unknown: { readonly failure: string | undefined }
  Known: { readonly revision: bigint; readonly confirmedAt: number; readonly failure: string | undefined }
}>

/** Constructors of {@link Knowledge}. */
export const Knowledge: Data.TaggedEnum.Constructor<Knowledge> = Data.taggedEnum<Knowledge>()

/** From which age on a confirmation counts as stale and as lost, in milliseconds. */
export interface Limits {
  readonly staleMillis: number
  readonly disconnectedMillis: number
}

/** How a page names its own freshness. */
export type Standing = "unknown" | "live" | "stale" | "disconnected"

/** The standing of what is known, at a time. A failure makes it stale at once. */
export const standingOf = (knowledge: Knowledge, now: number, limits: Limits): Standing => {
  if (knowledge._tag === "Unknown") return "unknown"
  const age = now - knowledge.confirmedAt
  if (age >= limits.disconnectedMillis) return "disconnected"
  return knowledge.failure !== undefined || age >= limits.staleMillis ? "stale" : "live"
}

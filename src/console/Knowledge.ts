/**
 * The state of a page's data: its revision, and when etcd last confirmed it.
 *
 * Everything here is pure.
 *
 * @module
 */
import { Data } from "effect"

/**
 * `Unknown`: etcd has not answered yet. Show nothing, and above all no empty list. `Known`: this was the state at
 * `revision`, and it was still the newest at `confirmedAt` (milliseconds since the epoch). `failure` is the newest
 * failure since then.
 */
export type Knowledge = Data.TaggedEnum<{
  Unknown: { readonly failure: string | undefined }
  Known: { readonly revision: bigint; readonly confirmedAt: number; readonly failure: string | undefined }
}>

/** Constructors of {@link Knowledge}. */
export const Knowledge: Data.TaggedEnum.Constructor<Knowledge> = Data.taggedEnum<Knowledge>()

/** The ages, in milliseconds, at which a confirmation counts as stale and as lost. */
export interface Limits {
  readonly staleMillis: number
  readonly disconnectedMillis: number
}

/** The freshness of a page. */
export type Standing = "unknown" | "live" | "stale" | "disconnected"

/** Returns the freshness at a time. A failure makes a page stale at once. */
export const standingOf = (knowledge: Knowledge, now: number, limits: Limits): Standing => {
  if (knowledge._tag === "Unknown") return "unknown"
  const age = now - knowledge.confirmedAt
  if (age >= limits.disconnectedMillis) return "disconnected"
  return knowledge.failure !== undefined || age >= limits.staleMillis ? "stale" : "live"
}

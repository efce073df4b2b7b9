/**
 * How far what was read from etcd can be trusted.
 *
 * @module
 */
import { Data } from "effect"
import type { EtcdError } from "./EtcdError.ts"

/**
 * How far a set can be trusted: `Live` follows etcd, `Stale` is the last one known since etcd cannot be reached
 * (`since`: milliseconds of the epoch).
 */
export type Freshness = Data.TaggedEnum<{
  Live: Record<never, never>
  Stale: { readonly since: number; readonly cause: EtcdError }
}>

/** Constructors and `$match` of {@link Freshness}. */
export const Freshness: Data.TaggedEnum.Constructor<Freshness> = Data.taggedEnum<Freshness>()

/**
 * How current data from etcd is.
 *
 * @since 0.1.0
 * @module
 */
import { Data } from "effect"
import type { EtcdError } from "./EtcdError.ts"

/**
 * How current data from etcd is.
 *
 * **Details**
 *
 * `Live` data follows etcd. `Stale` data is the last known: etcd has been unreachable since `since` (milliseconds of
 * the epoch). `cause` is the newest failure.
 *
 * @since 0.1.0
 * @category models
 */
export type Freshness = Data.TaggedEnum<{
  Live: Record<never, never>
  Stale: { readonly since: number; readonly cause: EtcdError }
}>

/**
 * Constructors and `$match` of {@link Freshness}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Freshness: Data.TaggedEnum.Constructor<Freshness> = Data.taggedEnum<Freshness>()

/**
 * What is known of a configuration key.
 *
 * @module
 */
import { Option } from "effect"
import type { Freshness } from "../etcd/Freshness.ts"
import type { InvalidConfig } from "./ConfigError.ts"

/** The key has a value. */
export interface Present<A> {
  readonly _tag: "Present"
  /** The newest good one. */
  readonly value: A
  /** The revision at which it was put. */
  readonly revision: bigint
  /** `Stale` while etcd cannot be reached; what was known stays. */
  readonly freshness: Freshness
  /** Why the newest value in etcd is not the one here; left out when it is. */
  readonly rejected?: InvalidConfig
}

/** The key was deleted, or had no good value since it was made, as far as etcd's history shows. */
export interface Absent {
  readonly _tag: "Absent"
  /** The revision at which it was seen to be so. */
  readonly revision: bigint
  /** `Stale` while etcd cannot be reached; what was known stays. */
  readonly freshness: Freshness
  /** Why the value in etcd is not used; left out when there is none. */
  readonly rejected?: InvalidConfig
}

/**
 * What is known of a configuration key: `Present` with its newest good value, or `Absent`.
 *
 * A bad value changes nothing but `rejected`, which is there until a good one or a deletion follows.
 */
export type ConfigState<A> = Present<A> | Absent

/** Functions on {@link ConfigState}. */
export const ConfigState: {
  /** The value, if there is one. */
  readonly value: <A>(state: ConfigState<A>) => Option.Option<A>
  /** Whether two states of one key hold the same write of it, or both none. */
  readonly isSameValue: <A>(one: ConfigState<A>, other: ConfigState<A>) => boolean
} = {
  value: (state) => state._tag === "Present" ? Option.some(state.value) : Option.none(),
  isSameValue: (one, other) =>
    one._tag === "Present" ?
      other._tag === "Present" && one.revision === other.revision && one.value === other.value :
      other._tag === "Absent"
}

/**
 * The state of a configuration key: {@link Present} with its newest good value, or {@link Absent}.
 *
 * @module
 */
import { Option } from "effect"
import type { Freshness } from "../etcd/Freshness.ts"
import type { InvalidConfig } from "./ConfigRefError.ts"

/**
 * The key has a value.
 *
 * @since 0.1.0
 * @category models
 */
export interface Present<A> {
  readonly _tag: "Present"
  /** The newest good value. */
  readonly value: A
  /** The revision at which it was put. */
  readonly revision: bigint
  /** `Stale` while etcd is unreachable. The value stays. */
  readonly freshness: Freshness
  /** Why the newer value in etcd is not used. Missing if there is no newer value. */
  readonly rejected?: InvalidConfig
}

/**
 * The key does not exist, or has had no good value since it was created.
 *
 * @since 0.1.0
 * @category models
 */
export interface Absent {
  readonly _tag: "Absent"
  /** The revision at which the key was found absent, deleted, or created with a bad value. */
  readonly revision: bigint
  /** `Stale` while etcd is unreachable. */
  readonly freshness: Freshness
  /** Why the value in etcd is not used. Missing if there is no value. */
  readonly rejected?: InvalidConfig
}

/**
 * The state of a configuration key.
 *
 * **Details**
 *
 * A bad value changes only `rejected`, which stays until a good value or a deletion follows.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigState<A> = Present<A> | Absent

/**
 * Returns the value, if there is one.
 *
 * @since 0.1.0
 * @category getters
 */
export const value = <A>(state: ConfigState<A>): Option.Option<A> =>
  state._tag === "Present" ? Option.some(state.value) : Option.none()

/**
 * Returns whether two states of one key hold the same write, or are both absent.
 *
 * @since 0.1.0
 * @category comparisons
 */
export const isSameValue = <A>(one: ConfigState<A>, other: ConfigState<A>): boolean =>
  one._tag === "Present" ?
    other._tag === "Present" && one.revision === other.revision && one.value === other.value :
    other._tag === "Absent"

/**
 * The state of a shared watch: applies the reports of `follow` and provides the value for consumers.
 *
 * @module
 */
import { Effect } from "effect"
import type { Followed } from "../../etcd/follow.ts"
import type { Freshness } from "../../etcd/Freshness.ts"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { Rejected } from "../model/InstanceSet.ts"

/** A report that contains keys. */
export type KeysReport = Extract<Followed, { readonly _tag: "Listed" | "Changed" }>

/**
 * A decoded change. Applying it runs no user code and cannot fail. Returns the rejected values. `now` is milliseconds
 * of the monotonic clock.
 */
export type Commit = (now: number) => ReadonlyArray<Rejected>

/** A commit, or the effect that prepares it in slices. */
export type Prepared = Commit | Effect.Effect<Commit>

/** The commit, when it is prepared. */
export const whenPrepared = (prepared: Prepared): Effect.Effect<Commit> =>
  typeof prepared === "function" ? Effect.succeed(prepared) : prepared

/** The state behind a shared watch. */
export interface Model<A> {
  /**
   * Decodes a report and changes nothing. Codecs may throw here. It decodes short reports at once; long ones yield to the
   * event loop.
   */
  readonly prepare: (report: KeysReport) => Prepared
  /** The current value. */
  readonly value: (revision: bigint, freshness: Freshness) => A
  /** Releases held instances whose time is over. Returns whether the value changed. */
  readonly release: (now: number) => boolean
  /** When to call `release` next: milliseconds of the monotonic clock, or `undefined` if nothing is held. */
  readonly nextRelease: () => number | undefined
  /** The keys in which the state differs from etcd's, given all keys without values. */
  readonly differences: (kvs: ReadonlyArray<KeyValue>) => ReadonlySet<string>
}

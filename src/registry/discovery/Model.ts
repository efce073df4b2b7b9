/**
 * What a shared watch shows its consumers, and how it takes in what `follow` reports.
 *
 * @module
 */
import type { Effect } from "effect"
import type { Followed } from "../../etcd/follow.ts"
import type { Freshness } from "../../etcd/Freshness.ts"
import type { KeyValue } from "../../etcd/messages/kv.ts"
import type { Rejected } from "../model/InstanceSet.ts"

/** A report that contains keys. */
export type KeysReport = Extract<Followed, { readonly _tag: "Listed" | "Changed" }>

/**
 * A change that is decoded. Applying it runs no code of the user and cannot fail. Returns the values that it rejects.
 * `now` is milliseconds of the monotonic clock.
 */
export type Commit = (now: number) => ReadonlyArray<Rejected>

/** The state behind a shared watch. */
export interface Model<A> {
  /** Decodes a report and changes nothing. Codecs may throw here, and many values take many turns of the event loop. */
  readonly prepare: (report: KeysReport) => Effect.Effect<Commit>
  /** The value of this moment. */
  readonly value: (revision: bigint, freshness: Freshness) => A
  /** Lets held instances go whose time is over. Returns whether the value changed. */
  readonly release: (now: number) => boolean
  /** When to call `release` next: milliseconds of the monotonic clock, or `undefined` if nothing is held. */
  readonly nextRelease: () => number | undefined
  /** The keys in which etcd differs, given all keys without values. */
  readonly differences: (kvs: ReadonlyArray<KeyValue>) => ReadonlySet<string>
}

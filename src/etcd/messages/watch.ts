/**
 * The messages of etcd's Watch service.
 *
 * @module
 */
import type { Duration } from "effect"
import type { KeyRange } from "../KeyRange.ts"
import type { KeyValue } from "./kv.ts"
import type { ResponseHeader } from "./ResponseHeader.ts"

/**
 * A watch on one key or on a range.
 *
 * @since 0.1.0
 * @category requests
 */
export interface WatchRequest extends KeyRange {
  /** The first revision to report. Default: the one after the newest. */
  readonly startRevision?: bigint
  /** Events have the previous value of the key. */
  readonly prevKv?: boolean
  /** Leaves out puts or deletions. */
  readonly filters?: ReadonlyArray<"noPut" | "noDelete">
  /** How often progress is requested on an idle watch. Default: 10 seconds. */
  readonly progressEvery?: Duration.Input
  /** How long the server may take to respond to that. Default: 5 seconds. */
  readonly progressTimeout?: Duration.Input
}

/**
 * One change of one key. The `kv` of a deletion has only the key and the revision of the deletion.
 *
 * @since 0.1.0
 * @category responses
 */
export interface WatchEvent {
  readonly type: "put" | "delete"
  readonly kv: KeyValue
  readonly prevKv?: KeyValue
}

/**
 * A message of a watch.
 *
 * **Details**
 *
 * - `Created` comes first, once.
 * - `Events` has all events of one or more whole revisions, in order.
 * - `Progress` comes in between: everything up to the revision of its header was delivered.
 *
 * @since 0.1.0
 * @category responses
 */
export type WatchResponse =
  | { readonly _tag: "Created"; readonly header: ResponseHeader }
  | { readonly _tag: "Events"; readonly header: ResponseHeader; readonly events: ReadonlyArray<WatchEvent> }
  | { readonly _tag: "Progress"; readonly header: ResponseHeader }

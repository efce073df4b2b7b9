/**
 * The state machine of `follow`: the position in a range, and how each input changes it.
 *
 * It is pure: it runs no effect and reads no clock.
 *
 * | state | meaning | leaves it |
 * | --- | --- | --- |
 * | `Listing` | nothing is known, or the history that was known is gone | a list: `Watching` |
 * | `Watching` | the consumer has every change before `next` | a failure: `Interrupted`; lost history: `Listing` |
 * | `Interrupted` | the consumer knows that it may miss changes | a change or proof that there was none: `Watching`; lost history: `Listing` |
 *
 * @module
 */
import { Duration } from "effect"
import { Compacted, EtcdError } from "./EtcdError.ts"
import type { KeyValue } from "./messages/kv.ts"
import type { ResponseHeader } from "./messages/ResponseHeader.ts"
import type { WatchEvent, WatchResponse } from "./messages/watch.ts"

/** What `follow` reports about a range. */
export type Followed =
  /** The whole range at `revision`. It replaces everything reported before. */
  | { readonly _tag: "Listed"; readonly revision: bigint; readonly kvs: ReadonlyArray<KeyValue> }
  /** All changes since the last report, up to and including `revision`. Never empty. */
  | { readonly _tag: "Changed"; readonly revision: bigint; readonly events: ReadonlyArray<WatchEvent> }
  /** Changes may be missing until the next report. */
  | { readonly _tag: "Interrupted"; readonly cause: EtcdError }
  /** No change was missed. */
  | { readonly _tag: "Resumed" }

/** A write without its value. The key is a copy, because a view would keep the whole response in memory. */
export type Write = Pick<KeyValue, "key" | "modRevision" | "createRevision" | "lease"> & Pick<WatchEvent, "type">

/** How far a range has been read. */
export interface Position {
  /** The first revision that was not reported. */
  readonly next: bigint
  /** The newest header; none before the first response. */
  readonly header: ResponseHeader | undefined
  /** The newest write that was reported. */
  readonly lastWrite: Write | undefined
}

/** The members of every state. */
interface Memory {
  /** Whether etcd has ever accepted the request. Until then a refusal is final. */
  readonly isAccepted: boolean
  /** Milliseconds of the monotonic clock at the last list. */
  readonly listedAt: number
}

/** The state of following one range. */
export type State =
  | (Memory & { readonly _tag: "Listing"; readonly isInterrupted: boolean })
  | (Memory & { readonly _tag: "Watching"; readonly position: Position })
  | (Memory & {
    readonly _tag: "Interrupted"
    readonly position: Position
    /** Whether a new watch is open and may still have to catch up. */
    readonly isOpen: boolean
  })

/** What happens to a followed range. */
export type Input =
  | { readonly _tag: "Listed"; readonly header: ResponseHeader; readonly kvs: ReadonlyArray<KeyValue> }
  /** `Created` only if {@link isReplaced} is false for its header. */
  | WatchResponse
  /** The watch has been open for long enough to report everything that it missed. */
  | { readonly _tag: "CaughtUp" }
  | { readonly _tag: "Failed"; readonly error: EtcdError }

/** When to continue after a failure: at once, after a backoff, after a long delay (a refusal), or never. */
export type Retry = "now" | "backoff" | "slowly" | "never"

/** The result of an input. */
export interface Step {
  readonly state: State
  readonly report?: Followed
  /** Set after `Failed`. */
  readonly retry?: Retry
}

/** A list within this time after the last one waits for the backoff. */
const minRelistMillis = Duration.toMillis("10 seconds")

/** The first state. With `knownAt` the caller has already read the range at that revision. */
export const initial = (knownAt: bigint | undefined, isAccepted: boolean): State => {
  const memory = { isAccepted, listedAt: -Infinity }
  return knownAt === undefined ?
    { ...memory, _tag: "Listing", isInterrupted: false } :
    { ...memory, _tag: "Watching", position: { next: knownAt + 1n, header: undefined, lastWrite: undefined } }
}

/** Applies one input; `now` is milliseconds of the monotonic clock. */
export const step = (state: State, input: Input, now: number): Step => {
  switch (input._tag) {
    case "Listed":
      return onListed(input, now)
    case "Failed":
      return onFailed(state, input.error, now)
  }
  // All other inputs come from a watch, and a watch starts from a position.
  if (state._tag === "Listing") return { state }
  switch (input._tag) {
    case "Created":
      return onCreated(state, input.header)
    case "Events":
      return onEvents(state, input.header, input.events)
    case "Progress":
      return onProgress(state, input.header)
    case "CaughtUp":
      return resume(state, state.position)
  }
}

/** Whether the header of a new watch shows that the known position belongs to another history. */
export const isReplaced = (state: State, header: ResponseHeader): boolean => {
  if (state._tag === "Listing") return false
  const { header: known, next } = state.position
  return header.revision + 1n < next || (known !== undefined &&
    (header.clusterId !== known.clusterId || header.raftTerm < known.raftTerm || header.revision < known.revision))
}

/** The failure of a watch that finds another history. It leads to a list, as a compaction does. */
export const replacedHistory: EtcdError = new EtcdError({
  reason: new Compacted({ detail: "the history was replaced, or this member is behind it", compactRevision: 0n }),
  method: "watch"
})

type Positioned = Exclude<State, { readonly _tag: "Listing" }>

const onListed = ({ header, kvs }: Extract<Input, { readonly _tag: "Listed" }>, now: number): Step => ({
  state: {
    _tag: "Watching",
    isAccepted: true,
    listedAt: now,
    position: { next: header.revision + 1n, header, lastWrite: newestOf(kvs) }
  },
  report: { _tag: "Listed", revision: header.revision, kvs }
})

const onCreated = (state: Positioned, header: ResponseHeader): Step => {
  const accepted: Positioned = { ...state, isAccepted: true, position: { ...state.position, header } }
  if (accepted._tag === "Watching") return { state: accepted }
  return header.revision < accepted.position.next ?
    resume(accepted, accepted.position) :
    { state: { ...accepted, isOpen: true } }
}

const onEvents = (state: Positioned, header: ResponseHeader, received: ReadonlyArray<WatchEvent>): Step => {
  const { next } = state.position
  const [first] = received
  const isNew = first !== undefined && first.kv.modRevision >= next
  const events = isNew ? received : received.filter(({ kv }) => kv.modRevision >= next)
  const last = events.at(-1)
  if (last === undefined) return { state }
  const revision = last.kv.modRevision
  const { isAccepted, listedAt } = state
  return {
    state: {
      _tag: "Watching",
      isAccepted,
      listedAt,
      position: { next: revision + 1n, header, lastWrite: writeOf(last) }
    },
    report: { _tag: "Changed", revision, events }
  }
}

const onProgress = (state: Positioned, header: ResponseHeader): Step => {
  const { lastWrite, next } = state.position
  return resume(state, { lastWrite, header, next: header.revision >= next ? header.revision + 1n : next })
}

const resume = ({ _tag, isAccepted, listedAt }: Positioned, position: Position): Step => {
  const state: State = { _tag: "Watching", isAccepted, listedAt, position }
  return _tag === "Watching" ? { state } : { state, report: { _tag: "Resumed" } }
}

const onFailed = (state: State, error: EtcdError, now: number): Step => {
  const { isAccepted, listedAt } = state
  const isLost = error.reason._tag === "Compacted"
  if (!isAccepted && isRefusal(error)) return { state, retry: "never" }
  const wasInterrupted = isInterrupted(state)
  const relist = (isInterrupted: boolean): State => ({ _tag: "Listing", isAccepted, listedAt, isInterrupted })
  if (isLost && state._tag !== "Listing" && now - listedAt >= minRelistMillis) {
    return { state: relist(wasInterrupted), retry: "now" }
  }
  return {
    state: isLost || state._tag === "Listing" ?
      relist(true) :
      { _tag: "Interrupted", isAccepted, listedAt, position: state.position, isOpen: false },
    retry: isRefusal(error) ? "slowly" : "backoff",
    ...(wasInterrupted ? {} : { report: { _tag: "Interrupted", cause: error } })
  }
}

const isInterrupted = (state: State): boolean =>
  state._tag === "Listing" ? state.isInterrupted : state._tag === "Interrupted"

/** Whether etcd itself refused the request. Neither a later attempt nor another member would accept it. */
const isRefusal = ({ reason: { _tag } }: EtcdError): boolean =>
  _tag === "PermissionDenied" || _tag === "Unauthenticated" || _tag === "InvalidArgument"

const writeOf = ({ kv: { createRevision, key, lease, modRevision }, type }: WatchEvent): Write => ({
  type,
  key: key.slice(),
  modRevision,
  createRevision,
  lease
})

const newestOf = (kvs: ReadonlyArray<KeyValue>): Write | undefined => {
  let newest: KeyValue | undefined
  for (const kv of kvs) {
    if (newest === undefined || kv.modRevision > newest.modRevision) newest = kv
  }
  return newest === undefined ? undefined : writeOf({ type: "put", kv: newest })
}

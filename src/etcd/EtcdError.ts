/**
 * The one error of every etcd operation.
 *
 * An `EtcdError` says which operation was attempted (`method`), on which key and endpoint, and why it failed
 * (`reason`, a tagged value). `retryable` tells whether the same request can succeed later without being changed.
 *
 * @module
 */
import { Data } from "effect"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

interface ReasonClass<Tag extends string, Fields = { readonly detail: string }> {
  new (fields: Fields): { readonly _tag: Tag } & Readonly<Fields>
}

const UnavailableBase: ReasonClass<"Unavailable"> = Data.TaggedClass("Unavailable")
/** No answer could be had: connection refused or lost, no leader, server shutting down. It may have been applied. */
export class Unavailable extends UnavailableBase {}

const DeadlineExceededBase: ReasonClass<"DeadlineExceeded"> = Data.TaggedClass("DeadlineExceeded")
/** No answer within the deadline. The request may have been applied. */
export class DeadlineExceeded extends DeadlineExceededBase {}

const UnauthenticatedBase: ReasonClass<"Unauthenticated"> = Data.TaggedClass("Unauthenticated")
/** The credentials are missing or wrong. */
export class Unauthenticated extends UnauthenticatedBase {}

const PermissionDeniedBase: ReasonClass<"PermissionDenied"> = Data.TaggedClass("PermissionDenied")
/** The user's roles do not allow this operation on this key. */
export class PermissionDenied extends PermissionDeniedBase {}

const CompactedBase: ReasonClass<"Compacted", {
  readonly detail: string
  readonly compactRevision: bigint
}> = Data.TaggedClass("Compacted")
/** The revision asked for is gone; history starts at `compactRevision` (`0n` when the server did not say). */
export class Compacted extends CompactedBase {}

const LeaseNotFoundBase: ReasonClass<"LeaseNotFound"> = Data.TaggedClass("LeaseNotFound")
/** The lease has expired, was revoked, or never was. */
export class LeaseNotFound extends LeaseNotFoundBase {}

const LeaseExistsBase: ReasonClass<"LeaseExists"> = Data.TaggedClass("LeaseExists")
/** A lease of this id has already been granted. */
export class LeaseExists extends LeaseExistsBase {}

const NoSpaceBase: ReasonClass<"NoSpace"> = Data.TaggedClass("NoSpace")
/** etcd's storage quota is used up; it refuses writes until an operator makes room and disarms the alarm. */
export class NoSpace extends NoSpaceBase {}

const TooLargeBase: ReasonClass<"TooLarge"> = Data.TaggedClass("TooLarge")
/** The request or its answer is larger than the server or this client allows. */
export class TooLarge extends TooLargeBase {}

const InvalidArgumentBase: ReasonClass<"InvalidArgument"> = Data.TaggedClass("InvalidArgument")
/** The request breaks one of etcd's rules, or an option of the client is unusable. */
export class InvalidArgument extends InvalidArgumentBase {}

const CancelledBase: ReasonClass<"Cancelled"> = Data.TaggedClass("Cancelled")
/** The server or the client gave the operation up: a cancelled watch, a reader that fell behind, a closed client. */
export class Cancelled extends CancelledBase {}

const UnknownBase: ReasonClass<"Unknown"> = Data.TaggedClass("Unknown")
/** Anything else the server said. */
export class Unknown extends UnknownBase {}

/** Why an etcd operation failed. */
export type EtcdErrorReason =
  | Unavailable
  | DeadlineExceeded
  | Unauthenticated
  | PermissionDenied
  | Compacted
  | LeaseNotFound
  | LeaseExists
  | NoSpace
  | TooLarge
  | InvalidArgument
  | Cancelled
  | Unknown

const advice: Record<EtcdErrorReason["_tag"], string> = {
  Unavailable: "check that etcd runs and that the endpoints are right; trying again is safe",
  DeadlineExceeded: "etcd is overloaded, paused or cut off; trying again is safe",
  Unauthenticated: "check the user name and the password",
  PermissionDenied: "grant the user a role that covers this key",
  Compacted: "read the current state and continue from its revision",
  LeaseNotFound: "grant a new lease",
  LeaseExists: "choose another lease id, or none",
  NoSpace: "compact and defragment etcd or raise its quota, then disarm the NOSPACE alarm",
  TooLarge: "send or ask for less at once",
  InvalidArgument: "correct the request",
  Cancelled: "start the operation again",
  Unknown: "etcd's log may say more"
}

const secureAdvice = "check the certificates on both sides (tls: ca, cert, key, serverName)"

const retryable: ReadonlySet<EtcdErrorReason["_tag"]> = new Set([
  "Unavailable",
  "DeadlineExceeded",
  "NoSpace",
  "Cancelled",
  "Unknown"
])

/** What an {@link EtcdError} carries. */
export interface EtcdErrorFields {
  /** Why. */
  readonly reason: EtcdErrorReason
  /** The operation, in etcd's own words: `range`, `put`, `leaseGrant`, … */
  readonly method: string
  /** The key (or the first of the range), or the lease id in hexadecimal, where there is one. */
  readonly key?: string
  /** The endpoint that was asked, where one was. */
  readonly endpoint?: string
  /** What the transport raised. */
  readonly cause?: unknown
}

const EtcdErrorBase: TaggedErrorClass<"EtcdError", EtcdErrorFields> = Data.TaggedError("EtcdError")

/** The failure of an etcd operation. */
export class EtcdError extends EtcdErrorBase {
  /** Whether the same request can succeed later without being changed. */
  get retryable(): boolean {
    return retryable.has(this.reason._tag)
  }
  override get message(): string {
    const key = this.key === undefined ? "" : ` ${JSON.stringify(this.key)}`
    const endpoint = this.endpoint === undefined ? "" : ` at ${this.endpoint}`
    const isSecure = this.reason._tag === "Unavailable" && this.endpoint?.startsWith("https:") === true
    const next = isSecure ? `${secureAdvice}; ` : ""
    return `etcd ${this.method}${key}${endpoint}: ${this.reason._tag}: ${this.reason.detail}; ${next}${
      advice[this.reason._tag]
    }`
  }
}

/**
 * The error of every etcd operation, and the reasons it can have.
 *
 * An `EtcdError` names the operation (`method`), the key, the endpoint and the `reason`.
 *
 * @since 0.1.0
 * @module
 */
import { Data } from "effect"
import { jsonOf } from "../internal/json.ts"
import { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

interface ReasonClass<Tag extends string, Fields = { readonly detail: string }> {
  new (fields: Fields): { readonly _tag: Tag } & Readonly<Fields>
}

const UnavailableBase: ReasonClass<"Unavailable"> = Data.TaggedClass("Unavailable")
/**
 * No response: connection lost or refused, or no leader.
 *
 * **Gotchas**
 *
 * The request may have been applied.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Unavailable extends UnavailableBase {}

const DeadlineExceededBase: ReasonClass<"DeadlineExceeded"> = Data.TaggedClass("DeadlineExceeded")
/**
 * No response within the deadline.
 *
 * **Gotchas**
 *
 * The request may have been applied.
 *
 * @since 0.1.0
 * @category reasons
 */
export class DeadlineExceeded extends DeadlineExceededBase {}

const UnauthenticatedBase: ReasonClass<"Unauthenticated"> = Data.TaggedClass("Unauthenticated")
/**
 * The credentials are missing or wrong.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Unauthenticated extends UnauthenticatedBase {}

const PermissionDeniedBase: ReasonClass<"PermissionDenied"> = Data.TaggedClass("PermissionDenied")
/**
 * The user's roles do not allow this operation on this key.
 *
 * @since 0.1.0
 * @category reasons
 */
export class PermissionDenied extends PermissionDeniedBase {}

const CompactedBase: ReasonClass<"Compacted", {
  readonly detail: string
  /** The oldest revision that can be read; `0n` if the server did not report it. */
  readonly compactRevision: bigint
}> = Data.TaggedClass("Compacted")
/**
 * The requested revision was compacted.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Compacted extends CompactedBase {
  /** `JSON.stringify` cannot write a `bigint`. */
  toJSON(): unknown {
    return jsonOf({ ...this })
  }
}

const LeaseNotFoundBase: ReasonClass<"LeaseNotFound"> = Data.TaggedClass("LeaseNotFound")
/**
 * The lease does not exist: it has expired, was revoked, or was never granted.
 *
 * @since 0.1.0
 * @category reasons
 */
export class LeaseNotFound extends LeaseNotFoundBase {}

const LeaseExistsBase: ReasonClass<"LeaseExists"> = Data.TaggedClass("LeaseExists")
/**
 * A lease with this id exists.
 *
 * @since 0.1.0
 * @category reasons
 */
export class LeaseExists extends LeaseExistsBase {}

const NoSpaceBase: ReasonClass<"NoSpace"> = Data.TaggedClass("NoSpace")
/**
 * etcd's storage quota is used up. It refuses writes until space is freed and the alarm disarmed.
 *
 * @since 0.1.0
 * @category reasons
 */
export class NoSpace extends NoSpaceBase {}

const TooLargeBase: ReasonClass<"TooLarge"> = Data.TaggedClass("TooLarge")
/**
 * The request or its response is larger than the server or this client allows.
 *
 * @since 0.1.0
 * @category reasons
 */
export class TooLarge extends TooLargeBase {}

const InvalidArgumentBase: ReasonClass<"InvalidArgument"> = Data.TaggedClass("InvalidArgument")
/**
 * The request breaks one of etcd's rules, or an option of the client is invalid.
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidArgument extends InvalidArgumentBase {}

const FailedPreconditionBase: ReasonClass<"FailedPrecondition"> = Data.TaggedClass("FailedPrecondition")
/**
 * The state of the cluster does not allow the operation, such as a password without authentication.
 *
 * @since 0.1.0
 * @category reasons
 */
export class FailedPrecondition extends FailedPreconditionBase {}

const NotFoundBase: ReasonClass<"NotFound"> = Data.TaggedClass("NotFound")
/**
 * The target of the request does not exist, such as a member.
 *
 * @since 0.1.0
 * @category reasons
 */
export class NotFound extends NotFoundBase {}

const AlreadyExistsBase: ReasonClass<"AlreadyExists"> = Data.TaggedClass("AlreadyExists")
/**
 * The request creates something that exists already.
 *
 * @since 0.1.0
 * @category reasons
 */
export class AlreadyExists extends AlreadyExistsBase {}

const UnimplementedBase: ReasonClass<"Unimplemented"> = Data.TaggedClass("Unimplemented")
/**
 * The server, or a proxy in front of it, does not have this operation.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Unimplemented extends UnimplementedBase {}

const CancelledBase: ReasonClass<"Cancelled"> = Data.TaggedClass("Cancelled")
/**
 * The operation was cancelled: a cancelled watch, a slow reader, a closed client.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Cancelled extends CancelledBase {}

const UnknownBase: ReasonClass<"Unknown"> = Data.TaggedClass("Unknown")
/**
 * Any other failure that the server reported.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Unknown extends UnknownBase {}

/**
 * Why an etcd operation failed: a tagged value with etcd's or gRPC's own text as `detail`.
 *
 * @since 0.1.0
 * @category reasons
 */
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
  | FailedPrecondition
  | NotFound
  | AlreadyExists
  | Unimplemented
  | Cancelled
  | Unknown

const advice: Record<EtcdErrorReason["_tag"], string> = {
  Unavailable: "check that etcd runs at this endpoint; retrying is safe",
  DeadlineExceeded: "etcd is overloaded, paused or unreachable; retrying is safe",
  Unauthenticated: "check the user name and the password",
  PermissionDenied: "grant the user a role that covers this key",
  Compacted: "read the current state and continue from its revision",
  LeaseNotFound: "grant a new lease",
  LeaseExists: "choose another lease id, or none",
  NoSpace: "compact and defragment etcd or raise its quota, then disarm the NOSPACE alarm",
  TooLarge: "send or request less at once",
  InvalidArgument: "correct the request",
  FailedPrecondition: "bring the cluster into the state that the operation requires",
  NotFound: "check the name or the id",
  AlreadyExists: "choose another name, or use what exists",
  Unimplemented: "use a server that has this operation, and connect to it without a proxy",
  Cancelled: "start the operation again",
  Unknown: "see etcd's log"
}

const secureAdvice = "check the certificates on both sides (tls: ca, cert, key, serverName)"

/** No connection was made: certificates do not matter. */
const isOfNetwork = (detail: string): boolean =>
  /\b(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT)\b/.test(detail)

const isOfCertificate = (detail: string): boolean => /certificate|altnames|alert/i.test(detail)

const adviceFor = ({ _tag, detail }: EtcdErrorReason, endpoint = ""): string => {
  if (_tag !== "Unavailable" || !endpoint.startsWith("https:") || isOfNetwork(detail)) return advice[_tag]
  return `${secureAdvice}; ${isOfCertificate(detail) ? "retrying is safe" : advice[_tag]}`
}

/** A proxy reports `Unimplemented` for a path that it does not route, and an operator can change the cluster's state. */
const retryable: ReadonlySet<EtcdErrorReason["_tag"]> = new Set([
  "Unavailable",
  "DeadlineExceeded",
  "NoSpace",
  "FailedPrecondition",
  "Unimplemented",
  "Cancelled",
  "Unknown"
])

/**
 * The fields of an {@link EtcdError}.
 *
 * @since 0.1.0
 * @category models
 */
export interface EtcdErrorFields {
  /** Why it failed. */
  readonly reason: EtcdErrorReason
  /** The operation, in etcd's own words: `range`, `put`, `leaseGrant`, … */
  readonly method: string
  /** The key (or the first of the range), or the lease id in hexadecimal. */
  readonly key?: string
  /** The endpoint that the request was sent to. */
  readonly endpoint?: string
  /** The error of the transport. */
  readonly cause?: unknown
}

const EtcdErrorBase: TaggedErrorClass<"EtcdError", EtcdErrorFields> = TaggedErrorClass("EtcdError")

/**
 * The failure of an etcd operation.
 *
 * **Details**
 *
 * `reason` says why, as a tagged value. `Effect.catchReason` and `Effect.catchReasons` handle one reason, or a few, and
 * leave the others in the error channel.
 *
 * @example
 * ```ts
 * import { Etcd, EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const etcd = yield* Etcd
 *   return yield* etcd.put({ key: "/a", value: "1", lease: 7n }).pipe(
 *     Effect.as("put"),
 *     Effect.catchReason("EtcdError", "LeaseNotFound", ({ detail }) => Effect.succeed(detail))
 *   )
 * })
 *
 * const text = await Effect.runPromise(Effect.provide(program, EtcdMemory.layer()))
 * assert.equal(text, "etcdserver: requested lease not found")
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class EtcdError extends EtcdErrorBase {
  /** Whether the same request can succeed later. */
  get retryable(): boolean {
    return retryable.has(this.reason._tag)
  }
  override get message(): string {
    const key = this.key === undefined ? "" : ` ${JSON.stringify(this.key)}`
    const endpoint = this.endpoint === undefined ? "" : ` at ${this.endpoint}`
    const { _tag, detail } = this.reason
    return `etcd ${this.method}${key}${endpoint}: ${_tag}: ${detail}; ${adviceFor(this.reason, this.endpoint)}`
  }
}

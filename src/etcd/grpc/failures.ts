/**
 * What gRPC and etcd say when something fails, as an {@link EtcdErrorReason}.
 *
 * etcd tells its errors apart by their text: its status codes are too few, and some are used for several of them.
 *
 * @module
 */
import {
  AlreadyExists,
  Cancelled,
  Compacted,
  DeadlineExceeded,
  EtcdError,
  type EtcdErrorReason,
  FailedPrecondition,
  InvalidArgument,
  LeaseExists,
  LeaseNotFound,
  NoSpace,
  NotFound,
  PermissionDenied,
  TooLarge,
  Unauthenticated,
  Unavailable,
  Unimplemented,
  Unknown
} from "../EtcdError.ts"

/** An {@link EtcdError} in the making: why it failed and where, not yet which operation it was. */
export interface Failure {
  readonly reason: EtcdErrorReason
  readonly endpoint?: string
  readonly cause?: unknown
}

/** The failure of one operation. */
export const toError = (failure: Failure, method: string, key?: string): EtcdError =>
  new EtcdError({ ...failure, method, ...(key === undefined ? {} : { key }) })

/** How a call has ended, in gRPC's terms (grpc/grpc, doc/statuscodes.md). */
export class GrpcStatus {
  readonly code: number
  readonly details: string
  constructor(code: number, details: string) {
    this.code = code
    this.details = details
  }
}

/** What whoever uses a closed client hears. */
export const clientClosed: Failure = { reason: new Cancelled({ detail: "client is closed" }) }

/** The failure behind a status that is not OK. */
export const failureOf = ({ code, details }: GrpcStatus, endpoint: string): Failure => ({
  reason: reasonOf(code, details === "" ? `gRPC status ${code}` : details),
  endpoint
})

/** The text of an error in one line, also of one that only collects others (several addresses, all refused). */
export const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (error.message !== "") return error.message.trim().replaceAll(/\s*\n\s*/g, " ")
  return error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : error.name
}

/** Whether another endpoint may do better. */
export const isTransport = ({ _tag }: EtcdErrorReason): boolean => _tag === "Unavailable" || _tag === "DeadlineExceeded"

const staleTokens = ["invalid auth token", "revision of auth store is old", "user name is empty"]

/** Whether the server has said that it does not know our auth token (any more). */
export const namesStaleToken = (detail: string): boolean => staleTokens.some((text) => detail.includes(text))

/** What became of a stream or a call whose token was not known any more: with the next one it can succeed. */
export const tokenRenewed = (failure: Failure): Failure => ({
  ...failure,
  reason: new Unavailable({ detail: `the auth token was not valid any more and is renewed (${failure.reason.detail})` })
})

type Reason = (detail: string) => EtcdErrorReason

const texts: ReadonlyArray<readonly [string, Reason]> = [
  ["requested lease not found", (detail) => new LeaseNotFound({ detail })],
  ["lease already exists", (detail) => new LeaseExists({ detail })],
  ["required revision has been compacted", (detail) => new Compacted({ detail, compactRevision: 0n })],
  ["database space exceeded", (detail) => new NoSpace({ detail })],
  ["request is too large", (detail) => new TooLarge({ detail })],
  ["message larger than max", (detail) => new TooLarge({ detail })],
  ["permission denied", (detail) => new PermissionDenied({ detail })],
  ["authentication failed", (detail) => new Unauthenticated({ detail })],
  ["invalid auth token", (detail) => new Unauthenticated({ detail })],
  ["user name is empty", (detail) => new Unauthenticated({ detail })],
  ["revision of auth store is old", (detail) => new Unavailable({ detail })],
  ["watcher range is empty", (detail) => new InvalidArgument({ detail })]
]

const unavailable: Reason = (detail) => new Unavailable({ detail })
const invalid: Reason = (detail) => new InvalidArgument({ detail })
const unknown: Reason = (detail) => new Unknown({ detail })

/** By gRPC status code, for what no text has decided. */
const codes: ReadonlyMap<number, Reason> = new Map<number, Reason>([
  [1, unavailable], // CANCELLED by the server
  [3, invalid],
  [4, (detail) => new DeadlineExceeded({ detail })],
  [5, (detail) => new NotFound({ detail })],
  [6, (detail) => new AlreadyExists({ detail })],
  [7, (detail) => new PermissionDenied({ detail })],
  [8, unavailable], // RESOURCE_EXHAUSTED: too many requests or pings
  [9, (detail) => new FailedPrecondition({ detail })],
  [10, unavailable], // ABORTED
  [11, invalid], // OUT_OF_RANGE: a future revision, a TTL that is too large
  [12, (detail) => new Unimplemented({ detail })],
  [13, (detail) => /RST_STREAM|stream|connection|socket/i.test(detail) ? unavailable(detail) : unknown(detail)],
  [14, unavailable],
  [16, (detail) => new Unauthenticated({ detail })]
])

/** The reason behind a status code and a text, or behind a text alone. */
const reasonOf = (code: number, detail: string): EtcdErrorReason =>
  reasonOfText(detail) ?? (codes.get(code) ?? unknown)(detail)

/** The reason behind a text that etcd uses for one error only. */
export const reasonOfText = (detail: string): EtcdErrorReason | undefined =>
  texts.find(([text]) => detail.includes(text))?.[1](detail)

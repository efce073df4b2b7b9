/**
 * Failures of gRPC and of etcd as an {@link EtcdErrorReason}.
 *
 * **Details**
 *
 * etcd has more errors than status codes, so its texts decide. Only an error of etcd's own can be final. Any error of a
 * proxy is `Unavailable`, and so is a response that does not decode.
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

/** An {@link EtcdError} without the operation that failed. */
export interface Failure {
  readonly reason: EtcdErrorReason
  readonly endpoint?: string
  readonly cause?: unknown
}

/** The failure of one operation. */
export const toError = (failure: Failure, method: string, key?: string): EtcdError =>
  new EtcdError({ ...failure, method, ...(key === undefined ? {} : { key }) })

/** The end of a call in gRPC's terms (grpc/grpc, doc/statuscodes.md). */
export class GrpcStatus {
  readonly code: number
  readonly details: string
  constructor(code: number, details: string) {
    this.code = code
    this.details = details
  }

  /** The status of a call that an exception ended. */
  static of(error: unknown): GrpcStatus {
    return error instanceof GrpcStatus ? error : new GrpcStatus(14, messageOf(error))
  }
}

/** The end of a call whose response breaks the protocol. */
export class Violation extends GrpcStatus {
  constructor(details: string) {
    super(14, details)
  }
}

/** The failure of operations on a closed client. */
export const clientClosed: Failure = { reason: new Cancelled({ detail: "client is closed" }) }

/** Converts a status that is not OK to a failure. */
export const failureOf = ({ code, details }: GrpcStatus, endpoint: string): Failure => ({
  reason: reasonOf(code, details === "" ? `gRPC status ${code}` : details),
  endpoint
})

/** The text of an error in one line. For an aggregate error, such as one error per address, the texts of its parts. */
export const messageOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (error.message !== "") return withoutSources(error.message.trim().replaceAll(/\s*\n\s*/g, " "))
  return error instanceof AggregateError ? error.errors.map(messageOf).join(", ") : error.name
}

/** The reason in the errors of OpenSSL (`<thread>:error:<code>:<library>:<function>:<reason>:<file>:…`) and BoringSSL. */
const withoutSources = (message: string): string =>
  message
    .replace(/\b[0-9A-F]{8,}:error:[0-9A-F]{8}:[^:]*:[^:]*:([^:]+):[^:]*:\d+:(?:SSL alert number \d+)?/, "TLS: $1")
    .replace(/\berror:[0-9a-f]{8}:SSL routines:OPENSSL_internal:(\w+)/, "TLS: $1")

/** Whether another endpoint may answer. */
export const isTransport = ({ _tag }: EtcdErrorReason): boolean => _tag === "Unavailable" || _tag === "DeadlineExceeded"

const staleTokens = ["invalid auth token", "revision of auth store is old", "user name is empty"]

/** Whether the server no longer accepts the auth token. */
export const namesStaleToken = (detail: string): boolean => staleTokens.some((text) => detail.includes(text))

/** The failure of a call or stream whose token is no longer accepted. With the next token it can succeed. */
export const tokenRenewed = (failure: Failure): Failure => ({
  ...failure,
  reason: new Unavailable({
    detail: `the auth token was not accepted any more and is renewed (${failure.reason.detail})`
  })
})

type Reason = (detail: string) => EtcdErrorReason

const unavailable: Reason = (detail) => new Unavailable({ detail })
const invalid: Reason = (detail) => new InvalidArgument({ detail })
const unknown: Reason = (detail) => new Unknown({ detail })
const tooLarge: Reason = (detail) => new TooLarge({ detail })

/** Texts that etcd uses for one error each. */
const texts: ReadonlyArray<readonly [string, Reason]> = [
  ["requested lease not found", (detail) => new LeaseNotFound({ detail })],
  ["lease already exists", (detail) => new LeaseExists({ detail })],
  ["required revision has been compacted", (detail) => new Compacted({ detail, compactRevision: 0n })],
  ["database space exceeded", (detail) => new NoSpace({ detail })],
  ["request is too large", tooLarge],
  ["permission denied", (detail) => new PermissionDenied({ detail })],
  ["authentication failed", (detail) => new Unauthenticated({ detail })],
  ["invalid auth token", (detail) => new Unauthenticated({ detail })],
  ["user name is empty", (detail) => new Unauthenticated({ detail })],
  ["revision of auth store is old", unavailable],
  // etcd has the same code for a member without a leader.
  ["unhealthy cluster", (detail) => new FailedPrecondition({ detail })],
  ["name already exists", (detail) => new AlreadyExists({ detail })],
  ["member ID already exist", (detail) => new AlreadyExists({ detail })],
  ["Peer URLs already exists", (detail) => new AlreadyExists({ detail })],
  ["user name not found", (detail) => new NotFound({ detail })],
  ["role name not found", (detail) => new NotFound({ detail })],
  ["watcher range is empty", invalid]
]

/** The reason for a text of etcd's own, if there is one. */
export const reasonOfText = (detail: string): EtcdErrorReason | undefined =>
  isOfEtcd(detail) ? texts.find(([text]) => detail.includes(text))?.[1](detail) : undefined

/** The start of etcd's own errors. Proxies and meshes use the same status codes with other texts. */
const isOfEtcd = (detail: string): boolean => /(?:^|\bdesc = )(?:etcdserver|auth|mvcc):/.test(detail)

/** An older etcd lacks some methods, but none of these services: another server has answered. */
const unimplemented: Reason = (detail) =>
  /^unknown (?:method|service)/.test(detail) && !/etcdserverpb\.(?:KV|Lease|Watch)$/.test(detail) ?
    new Unimplemented({ detail }) :
    unavailable(detail)

/** By gRPC status code: the reason for an error of etcd that no text has decided. */
const codesOfEtcd: ReadonlyMap<number, Reason> = new Map<number, Reason>([
  [3, invalid],
  [5, (detail) => new NotFound({ detail })],
  [6, (detail) => new AlreadyExists({ detail })],
  [7, (detail) => new PermissionDenied({ detail })],
  [9, (detail) => new FailedPrecondition({ detail })],
  [11, invalid], // OUT_OF_RANGE: a future revision, a TTL that is too large
  [15, unknown], // DATA_LOSS: a corrupt cluster
  [16, (detail) => new Unauthenticated({ detail })]
])

/** By gRPC status code: the reason for an error that is not etcd's. All others are `Unavailable`. */
const codes: ReadonlyMap<number, Reason> = new Map<number, Reason>([
  [2, unknown],
  [4, (detail) => new DeadlineExceeded({ detail })],
  [12, unimplemented],
  [
    13,
    (detail) => /RST_STREAM|stream|connection|socket|decompress/i.test(detail) ? unavailable(detail) : unknown(detail)
  ]
])

/** The reason for a status code and its text. */
const reasonOf = (code: number, detail: string): EtcdErrorReason => {
  const oversized = oversizedMessage(detail)
  if (oversized !== undefined) return oversized
  const http = /^Received HTTP status code (\d+)/.exec(detail)?.[1]
  if (http !== undefined) return unavailable(`HTTP status ${http} instead of a response of etcd`)
  return reasonOfText(detail) ??
    ((isOfEtcd(detail) ? codesOfEtcd.get(code) : undefined) ?? codes.get(code) ?? unavailable)(detail)
}

/**
 * The reason for a message over the receive limit.
 *
 * grpc-js reads the length of a message from its first bytes. If these bytes are text (`html` means 1.7 GB), the
 * response is something else, such as the error page of a proxy.
 */
const oversizedMessage = (detail: string): EtcdErrorReason | undefined => {
  if (!detail.includes("message larger than max")) return undefined
  const length = Number(/larger than max \((\d+)/.exec(detail)?.[1] ?? 0)
  const bytes = [24, 16, 8, 0].map((shift) => length >>> shift & 0xff)
  const isText = bytes.every((byte) => byte >= 0x20 && byte < 0x7f || byte === 0x0a || byte === 0x0d || byte === 0x09)
  return isText ?
    new Unavailable({
      detail: `text instead of a response of etcd, beginning with …${String.fromCharCode(...bytes)}`
    }) :
    new TooLarge({ detail })
}

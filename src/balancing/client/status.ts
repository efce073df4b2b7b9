/**
 * Derives from the status in an error whether to retry: a gRPC code or an HTTP status.
 *
 * An instance that responded with `INVALID_ARGUMENT` has run the call, and every other instance would respond the same.
 * So an error with a status is retried only for some statuses. Errors without a status give no such information.
 *
 * @module
 */

/** The gRPC codes that this module uses. */
const grpc = {
  deadlineExceeded: 4,
  resourceExhausted: 8,
  aborted: 10,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  max: 16
} as const

/** Codes that count as a failure of the instance: the server caused the error, not the request. */
const grpcFailures: ReadonlySet<number> = new Set([
  grpc.deadlineExceeded,
  grpc.resourceExhausted,
  grpc.internal,
  grpc.unavailable,
  grpc.dataLoss
])

/** Codes after which another attempt is useful, for calls that may run twice. */
const grpcRepeatable: ReadonlySet<number> = new Set([...grpcFailures, grpc.aborted])

/** Statuses of a gateway or server that is temporarily unavailable. */
const httpUnavailable: ReadonlySet<number> = new Set([502, 503, 504])

/** A wrapper such as Effect's `UnknownError` stores the library's error in its `cause`. */
const maxCauses = 5

/** The first value that `read` finds in an error or in one of its causes. */
const inCauses = <A>(error: unknown, read: (error: object) => A | undefined): A | undefined => {
  let current = error
  for (let depth = 0; typeof current === "object" && current !== null && depth < maxCauses; depth++) {
    const found = read(current)
    if (found !== undefined) return found
    current = "cause" in current ? current.cause : undefined
  }
  return undefined
}

const ownGrpcCode = (error: object): number | undefined => {
  if (!("code" in error) || typeof error.code !== "number" || !(error instanceof Error)) return undefined
  const isOfGrpc = "details" in error && typeof error.details === "string" || error.name === "ConnectError"
  return isOfGrpc && Number.isInteger(error.code) && error.code >= 1 && error.code <= grpc.max ? error.code : undefined
}

/** The gRPC code of an error of grpc-js or ConnectRPC, even if another error wraps it. `undefined` if it has none. */
export const grpcCodeOf = (error: unknown): number | undefined => inCauses(error, ownGrpcCode)

const ownHttpStatus = (error: object): number | undefined => {
  if (!("_tag" in error) || error._tag !== "HttpClientError" || !("reason" in error)) return undefined
  const { reason } = error as { readonly reason?: { readonly response?: { readonly status?: unknown } } }
  return typeof reason?.response?.status === "number" ? reason.response.status : undefined
}

/** Whether a call that must not run twice may be sent again. `undefined` if the error has no status. */
export const isRetryableStatus = (error: unknown): boolean | undefined => {
  const code = grpcCodeOf(error)
  if (code !== undefined) return code === grpc.unavailable
  const status = inCauses(error, ownHttpStatus)
  return status === undefined ? undefined : httpUnavailable.has(status)
}

/** Whether another attempt is useful for a call that may run twice. `undefined` if the error has no gRPC code. */
export const isRepeatableCode = (error: unknown): boolean | undefined => {
  const code = grpcCodeOf(error)
  return code === undefined ? undefined : grpcRepeatable.has(code)
}

/** Whether the instance counts as failed. `undefined` if the error has no status. */
export const isFailureStatus = (error: unknown): boolean | undefined => {
  const code = grpcCodeOf(error)
  if (code !== undefined) return grpcFailures.has(code)
  const status = inCauses(error, ownHttpStatus)
  return status === undefined ? undefined : httpUnavailable.has(status)
}

/** Whether the connection was refused, so that nothing was sent. Covers the errors of Node, Bun and Deno. */
export const isRefusedConnection = (error: unknown): boolean =>
  inCauses(error, (one) => {
    if (!(one instanceof Error)) return undefined
    const code = "code" in one ? one.code : undefined
    const isRefused = code === "ECONNREFUSED" || code === "ConnectionRefused" ||
      /client error \(Connect\).*Connection refused/.test(one.message)
    return isRefused ? true : undefined
  }) === true

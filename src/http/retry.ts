/**
 * Decides which requests may be sent again, and when.
 *
 * @module
 */
import { Effect, Option, Stream } from "effect"
import { type HttpClientError, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { isRefusedConnection as isRefused } from "../balancing/client/status.ts"
import { isStream } from "./redirect.ts"

/** A response whose status means that the instance is temporarily unavailable. */
export class Unavailable extends Error {
  readonly _tag = "Unavailable"
  readonly response: HttpClientResponse.HttpClientResponse

  constructor(response: HttpClientResponse.HttpClientResponse) {
    super(`status ${response.status}`)
    this.response = response
  }
}

/** RFC 9110, 9.2.2, and QUERY (draft-ietf-httpbis-safe-method-w-body). */
const idempotent = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"])

/** Whether a request may be sent again even if it was carried out. */
export const isRepeatable = (request: HttpClientRequest.HttpClientRequest): boolean =>
  (idempotent.has(request.method) || request.headers["idempotency-key"] !== undefined) && !isStream(request)

/** Whether the connection was refused, so that nothing was sent. */
export const isRefusedConnection = (error: HttpClientError.HttpClientError): boolean =>
  error.reason._tag === "TransportError" && isRefused(error.reason.cause)

/** Releases the connection of a response without reading its body. */
export const discard = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Option.match(HttpClientResponse.toWeb(response), {
    onSome: ({ body }) => Effect.promise(async () => await body?.cancel().catch(() => {})),
    // Taking only the first piece ends the stream.
    onNone: () => Effect.ignore(Stream.runHead(response.stream)).pipe(Effect.timeoutOption("1 second"), Effect.asVoid)
  })

/**
 * Requests to a service: attempts at its instances.
 *
 * @module
 */
import { Effect, Tracer } from "effect"
import { HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { ServiceClient } from "../balancing/mod.ts"
import { type Base, join } from "./base.ts"
import { redirected, redirectOf } from "./redirect.ts"
import { discard, isRefusedConnection, isRepeatable, Unavailable } from "./retry.ts"

type Response = HttpClientResponse.HttpClientResponse
type Request = HttpClientRequest.HttpClientRequest
type Sent<R> = Effect.Effect<Response, HttpClientError.HttpClientError, R>

/** Sends a request to a service. Follows up to `maxRedirects` redirects within the origin of the instance. */
export type SendToService<R> = (
  service: ServiceClient.ServiceClient<Base, unknown>,
  request: Request,
  url: URL,
  maxRedirects: number
) => Sent<R>

type AttemptError = HttpClientError.HttpClientError | Unavailable

const isFailure = (error: AttemptError): boolean =>
  error._tag === "Unavailable" || error.reason._tag === "TransportError"

/** Decides what to retry: repeatable requests after each failure, others only if nothing was sent. */
const ofRepeatable: ServiceClient.CallOptions<AttemptError> = {
  isFailure,
  retryable: (error) => error._tag === "TimedOut" || isFailure(error)
}
const ofOthers: ServiceClient.CallOptions<AttemptError> = {
  isFailure,
  retryable: (error) => error._tag === "HttpClientError" && isRefusedConnection(error)
}

/** Requests to services, each attempt sent with `send`. */
export const serviceCalls = <R>(
  send: (request: Request) => Sent<R>,
  retryStatus: ReadonlyArray<number>,
  hashKey: ((request: Request) => string | undefined) | undefined
): SendToService<R> =>
(service, request, url, maxRedirects) =>
  Effect.suspend(() => {
    const options = isRepeatable(request) ? ofRepeatable : ofOthers
    const key = hashKey?.(request)
    /** Responses with a status of `retryStatus`. */
    const refused: Array<Response> = []
    /** Releases responses that nobody reads. */
    const discardRefused = (kept?: Response) =>
      refused.length === 0 ?
        Effect.void :
        Effect.forEach(refused.splice(0), (response) => response === kept ? Effect.void : discard(response), {
          discard: true
        })
    const answer = service.call((base, instance) =>
      annotated(
        Effect.andThen(discardRefused(), sendTo(send, base, withAuthorization(request, base), url, maxRedirects)),
        { "discovery.service": service.service, "discovery.instance": instance.id }
      ).pipe(
        Effect.flatMap((response) => {
          if (!retryStatus.includes(response.status)) return Effect.succeed(response)
          refused.push(response)
          return Effect.fail(new Unavailable(response))
        })
      ), key === undefined ? options : { ...options, key })
    return answer.pipe(
      Effect.catch((error) => {
        const last = error._tag === "CallFailed" ? error.last : error
        if (last?._tag === "Unavailable") return Effect.as(discardRefused(last.response), last.response)
        return Effect.fail(HttpClientError.isHttpClientError(error) ? error : failed(request, error))
      }),
      Effect.onExit((exit) => discardRefused(exit._tag === "Success" ? exit.value : undefined))
    )
  })

/** Annotates spans unless the tracer is Effect's built-in one, which exports nothing. */
const annotated = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  attributes: Record<string, string>
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    fiber.getRef(Tracer.Tracer) === Tracer.nativeTracer ? effect : Effect.annotateSpans(effect, attributes)
  )

const failed = (request: Request, cause: Error) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, cause, description: cause.message })
  })

/** The credentials of the endpoint, unless the request has its own. */
const withAuthorization = (request: Request, { authorization }: Base): Request =>
  authorization === undefined || request.headers["authorization"] !== undefined ?
    request :
    HttpClientRequest.setHeader(request, "authorization", authorization)

/** Sends a request to an instance. Follows redirects within its origin or that of the service. */
const sendTo = <R>(
  send: (request: Request) => Sent<R>,
  base: Base,
  request: Request,
  url: URL,
  maxRedirects: number
): Sent<R> => {
  const follow = (request: Request, redirects: number): Sent<R> =>
    Effect.flatMap(send(request), (response) => {
      const next = redirects < maxRedirects ? redirectOf(response, request.url) : undefined
      if (next === undefined) return Effect.succeed(response)
      const isOfService = next.origin === url.origin && url.protocol.startsWith("http")
      if (!isOfService && next.origin !== base.origin) return Effect.succeed(response)
      const again = redirected(request, response.status, isOfService ? new URL(join(base, next)) : next, true)
      return again === undefined ?
        Effect.succeed(response) :
        Effect.andThen(discard(response), follow(again, redirects + 1))
    })
  return follow(HttpClientRequest.setUrl(request, join(base, url)), 0)
}

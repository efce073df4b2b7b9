/**
 * `fetch` with services in it, for code that knows no Effect.
 *
 * @module
 */
import { Cause, Effect, Exit, type ManagedRuntime, Option, Stream } from "effect"
import {
  FetchHttpClient,
  Headers,
  HttpBody,
  HttpClient,
  type HttpClientError,
  HttpClientRequest,
  HttpClientResponse,
  HttpTraceContext
} from "effect/http"

/**
 * A function of the shape of `fetch` that sends its requests through the `HttpClient` of a runtime: with
 * `DiscoveryHttpClient.layer` in it, `http://orders/path` goes to an instance of the service `orders`.
 *
 * It resolves with the response as soon as its headers are there, whatever the status. It rejects with a `TypeError`
 * whose `cause` is the `HttpClientError`, and, when `signal` is aborted, with the reason of that; then the body ends, too.
 * A header `traceparent` (or `b3`) is the parent of the spans of the request. Bodies are sent again by a retry unless
 * they are streams. What `fetch` alone knows (`redirect`, `credentials`, `cache`, …) reaches it when the client of the
 * runtime is `FetchHttpClient`.
 *
 * @example
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { DiscoveryHttpClient, makeFetch } from "@effect-etcd/discovery/http"
 * import { Layer, ManagedRuntime } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import assert from "node:assert/strict"
 *
 * const answered: typeof fetch = (input) => Promise.resolve(Response.json({ url: String(input) }))
 *
 * const runtime = ManagedRuntime.make(DiscoveryHttpClient.layer().pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(Registry.layerFixed([{ name: "orders", endpoints: ["http://10.0.0.5:8080"] }])),
 *   Layer.provideMerge(Layer.succeed(FetchHttpClient.Fetch, answered))
 * ))
 * const fetchService = makeFetch(runtime)
 *
 * const response = await fetchService("http://orders/7")
 * assert.deepEqual(await response.json(), { url: "http://10.0.0.5:8080/7" })
 * await runtime.dispose()
 * ```
 */
export const makeFetch = <R, E>(
  runtime: ManagedRuntime.ManagedRuntime<R | HttpClient.HttpClient, E>
): typeof globalThis.fetch => {
  const send = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    // Throws a TypeError where `fetch` would.
    const request = new Request(input, init)
    const { signal } = request
    signal.throwIfAborted()
    const exit = await runtime.runPromiseExit(answerTo(request, init), { signal })
    if (Exit.isSuccess(exit)) return exit.value
    if (signal.aborted) throw signal.reason
    const error = Cause.squash(exit.cause)
    throw error instanceof Error && error.name === "HttpClientError" ?
      new TypeError(`fetch failed: ${error.message}`, { cause: error }) :
      error
  }
  // Bun's `fetch` has a member `preconnect`; here it has nothing to do.
  return Object.assign(send, { preconnect: () => {} })
}

const answerTo = (
  request: Request,
  init: RequestInit | undefined
): Effect.Effect<Response, HttpClientError.HttpClientError, HttpClient.HttpClient> =>
  Effect.gen(function* () {
    const fetch = yield* FetchHttpClient.Fetch
    const headers = Headers.fromInput(request.headers)
    const parent = HttpTraceContext.fromHeaders(headers)
    const response = yield* HttpClient.execute(requestOf(request, init)).pipe(
      Effect.provideService(FetchHttpClient.Fetch, withInit(fetch, request, init)),
      (sent) => Option.match(parent, { onNone: () => sent, onSome: (span) => Effect.withParentSpan(sent, span) })
    )
    return yield* Option.match(HttpClientResponse.toWeb(response), {
      onSome: Effect.succeed,
      onNone: () => Effect.map(Stream.toReadableStreamEffect(response.stream), (body) => toWeb(response, body))
    })
  })

/** The client's own `fetch`, which aborts the body, too, and knows what `HttpClient` does not. */
const withInit = (
  fetch: typeof globalThis.fetch,
  request: Request,
  init: RequestInit = {}
): typeof globalThis.fetch => {
  const { body: _body, headers: _headers, method: _method, signal: _signal, ...rest } = init
  const send = (input: RequestInfo | URL, own: RequestInit = {}) => {
    const signals = own.signal ? [own.signal, request.signal] : [request.signal]
    return fetch(input, { ...rest, ...own, signal: AbortSignal.any(signals) })
  }
  return Object.assign(send, fetch)
}

const requestOf = (request: Request, init: RequestInit | undefined): HttpClientRequest.HttpClientRequest => {
  const plain = HttpClientRequest.fromWeb(request)
  const body = init?.body
  if (body === undefined || body === null || body instanceof ReadableStream) return plain
  // A request has its body as a stream; what it was made of can be sent again.
  if (body instanceof FormData) return HttpClientRequest.setBody(plain, HttpBody.formData(body))
  const contentType = request.headers.get("content-type") ?? undefined
  return HttpClientRequest.setBody(plain, HttpBody.raw(body, { contentType }))
}

/** Statuses whose responses have no body. */
const bodiless = new Set([101, 103, 204, 205, 304])

const toWeb = (
  { headers, status }: HttpClientResponse.HttpClientResponse,
  body: ReadableStream<Uint8Array>
): Response => new Response(bodiless.has(status) ? null : body, { status, headers })

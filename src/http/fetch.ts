/**
 * `fetch` with service names as hosts, for code without Effect.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Cause, Effect, Exit, type ManagedRuntime, Option, Result, Stream } from "effect"
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
import { checkOptions } from "../internal/options.ts"
import { readUpTo } from "./readUpTo.ts"
import { redirectStatuses } from "./redirect.ts"

/**
 * Options of {@link makeFetch}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category models
 */
export interface FetchOptions {
  /**
   * The maximum size in bytes of a `Request` body that is read before sending. Such a body has a length, and a retry or
   * a redirect can send it again. Longer bodies are streamed. Default: 1 MiB.
   */
  readonly maxReplayBytes?: number
}

/**
 * Creates a `fetch` function that sends its requests through the `HttpClient` of a runtime.
 *
 * **Details**
 *
 * With `DiscoveryHttpClient.layer` in the runtime, `http://orders/path` goes to an instance of the service `orders`.
 * The hosts of its option `services` go to those services.
 *
 * Resolves with the response as soon as its headers arrive, with any status. Rejects with a `TypeError` whose `cause`
 * is the `HttpClientError`, or with the reason of `signal`, which also ends the body. If the runtime is disposed, it
 * rejects with a `TypeError`, too. A header `traceparent` (or `b3`) is the parent of the request's spans.
 *
 * Options of the `Request` and of `init` (`redirect`, `credentials`, `cache`, …) work as in `fetch` if the runtime's
 * client is `FetchHttpClient`. A redirect to another origin than that of the instance is followed only if `init` has
 * `redirect: "follow"`. Otherwise the redirect is the response.
 *
 * **Gotchas**
 *
 * The body of a `Request` is read up to `maxReplayBytes` before anything is sent. To send a stream without that delay,
 * pass it as `init.body`.
 *
 * Throws `InvalidOption` if an option breaks its rule.
 *
 * **Example**
 *
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
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const makeFetch = <R, E>(
  runtime: ManagedRuntime.ManagedRuntime<R | HttpClient.HttpClient, E>,
  options: FetchOptions = {}
): typeof globalThis.fetch => {
  const maxReplayBytes = Result.getOrThrow(
    checkOptions(
      "makeFetch",
      (check) => check.number("maxReplayBytes", options.maxReplayBytes ?? 1024 * 1024, { min: 0, whole: true })
    )
  )
  const send = async (input: RequestInfo | URL, given?: RequestInit | null): Promise<Response> => {
    const init = given ?? undefined
    const isBodyOfInput = input instanceof Request && (init?.body === undefined || init.body === null)
    // Bun can construct a `Request` from a used one, and leaves the body with the old one.
    if (isBodyOfInput && input.bodyUsed) throw new TypeError("cannot fetch: the body of the request was used already")
    // Throws a TypeError where `fetch` would.
    const request = new Request(input, init)
    const { signal } = request
    signal.throwIfAborted()
    const owner = isBodyOfInput && !input.bodyUsed ? input : request
    const body = await bodyOf(request, owner, init, maxReplayBytes)
    const exit = await runtime.runPromiseExit(answerTo(request, body, init), { signal })
    if (Exit.isSuccess(exit)) return exit.value
    if (signal.aborted) throw signal.reason
    const error = Cause.squash(exit.cause)
    if (Cause.hasInterruptsOnly(exit.cause)) throw failed("the request was interrupted", error)
    // Effect's defect of a disposed runtime is a string.
    if (!(error instanceof Error)) throw failed(String(error), error)
    throw error.name === "HttpClientError" ? failed(error.message, error) : error
  }
  // Bun's `fetch` has a member `preconnect`. Here it does nothing.
  return Object.assign(send, { preconnect: () => {} })
}

const failed = (why: string, cause: unknown) => new TypeError(`fetch failed: ${why}`, { cause })

/**
 * The body to send. A body from its source can be sent again, and so can a body that `readUpTo` has read completely.
 */
const bodyOf = async (
  request: Request,
  owner: Request,
  init: RequestInit | undefined,
  maxReplayBytes: number
): Promise<HttpBody.HttpBody> => {
  const contentType = request.headers.get("content-type") ?? undefined
  const source = init?.body ?? undefined
  if (source instanceof FormData) return HttpBody.formData(source)
  // Node's `fetch` also takes async iterables. `Request` has begun to read it.
  if (source !== undefined && isAsyncIterable(source)) return HttpBody.raw(request.body, { contentType })
  if (source !== undefined) return HttpBody.raw(source, { contentType })
  if (owner.body === null || owner.body === undefined) return HttpBody.empty
  return HttpBody.raw(await readUpTo(owner.body, maxReplayBytes, request.signal), { contentType })
}

const isAsyncIterable = (source: object | string): boolean =>
  typeof source === "object" && Symbol.asyncIterator in source && !(source instanceof ReadableStream)

const answerTo = (
  request: Request,
  body: HttpBody.HttpBody,
  init: RequestInit | undefined
): Effect.Effect<Response, HttpClientError.HttpClientError, HttpClient.HttpClient> =>
  Effect.gen(function* () {
    const fetch = yield* FetchHttpClient.Fetch
    const defaults = yield* Effect.serviceOption(FetchHttpClient.RequestInit)
    const parent = HttpTraceContext.fromHeaders(Headers.fromInput(request.headers))
    const response = yield* HttpClient.execute(requestOf(request, body)).pipe(
      Effect.provideService(FetchHttpClient.Fetch, withSignal(fetch, request.signal)),
      Effect.provideService(FetchHttpClient.RequestInit, {
        ...Option.getOrUndefined(defaults),
        ...optionsOf(request),
        ...withoutRequest(init)
      }),
      (sent) => Option.match(parent, { onNone: () => sent, onSome: (span) => Effect.withParentSpan(sent, span) })
    )
    return yield* Option.match(HttpClientResponse.toWeb(response), {
      onSome: Effect.succeed,
      onNone: () => Effect.map(Stream.toReadableStreamEffect(response.stream), (body) => toWeb(response, body))
    })
  })

const requestOf = (request: Request, body: HttpBody.HttpBody): HttpClientRequest.HttpClientRequest => {
  const { headers, method, url } = request
  const bare = HttpClientRequest.fromWeb(new Request(url, { method, headers }))
  return body._tag === "Empty" ? bare : HttpClientRequest.setBody(bare, body)
}

/**
 * The client's own `fetch`, with a signal that also ends the body of the response. The client follows redirects itself, so
 * `redirected` is set here.
 */
const withSignal = (fetch: typeof globalThis.fetch, signal: AbortSignal): typeof globalThis.fetch => {
  let isAfterRedirect = false
  const send = async (input: RequestInfo | URL, init: RequestInit = {}) => {
    const redirected = isAfterRedirect
    isAfterRedirect = false
    const signals = init.signal ? [init.signal, signal] : [signal]
    const response = await fetch(input, { ...init, signal: AbortSignal.any(signals) })
    isAfterRedirect = redirectStatuses.has(response.status)
    return redirected ? Object.defineProperty(response, "redirected", { value: true }) : response
  }
  return Object.assign(send, fetch)
}

const optionNames = [
  "cache",
  "credentials",
  "integrity",
  "keepalive",
  "mode",
  "redirect",
  "referrer",
  "referrerPolicy"
] as const

/** The options of a `Request` that differ from the defaults of the runtime. */
const optionsOf = (request: Request): RequestInit => {
  const plain = new Request("http://localhost/")
  const changed = optionNames.filter((name) => request[name] !== plain[name])
  return Object.fromEntries(changed.map((name) => [name, request[name]]))
}

/** The options of an `init` that the client does not set itself. */
const withoutRequest = (
  { body: _body, headers: _headers, method: _method, signal: _signal, ...rest }: RequestInit = {}
): RequestInit => rest

/** Statuses whose responses have no body. */
const bodiless = new Set([101, 103, 204, 205, 304])

const toWeb = (
  { headers, status }: HttpClientResponse.HttpClientResponse,
  body: ReadableStream<Uint8Array>
): Response => new Response(bodiless.has(status) ? null : body, { status, headers })

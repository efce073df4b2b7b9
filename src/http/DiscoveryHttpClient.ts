/**
 * An `HttpClient` that knows services: `http://orders/path` goes to an instance of the service `orders`.
 *
 * A transformation of Effect's `HttpClient`, whichever that is; requests to other hosts pass through unchanged. For each
 * service there are `Endpoints`, which choose the instance, try another one, and take out those that fail.
 *
 * What is tried again:
 *
 * | the request                                  | after                                                         |
 * | -------------------------------------------- | ------------------------------------------------------------- |
 * | may be repeated: its method is idempotent    | a transport failure, `attemptTimeout`, an answer of           |
 * | (RFC 9110, 9.2.2) or it has an               | `retryStatus`                                                 |
 * | `Idempotency-Key`, and its body can be sent  |                                                               |
 * | twice                                        |                                                               |
 * | any other                                    | a refused connection: then nothing was sent                   |
 *
 * A body that is a stream cannot be sent twice. That a header `Idempotency-Key` makes a request repeatable is how Go's
 * `net/http` has it, too.
 *
 * Each attempt is a client span of its own, with the instance as an attribute, and carries `traceparent`, as every
 * request of Effect's client does.
 *
 * @module
 */
import { type Duration, Effect, Layer, Option, RcMap, Result, Scope, Stream } from "effect"
import { HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { clientPlan } from "../balancing/client/options.ts"
import { Balancer, ServiceClient } from "../balancing/mod.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { checkName } from "../registry/discovery/Discovery.ts"
import * as Service from "../registry/model/Service.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type * as Registry from "../registry/Registry.ts"

/** How services are found and called. All options of {@link ServiceClient.make} but those that the client answers itself. */
export interface DiscoveryHttpClientOptions extends
  Omit<
    ServiceClient.Options<string>,
    "service" | "connect" | "connectKey" | "connectTimeout" | "connectBackoff" | "open" | "retryable" | "isFailure"
  > {
  /**
   * The one service that this client is for: requests with a relative URL, such as `/path`, and those whose host is its
   * name go there. Default: none; then services are told by their host.
   */
  readonly service?: string
  /**
   * Whether a URL names a service by its host. Default: a host without a dot and a port, but not `localhost`.
   * URLs know no upper case in hosts: a service with such a name needs `service`.
   */
  readonly isService?: (url: URL) => boolean
  /** What consistent hashing goes by. */
  readonly hashKey?: (request: HttpClientRequest.HttpClientRequest) => string | undefined
  /** Answers after which a request that may be repeated is. Default: 502, 503, 504. */
  readonly retryStatus?: ReadonlyArray<number>
  /** How long a service that is not called any longer is followed. Default: 5 minutes. */
  readonly idleTimeToLive?: Duration.Input
}

/**
 * The client with services, until the scope closes.
 *
 * A service is followed from the first request to it on. Requests fail as those of `client` do; when all attempts have
 * failed or there is no instance, with a `TransportError` whose `cause` is the `CallFailed` or `NoInstanceAvailable`.
 * An answer of `retryStatus` is returned when no other is to be had. A call counts as in flight until its answer begins.
 *
 * Fails with `InvalidOption` when an option cannot be.
 *
 * To tie a response to a scope, give a client with `HttpClient.withScope` to this function, not the other way round.
 *
 * @example
 * ```ts
 * import { registerService, Registry } from "@effect-etcd/discovery"
 * import { DiscoveryHttpClient } from "@effect-etcd/discovery/http"
 * import { Effect, Layer } from "effect"
 * import { FetchHttpClient, HttpClient } from "effect/http"
 * import assert from "node:assert/strict"
 *
 * const answered: typeof fetch = (input) => Promise.resolve(new Response(`answer of ${input}`))
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   const response = yield* HttpClient.get("http://orders/7?full=yes")
 *   assert.equal(yield* response.text, "answer of http://10.0.0.5:8080/7?full=yes")
 * })
 *
 * await Effect.runPromise(program.pipe(
 *   Effect.scoped,
 *   Effect.provide(DiscoveryHttpClient.layer().pipe(
 *     Layer.provide(FetchHttpClient.layer),
 *     Layer.provideMerge(Registry.layerMemory())
 *   )),
 *   Effect.provideService(FetchHttpClient.Fetch, answered)
 * ))
 * ```
 */
export const make = <R>(
  client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
  options: DiscoveryHttpClientOptions = {}
): Effect.Effect<
  HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>,
  InvalidOption,
  Registry.Registry | Scope.Scope
> =>
  Effect.gen(function* () {
    const { hashKey, idleTimeToLive = "5 minutes", isService, retryStatus = [502, 503, 504], service, ...rest } =
      options
    if (service !== undefined) {
      yield* Effect.fromResult(
        checkOptions("DiscoveryHttpClient.make", (check) => checkName(check, Service.make(service)))
      )
    }
    // What cannot be is told here, not by the first request.
    yield* Effect.fromResult(clientPlan("DiscoveryHttpClient.make", rest))
    yield* Effect.fromResult(Balancer.make(rest.strategy ?? Balancer.roundRobin))
    const services = yield* RcMap.make({
      lookup: ({ isSecure, name }: Target) =>
        ServiceClient.make({
          ...rest,
          service: name,
          attributes: { ...rest.attributes, scheme: isSecure ? "https" : "http" },
          connect: (instance) => Effect.fromResult(baseOf(instance, isSecure)),
          connectKey: ({ endpoints }) => endpoints
        }),
      idleTimeToLive
    })

    const send = (request: HttpClientRequest.HttpClientRequest) => client.postprocess(Effect.succeed(request))

    // The scope keeps the endpoints; it is not one that the client may see.
    const call = (request: HttpClientRequest.HttpClientRequest, target: Target, url: URL) =>
      Effect.scopedWith(Effect.fnUntraced(function* (scope) {
        const endpoints = yield* Scope.provide(RcMap.get(services, target), scope)
        const isRepeatable = mayBeRepeated(request)
        const refused: Array<HttpClientResponse.HttpClientResponse> = []
        /** Lets go of answers that nobody will read. */
        const discard = (kept?: HttpClientResponse.HttpClientResponse) =>
          Effect.forEach(refused.splice(0), (response) => response === kept ? Effect.void : cancel(response), {
            discard: true
          })
        const key = hashKey?.(request)
        const answer = endpoints.call((base, instance) =>
          discard().pipe(
            Effect.andThen(send(HttpClientRequest.setUrl(request, join(base, url)))),
            Effect.annotateSpans({ "discovery.service": target.name, "discovery.instance": instance.id }),
            Effect.flatMap((response) => {
              if (!retryStatus.includes(response.status)) return Effect.succeed(response)
              refused.push(response)
              return Effect.fail(new Refused(response))
            })
          ), {
          ...(key === undefined ? {} : { key }),
          isFailure: (error) => error instanceof Refused || error.reason._tag === "TransportError",
          retryable: (error) =>
            isRepeatable ?
              error instanceof Refused || error._tag === "TimedOut" || error.reason._tag === "TransportError" :
              !(error instanceof Refused) && error._tag !== "TimedOut" && isRefusedConnection(error)
        })
        const failed = (cause: Error) =>
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, cause, description: cause.message })
          })
        return yield* answer.pipe(
          Effect.catch((error) => {
            const last = error._tag === "CallFailed" ? error.last : error
            if (last?._tag === "Refused") return Effect.as(discard(last.response), last.response)
            return Effect.fail(HttpClientError.isHttpClientError(error) ? error : failed(error))
          }),
          Effect.onExit((exit) => discard(exit._tag === "Success" ? exit.value : undefined))
        )
      }))

    return HttpClient.makeWith(
      Effect.flatMap((request) => {
        const url = URL.canParse(request.url, relative) ? new URL(request.url, relative) : undefined
        const target = url && targetOf(url, service, isService)
        if (url === undefined || target === undefined) return send(request)
        return Effect.catchTags(call(request, target, url), {
          InvalidOption: (cause) => Effect.fail(invalidUrl(request, cause))
        })
      }),
      client.preprocess
    )
  })

/**
 * The `HttpClient` of the context, with services in it: what uses `HttpClient` needs no change.
 *
 * The same as {@link make}.
 */
export const layer = (options: DiscoveryHttpClientOptions = {}): Layer.Layer<
  HttpClient.HttpClient,
  InvalidOption,
  HttpClient.HttpClient | Registry.Registry
> => Layer.effect(HttpClient.HttpClient, Effect.flatMap(HttpClient.HttpClient, (client) => make(client, options)))

/** A service, and whether only endpoints with `https` will do. Compared by structure. */
interface Target {
  readonly name: string
  readonly isSecure: boolean
}

/** What relative URLs are relative to: a host that is no service, since it has a dot. */
const relative = "relative://relative.invalid"

const isHostOfService = ({ hostname, port }: URL): boolean =>
  port === "" && /^[^.:[\]]+$/.test(hostname) && hostname !== "localhost"

const targetOf = (
  url: URL,
  service: string | undefined,
  isService: ((url: URL) => boolean) | undefined
): Target | undefined => {
  const isSecure = url.protocol === "https:"
  if (service !== undefined && (url.protocol === "relative:" || isOf(service, url))) return { name: service, isSecure }
  if (url.protocol !== "http:" && !isSecure) return undefined
  const isTold = isService ?? (service === undefined ? isHostOfService : () => false)
  return isTold(url) ? { name: url.hostname, isSecure } : undefined
}

const isOf = (service: string, { hostname, port }: URL): boolean => port === "" && hostname === service.toLowerCase()

/** The first endpoint that speaks HTTP, for a secure target HTTPS. */
const baseOf = ({ endpoints, id }: ServiceInstance, isSecure: boolean): Result.Result<string, Error> => {
  const found = endpoints.find((endpoint) => (isSecure ? /^https:/i : /^https?:/i).test(endpoint))
  return found === undefined ?
    Result.fail(
      new Error(`${id} has no endpoint with ${isSecure ? "https" : "http or https"}: ${endpoints.join(", ")}`)
    ) :
    Result.succeed(found)
}

/** A URL below a base. */
const join = (base: string, { password, pathname, search, username }: URL): string => {
  const joined = new URL(base)
  joined.pathname = joined.pathname.replace(/\/$/, "") + pathname
  // A base has no query. Whether credentials may be in a URL is for the client to say.
  return Object.assign(joined, { password, search, username }).href
}

/** An answer that says that the instance does not serve now. */
class Refused extends Error {
  readonly _tag = "Refused"
  readonly response: HttpClientResponse.HttpClientResponse
  constructor(response: HttpClientResponse.HttpClientResponse) {
    super(`status ${response.status}`)
    this.response = response
  }
}

/** RFC 9110, 9.2.2, and QUERY (draft-ietf-httpbis-safe-method-w-body). */
const idempotent = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"])

const mayBeRepeated = ({ body, headers, method }: HttpClientRequest.HttpClientRequest): boolean =>
  (idempotent.has(method) || headers["idempotency-key"] !== undefined) &&
  body._tag !== "Stream" && !(body._tag === "Raw" && body.body instanceof ReadableStream)

/** Whether nothing was sent, because nobody listens there: as the `fetch` of Node, Bun and Deno tell it. */
const isRefusedConnection = (error: HttpClientError.HttpClientError): boolean => {
  if (error.reason._tag !== "TransportError") return false
  for (let cause = error.reason.cause, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const code = "code" in cause ? cause.code : undefined
    if (code === "ECONNREFUSED" || code === "ConnectionRefused") return true
    if (/client error \(Connect\).*Connection refused/.test(cause.message)) return true
  }
  return false
}

const invalidUrl = (request: HttpClientRequest.HttpClientRequest, cause: InvalidOption) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.InvalidUrlError({ request, cause, description: cause.message })
  })

/** Gives the connection of a response back without reading its body. */
const cancel = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Option.match(HttpClientResponse.toWeb(response), {
    onSome: ({ body }) => Effect.promise(async () => await body?.cancel().catch(() => {})),
    // Taking nothing more than the first piece ends the stream.
    onNone: () => Effect.ignore(Stream.runHead(response.stream)).pipe(Effect.timeoutOption("1 second"), Effect.asVoid)
  })

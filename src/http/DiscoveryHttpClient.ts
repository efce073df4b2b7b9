/**
 * An `HttpClient` that resolves service names: `http://orders/path` goes to an instance of the service `orders`.
 *
 * It wraps any `HttpClient` of Effect. Requests to other hosts pass through unchanged. A `ServiceClient` for each service
 * picks instances, retries, and ejects instances that fail.
 *
 * | the request                                                  | is retried after                             |
 * | ------------------------------------------------------------ | -------------------------------------------- |
 * | has an idempotent method (RFC 9110, 9.2.2) or an             | a transport failure, `attemptTimeout`, a     |
 * | `Idempotency-Key`, and a body that is no stream              | status of `retryStatus`                      |
 * | any other                                                    | a refused connection: nothing was sent       |
 *
 * Go's `net/http` treats `Idempotency-Key` the same way.
 *
 * Redirects are followed as `fetch` does, on the same instance. A redirect to another origin is returned as the
 * response, unless `FetchHttpClient.RequestInit` has `redirect: "follow"`. Its other values of `redirect` work as in
 * `fetch`. Redirects never count as failures of the instance.
 *
 * Each attempt is a client span with the id of the instance, and sends `traceparent`.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Clock, Context, type Duration, Effect, Layer, RcMap, Scope } from "effect"
import {
  FetchHttpClient,
  HttpClient,
  HttpClientError,
  type HttpClientRequest,
  type HttpClientResponse
} from "effect/http"
import { clientPlan } from "../balancing/client/options.ts"
import { Balancer, ServiceClient } from "../balancing/mod.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { checkName, checkSettings } from "../registry/discovery/Discovery.ts"
import type * as Registry from "../registry/Registry.ts"
import * as Service from "../registry/model/Service.ts"
import { type Base, baseOf } from "./base.ts"
import { Hosts, type Target, urlOf } from "./hosts.ts"
import { isStream, maxRedirects, redirected, redirectOf } from "./redirect.ts"
import { discard } from "./retry.ts"
import { serviceCalls } from "./serviceCalls.ts"
import { SharedClients } from "./SharedClients.ts"

/**
 * Options of {@link make}: those of `ServiceClient.make` that the HTTP client does not set itself.
 *
 * @stability unstable
 * @since 0.1.0
 * @category models
 */
export interface Options<S extends Service.ServiceLike = string> extends
  Omit<
    ServiceClient.Options<Base, Service.MetadataOf<S>>,
    "service" | "connect" | "connectKey" | "connectTimeout" | "connectBackoff" | "open" | "retryable" | "isFailure"
  > {
  /**
   * The only service of this client, as a name or a `Service`. Requests with a relative URL such as `/path`, and
   * requests whose host is its name, go to it. Default: none.
   */
  readonly service?: S
  /**
   * The services of hosts, as names or `Service` values, with typed metadata or in a foreign format:
   * `{ orders: Orders, "pay.internal": "payments" }`. A host may have a port. Default: none.
   */
  readonly services?: Readonly<Record<string, S>>
  /**
   * Whether a host that is not in `services` is the name of a service. Hosts in URLs are lower-case: a name with upper
   * case needs `services`. Default: false if there is a `service`. Otherwise true for a host without a dot and without
   * a port, except `localhost`.
   */
  readonly isService?: (url: URL) => boolean
  /** Returns the key of a request for consistent hashing. */
  readonly hashKey?: (request: HttpClientRequest.HttpClientRequest) => string | undefined
  /** The statuses after which a repeatable request is retried. Default: 502, 503, 504. */
  readonly retryStatus?: ReadonlyArray<number>
  /** How long a service is followed without requests. Default: 5 minutes. */
  readonly idleTimeToLive?: Duration.Input
}

type Client<R> = HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>

/**
 * Wraps an `HttpClient` so that it resolves services, until the scope closes.
 *
 * **Details**
 *
 * A service is followed from its first request on. Requests fail as those of `client` do. If all attempts failed, or
 * there is no instance, the error is a `TransportError` whose `cause` is the `CallFailed` or `NoInstanceAvailable`. If
 * all attempts ended with a status of `retryStatus`, the last response is returned. A call counts as in flight until
 * the headers of its response arrive.
 *
 * Requests go to the first endpoint of an instance whose scheme is `http` or `https`, and those to `https://…` only to
 * `https` endpoints. The path and the query of the endpoint come before those of the request. Its credentials become an
 * `Authorization` header, unless the request has one.
 *
 * Fails with `InvalidOption` if an option breaks its rule.
 *
 * **Gotchas**
 *
 * To tie responses to a scope, pass a client with `HttpClient.withScope` to this function, not the other way round.
 *
 * **Example**
 *
 * ```ts
 * import { registerService, Registry } from "@effect-etcd/discovery"
 * import { DiscoveryHttpClient } from "@effect-etcd/discovery/http"
 * import { Effect, Layer } from "effect"
 * import { FetchHttpClient, HttpClient } from "effect/http"
 * import assert from "node:assert/strict"
 *
 * const answered: typeof fetch = (input) => Promise.resolve(new Response(`called ${input}`))
 *
 * const program = Effect.gen(function* () {
 *   yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   const response = yield* HttpClient.get("http://orders/7?full=yes")
 *   assert.equal(yield* response.text, "called http://10.0.0.5:8080/7?full=yes")
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
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const make = <R, S extends Service.ServiceLike = string>(
  client: Client<R>,
  options: Options<S> = {}
): Effect.Effect<Client<R>, InvalidOption, Registry.Registry | Scope.Scope> =>
  Effect.gen(function* () {
    const {
      hashKey,
      idleTimeToLive = "5 minutes",
      isService,
      retryStatus = [502, 503, 504],
      service,
      services,
      ...rest
    } = options
    // Invalid options fail here, not at the first request.
    const idle = yield* Effect.fromResult(checkOptions("DiscoveryHttpClient.make", (check) => {
      const given = Object.values(services === undefined ? {} : check.object("services", services))
      for (const one of service === undefined ? given : [service, ...given]) checkName(check, Service.fromLike(one))
      if (rest.discover !== undefined) checkSettings(check, check.object("discover", rest.discover))
      if (isService !== undefined) check.callback("isService", isService)
      if (hashKey !== undefined) check.callback("hashKey", hashKey)
      for (const status of check.list("retryStatus", retryStatus)) {
        check.number("retryStatus", status, { min: 100, max: 599, whole: true })
      }
      return check.duration("idleTimeToLive", idleTimeToLive, { infinite: true })
    }))
    const hosts = new Hosts({
      ...(isService === undefined ? {} : { isService }),
      ...(service === undefined ? {} : { service }),
      ...(services === undefined ? {} : { services })
    })
    yield* Effect.fromResult(clientPlan("DiscoveryHttpClient.make", rest))
    yield* Effect.fromResult(Balancer.make<Service.MetadataOf<S>>(rest.strategy ?? Balancer.roundRobin))
    const context = yield* Effect.context<Registry.Registry>()
    const values = yield* RcMap.make({
      lookup: (key: string) => {
        const { host, isSecure } = targetOfKey(key)
        const created = ServiceClient.make({
          ...rest,
          // The name of a host is a service whose metadata are strings. The `strategy` must fit it as well.
          service: hosts.serviceOf(host) as Service.Service<Service.MetadataOf<S>>,
          attributes: { ...rest.attributes, scheme: isSecure ? "https" : "http" },
          connect: (instance) =>
            Effect.map(
              isSecure ?
                ServiceClient.endpointOf(instance, "https") :
                ServiceClient.endpointOf(instance, "http", "https"),
              baseOf
            ),
          connectKey: ({ endpoints }) => endpoints
        })
        // `RcMap` runs this in the context of the first request: with that request's registry, span and log
        // annotations.
        return Effect.flatMap(
          Effect.scope,
          (scope) =>
            Effect.updateContext(created, (_: Context.Context<never>) => Context.add(context, Scope.Scope, scope))
        )
      }
    })
    const clients = new SharedClients(values, idle, yield* Effect.scope, yield* Clock.Clock)
    const send = (request: HttpClientRequest.HttpClientRequest) => client.postprocess(Effect.succeed(request))
    const sendToService = serviceCalls(send, retryStatus, hashKey)

    /** Sends a request to a service or elsewhere. Handles a followed redirect to another origin again. */
    const route = (
      request: HttpClientRequest.HttpClientRequest,
      redirects: number
    ): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError, R> => {
      const url = urlOf(request.url)
      const target = url && hosts.targetOf(url)
      if (url === undefined || target === undefined) return send(request)
      return Effect.withFiber((fiber) => {
        const init = Context.getOrUndefined(fiber.context, FetchHttpClient.RequestInit) ?? {}
        const limit = init.redirect === undefined || init.redirect === "follow" ? maxRedirects : 0
        return clients.use(keyOf(target), (service) => sendToService(service, request, url, limit)).pipe(
          Effect.mapError((error) => error._tag === "InvalidOption" ? invalidUrl(request, error) : error),
          Effect.provideService(FetchHttpClient.RequestInit, { ...init, redirect: "manual" }),
          Effect.flatMap((response) => {
            const next = redirectOf(response, response.request.url)
            if (next === undefined || init.redirect === "manual") return Effect.succeed(response)
            const refuse = (why: string) =>
              Effect.andThen(discard(response), Effect.fail(refusedRedirect(request, why)))
            if (init.redirect === "error") return refuse('redirect is "error"')
            if (next.origin === new URL(response.request.url).origin || next.origin === url.origin) {
              return refuse(
                isStream(response.request) ? "its body is a stream" : `there were more than ${maxRedirects} redirects`
              )
            }
            if (init.redirect !== "follow") return Effect.succeed(response)
            if (redirects >= maxRedirects) return refuse(`there were already ${maxRedirects} redirects`)
            const again = redirected(response.request, response.status, next, false)
            return again === undefined ?
              refuse("its body is a stream") :
              Effect.andThen(discard(response), route(again, redirects + 1))
          })
        )
      })
    }

    return HttpClient.makeWith(Effect.flatMap((request) => route(request, 0)), client.preprocess)
  })

/**
 * Adds services to the `HttpClient` of the context: code that uses `HttpClient` needs no change.
 *
 * **Details**
 *
 * See {@link make}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = <S extends Service.ServiceLike = string>(options: Options<S> = {}): Layer.Layer<
  HttpClient.HttpClient,
  InvalidOption,
  HttpClient.HttpClient | Registry.Registry
> => Layer.effect(HttpClient.HttpClient, Effect.flatMap(HttpClient.HttpClient, (client) => make(client, options)))

const keyOf = ({ host, isSecure }: Target): string => `${isSecure ? "https" : "http"}:${host}`

const targetOfKey = (key: string): Target => {
  const colon = key.indexOf(":")
  return { host: key.slice(colon + 1), isSecure: key.slice(0, colon) === "https" }
}

const invalidUrl = (request: HttpClientRequest.HttpClientRequest, cause: InvalidOption) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.InvalidUrlError({ request, cause, description: cause.message })
  })

const refusedRedirect = (request: HttpClientRequest.HttpClientRequest, why: string) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, description: `the redirect was refused: ${why}` })
  })

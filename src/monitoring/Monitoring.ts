/**
 * Routes for Prometheus and for health probes.
 *
 * | route            | answers                                                                                  |
 * | ---------------- | ---------------------------------------------------------------------------------------- |
 * | `/metrics`       | all metrics of the process in Prometheus' text format                                    |
 * | `/sd/prometheus` | the instances as targets, for `http_sd_configs`; 503 while they are unknown or too old   |
 * | `/livez`         | 200 while the process answers                                                            |
 * | `/readyz`        | 200 while `ready` succeeds, else 503                                                     |
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Context, Duration, Effect, Exit, Layer, type Scope } from "effect"
import { HttpEffect, HttpRouter, type HttpServerRequest, HttpServerResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { checkName } from "../registry/discovery/Discovery.ts"
import { InstanceStatus } from "../registry/model/Instance.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import { fromLike, type ServiceLike } from "../registry/model/Service.ts"
import { Registry } from "../registry/Registry.ts"
import * as Follower from "./Follower.ts"
import { groupsOf, type Query } from "./targets.ts"
import { logInfo, logWarning } from "../internal/log.ts"

export { NotRegistered, registered, type RegistrationLike } from "./readiness.ts"
export { type NodeListener, nodeListener, serve, ServeFailed, type ServeOptions } from "./node.ts"

/**
 * The options of the routes.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The services that `/sd/prometheus` lists. Default: every service of the namespace in the default format, which
   * needs read permission on the whole namespace.
   */
  readonly services?: ReadonlyArray<ServiceLike>
  /**
   * How long `/sd/prometheus` lists the last known instances while etcd does not answer. Afterwards it responds with
   * 503. Default: 5 minutes.
   */
  readonly maxStale?: Duration.Input
  /**
   * Whether the process is ready: `/readyz` responds with 200 if the effect succeeds within 5 seconds. With `"targets"`
   * it responds with 200 while `/sd/prometheus` does. Default: always 200.
   */
  readonly ready?: Effect.Effect<unknown, unknown> | "targets"
  /** The prefix of all paths, such as `/internal`. Default: none. */
  readonly prefix?: string
}

/**
 * Responds to a request; a handler for `Deno.serve` and `Bun.serve`.
 *
 * @since 0.1.0
 * @category models
 */
export type WebHandler = (request: Request) => Promise<Response>

const readyTimeout = Duration.seconds(5)

const noStore = { "cache-control": "no-store" }

const answer = (status: number, text: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(`${text}\n`, { status, headers: noStore })

/** Prometheus keeps its last targets after any status but 200. */
const unknown = (text: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(`${text}\n`, { status: 503, headers: { ...noStore, "retry-after": "5" } })

interface Settings {
  readonly services: ReadonlyArray<ServiceLike> | undefined
  readonly maxStaleMillis: number
  readonly ready: Effect.Effect<unknown, unknown> | "targets"
  readonly prefix: string
}

const settingsOf = (of: string, { maxStale = "5 minutes", prefix = "", ready = Effect.void, services }: Options) =>
  checkOptions(of, (check): Settings => {
    for (const service of check.list("services", services ?? [])) checkName(check, fromLike(service))
    if (ready !== "targets") check.effect("ready", ready)
    if (check.text("prefix", prefix) !== "" && !/^(?:\/[A-Za-z0-9._~-]+)+$/.test(prefix)) {
      check.refuse("prefix", prefix, 'it must be a path such as "/internal", without a slash at its end')
    }
    return { services, maxStaleMillis: Duration.toMillis(check.duration("maxStale", maxStale)), ready, prefix }
  })

const statuses: ReadonlySet<string> = new Set(InstanceStatus.literals)
const isStatus = (text: string): text is InstanceStatus => statuses.has(text)

/**
 * Parses the parameters of a request, or returns why they are invalid. Ignoring an unknown parameter would list too
 * much.
 */
const queryOf = (parameters: URLSearchParams): Query | string => {
  const services = new Set<string>()
  const wanted = new Set<InstanceStatus>()
  let scheme: string | undefined
  for (const [name, value] of parameters) {
    if (name === "service") services.add(value)
    else if (name === "scheme") scheme = value.toLowerCase()
    else if (name === "status" && isStatus(value)) wanted.add(value)
    else if (name === "status") return `status must be one of ${[...statuses].join(", ")}`
    else return "the parameters are service, status and scheme"
  }
  return { services, statuses: wanted, scheme }
}

type Sets = Iterable<readonly [string, InstanceSet<unknown>]>

/** The sets that `/sd/prometheus` lists, and the age of the oldest. */
const followSets = Effect.fnUntraced(function* (
  registry: Registry,
  services: Settings["services"]
): Effect.fn.Return<Effect.Effect<Follower.Known<Sets> | undefined>, never, Scope.Scope> {
  if (services === undefined) return (yield* Follower.make("the namespace", registry.discoverAll())).known
  const named = [...services].map(fromLike).sort((a, b) => a.name < b.name ? -1 : 1)
  const followers = yield* Effect.forEach(named, (service) =>
    Effect.map(
      Follower.make(JSON.stringify(service.name), registry.discover(service)),
      ({ known }) => [service.name, known] as const
    ))
  return Effect.map(
    Effect.forEach(followers, ([name, known]) => Effect.map(known, (found) => [name, found] as const), {
      concurrency: "unbounded"
    }),
    (all) => {
      const sets: Array<readonly [string, InstanceSet<unknown>]> = []
      let ageMillis = 0
      for (const [name, found] of all) {
        if (found === undefined) return undefined
        sets.push([name, found.value])
        ageMillis = Math.max(ageMillis, found.ageMillis)
      }
      return { value: sets, ageMillis }
    }
  )
})

const parametersOf = (url: string): URLSearchParams => {
  const at = url.indexOf("?")
  return new URLSearchParams(at < 0 ? "" : url.slice(at))
}

/** Returns the sets. Fails with the reason if they are unknown or too old. */
const current = (
  known: Effect.Effect<Follower.Known<Sets> | undefined>,
  maxStaleMillis: number
): Effect.Effect<Sets, string> =>
  Effect.flatMap(
    known,
    (found) =>
      found === undefined ?
        Effect.fail("the instances are not known yet") :
        found.ageMillis > maxStaleMillis ?
        Effect.fail("the last known instances are too old") :
        Effect.succeed(found.value)
  )

/** The route for Prometheus' service discovery. */
const targets = (sets: Effect.Effect<Sets, string>, services: Settings["services"]) => {
  const followed = services && new Set(services.map((service) => fromLike(service).name))
  return Effect.fnUntraced(function* ({ url }: HttpServerRequest.HttpServerRequest) {
    const query = queryOf(parametersOf(url))
    if (typeof query === "string") return answer(400, query)
    for (const name of query.services) {
      if (followed?.has(name) === false) return answer(404, "a service of the request is not followed here")
    }
    return yield* Effect.match(sets, {
      onFailure: unknown,
      onSuccess: (found) =>
        HttpServerResponse.text(JSON.stringify(groupsOf(found, query)), {
          // Prometheus refuses other content types.
          contentType: "application/json",
          headers: noStore
        })
    })
  })
}

/** The readiness route. Only the log names what is not ready, because anyone may read the response. */
const readiness = (ready: Effect.Effect<unknown, unknown>) => {
  let wasReady = true
  return Effect.gen(function* () {
    const exit = yield* Effect.exit(Effect.timeout(ready, readyTimeout))
    const isReady = Exit.isSuccess(exit)
    if (wasReady && Exit.isFailure(exit)) yield* logWarning("the process is not ready", exit.cause)
    if (!wasReady && isReady) yield* logInfo("the process is ready")
    wasReady = isReady
    return isReady ? answer(200, "ready") : unknown("not ready")
  })
}

/** Builds the routes. `of` is the function that was called. */
const add = Effect.fnUntraced(function* (
  of: string,
  options: Options
): Effect.fn.Return<void, InvalidOption, HttpRouter.HttpRouter | Registry | Scope.Scope> {
  const settings = yield* Effect.fromResult(settingsOf(of, options))
  const root = yield* HttpRouter.HttpRouter
  const router = settings.prefix === "" ? root : root.prefixed(settings.prefix)
  const known = yield* followSets(yield* Registry, settings.services)
  const sets = current(known, settings.maxStaleMillis)
  yield* router.add("GET", "/sd/prometheus", targets(sets, settings.services))
  yield* router.add("GET", "/livez", answer(200, "live"))
  yield* router.add("GET", "/readyz", readiness(settings.ready === "targets" ? sets : settings.ready))
  yield* Layer.build(Layer.provide(PrometheusMetrics.layerHttp(), Layer.succeed(HttpRouter.HttpRouter, router)))
})

/**
 * Adds the routes to the `HttpRouter` of the context.
 *
 * **Details**
 *
 * The first request to `/sd/prometheus` starts one watch, which ends with the layer. That request waits up to 2 seconds
 * for the instances. The other routes do not use etcd. Fails with `InvalidOption`.
 *
 * **Gotchas**
 *
 * Anyone who can reach the routes can read metrics, names and addresses. Serve them on a port that only operators can
 * reach, or add authentication (`HttpRouter.middleware`).
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { Monitoring } from "@effect-etcd/discovery/monitoring"
 * import { Layer } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 *
 * const routes = Layer.mergeAll(
 *   HttpRouter.add("GET", "/", HttpServerResponse.text("hello")),
 *   Monitoring.layer({ prefix: "/internal" })
 * )
 * // With a server of your platform: HttpRouter.serve(routes)
 * const app = routes.pipe(Layer.provide(Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] })))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<never, InvalidOption, HttpRouter.HttpRouter | Registry> =>
  Layer.effectDiscard(add("Monitoring.layer", options))

/**
 * The routes as a function from a request to a response, until the scope closes.
 *
 * **Details**
 *
 * Pass it to `Deno.serve` or `Bun.serve`, or through {@link nodeListener} to `node:http`. Other paths return 404. It
 * starts what {@link layer} starts, and fails as {@link layer} does.
 *
 * **Example**
 *
 * ```ts
 * import { registerService, Registry } from "@effect-etcd/discovery"
 * import { Monitoring } from "@effect-etcd/discovery/monitoring"
 * import { Effect } from "effect"
 * import assert from "node:assert/strict"
 *
 * const program = Effect.gen(function* () {
 *   const registration = yield* registerService("orders", { endpoints: ["http://10.0.0.5:8080"] })
 *   const handler = yield* Monitoring.webHandler({ ready: Monitoring.registered(registration) })
 *   // Deno.serve({ port: 9090 }, handler), or Bun.serve({ port: 9090, fetch: handler })
 *   const ask = (path: string) => Effect.promise(() => handler(new Request(`http://localhost${path}`)))
 *   assert.equal((yield* ask("/readyz")).status, 200)
 *   const targets = yield* ask("/sd/prometheus?service=orders")
 *   assert.match(yield* Effect.promise(() => targets.text()), /"targets":\["10\.0\.0\.5:8080"\]/)
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const webHandler: (options?: Options) => Effect.Effect<WebHandler, InvalidOption, Registry | Scope.Scope> =
  Effect.fnUntraced(function* (options: Options = {}) {
    const built = yield* Layer.build(
      Layer.effectDiscard(add("Monitoring.webHandler", options)).pipe(Layer.provideMerge(HttpRouter.layer))
    )
    const context = yield* Effect.context<Scope.Scope>()
    return HttpEffect.toWebHandlerWith<Scope.Scope, HttpServerRequest.HttpServerRequest | Scope.Scope, never>(context)(
      Context.get(built, HttpRouter.HttpRouter).asHttpEffect()
    )
  })

/**
 * The web console as routes for Effect's `HttpRouter`: services, instances, leases, locks and the cluster.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Effect, Layer, Stream } from "effect"
import { Sse } from "effect/encoding"
import { HttpRouter, type HttpServerRequest, HttpServerResponse } from "effect/http"
import { gzipSync } from "node:zlib"
import type { Etcd } from "../etcd/Etcd.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import type { Edit } from "../registry/operator.ts"
import * as Registry from "../registry/Registry.ts"
import { type Asset, asset } from "./assets/assets.ts"
import * as Guard from "./guard.ts"
import { document, href } from "./layout.ts"
import { events, parse, Renderer } from "./live.ts"
import { checkOptionsOf, type Options } from "./options.ts"
import * as Source from "./Source.ts"

export { serve } from "./serve.ts"

export type { Auth, Options } from "./options.ts"

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

/** Compressing smaller bodies gains nothing. */
const minCompressed = 1024

/** A response with the security headers, compressed if the browser accepts that. */
const send = (
  { headers }: Request,
  body: string,
  { contentType = "text/plain; charset=utf-8", headers: more = {}, status = 200 }: {
    readonly status?: number
    readonly contentType?: string
    readonly headers?: Record<string, string>
  } = {}
): Response => {
  const all = { ...noStore, ...more, vary: "accept-encoding" }
  const isCompressed = body.length >= minCompressed && /\bgzip\b/.test(headers["accept-encoding"] ?? "")
  return isCompressed ?
    HttpServerResponse.uint8Array(gzipSync(body), {
      status,
      contentType,
      headers: { ...all, "content-encoding": "gzip" }
    }) :
    HttpServerResponse.text(body, { status, contentType, headers: all })
}

const noStore = { ...Guard.securityHeaders, "cache-control": "no-store" }

const sendAsset = (request: Request, { content, type }: Asset): Response =>
  send(request, content, {
    contentType: type,
    headers: { "cache-control": "public, max-age=31536000, immutable" }
  })

const showPage = Effect.fnUntraced(
  function* (source: Source.Source, renderer: Renderer, page: string, request: Request) {
    const { segments, query } = parse(page)
    const { version, view } = yield* renderer.render(page)
    const status = view.status ?? 200
    if (query.get("format") === "json") {
      const { knowledge } = view
      const known = knowledge._tag === "Known" ?
        { revision: String(knowledge.revision), confirmedAt: new Date(knowledge.confirmedAt).toISOString() } :
        { revision: null, confirmedAt: null }
      const body = { ...known, failure: knowledge.failure ?? null, data: view.data ?? null }
      return send(request, `${JSON.stringify(body, undefined, 2)}\n`, {
        // Unknown is an error, so that no program mistakes it for an empty list.
        status: knowledge._tag === "Known" ? status : 503,
        contentType: "application/json; charset=utf-8"
      })
    }
    const now = yield* source.now
    const content = document(view, {
      settings: source.settings,
      now,
      page: segments[0] ?? "",
      events: status === 200,
      version
    })
    return send(request, content.text.trim(), { status, contentType: "text/html; charset=utf-8" })
  }
)

const showEvents = (source: Source.Source, renderer: Renderer, query: URLSearchParams, lastId: string | undefined) =>
  HttpServerResponse.stream(
    events(source, renderer, query.get("page") ?? "/", lastId ?? query.get("from") ?? "").pipe(
      Stream.pipeThroughChannel(Sse.encode()),
      Stream.encodeText
    ),
    { contentType: "text/event-stream", headers: { ...noStore, "x-accel-buffering": "no" } }
  )

/**
 * The headers with the `host` of the request: HTTP/2 has no `Host` header, and some runtimes keep it in the URL only.
 */
const withHost = ({ headers, originalUrl }: Request): Readonly<Record<string, string | undefined>> =>
  headers["host"] === undefined && URL.canParse(originalUrl) ? { ...headers, host: new URL(originalUrl).host } : headers

/** The largest accepted form, in bytes. */
const maxForm = 4096

/** Returns the change that a form requests. */
const editOf = (form: URLSearchParams): Edit | undefined => {
  switch (form.get("action")) {
    case "drain":
      return { status: "draining" }
    case "undrain":
      return { status: "up" }
    case "weight":
      return { weight: form.get("weight")?.trim() ? Number(form.get("weight")) : NaN }
    default:
      return undefined
  }
}

/** Applies the change of a form and redirects to the instance's page, which shows the progress. */
const act = Effect.fnUntraced(function* (
  { actions, settings }: Source.Source,
  segments: ReadonlyArray<string>,
  request: Request
): Effect.fn.Return<Response> {
  const [kind, service, id] = segments
  if (kind !== "services" || service === undefined || id === undefined || segments.length > 3) {
    return send(request, "This page accepts no changes.\n", { status: 405, headers: { allow: "GET, HEAD" } })
  }
  if (!(Number(request.headers["content-length"]) <= maxForm)) {
    return send(request, "The form is too large.\n", { status: 413 })
  }
  const edit = editOf(new URLSearchParams(yield* Effect.orElseSucceed(request.text, () => "")))
  if (edit === undefined) return send(request, "The form requests an unknown change.\n", { status: 400 })
  yield* actions.send(service, id, edit)
  return send(request, "", { status: 303, headers: { location: href(settings, segments) } })
})

const respond = Effect.fnUntraced(function* (
  source: Source.Source,
  renderer: Renderer,
  request: Request
): Effect.fn.Return<Response> {
  const { settings } = source
  const refusal = Guard.refusalOf(settings, { method: request.method, headers: withHost(request) })
  if (refusal !== undefined) {
    const ask = { "www-authenticate": `Basic realm="etcd discovery", charset="UTF-8"` }
    const { reason, status } = refusal
    return send(request, `${reason}\n`, { status, headers: status === 401 ? ask : {} })
  }
  const page = request.url.replace(/^https?:\/\/[^/]*/, "").slice(settings.path.length)
  const { query, segments } = parse(page)
  const [first] = segments
  if (request.method !== "GET" && request.method !== "HEAD") return yield* act(source, segments, request)
  for (const one of [asset.style, asset.script]) if (first === one.name) return sendAsset(request, one)
  if (first === "events") return showEvents(source, renderer, query, request.headers["last-event-id"])
  return yield* showPage(source, renderer, page === "" ? "/" : page, request)
})

/**
 * The console as routes of an `HttpRouter`.
 *
 * **Details**
 *
 * All open pages share one watch on the namespace. Other data (leases, keys, locks, the cluster) is read once for all
 * pages while one of them is open. Building the layer does not need etcd: while etcd is down, the pages say so. Three
 * fibers run as long as the layer: the watch, a small read every 2 seconds that confirms that etcd answers, and a
 * sample of the numbers every 15 seconds.
 *
 * Each page shows its revision and the age of the last confirmation. It becomes stale after `staleAfter` and
 * disconnected after `disconnectedAfter`. Unknown data never looks empty.
 *
 * All data from etcd is escaped, and the pages forbid foreign scripts and styles. Fails with `InvalidOption`.
 *
 * **Gotchas**
 *
 * Anyone who can connect can read the instances and the values of the namespace. Serve the routes on loopback, or set
 * `auth`. List the host names that browsers use in `hosts`.
 *
 * **Example** (Beside the routes of a program)
 *
 * ```ts
 * import { WebConsole } from "@effect-etcd/discovery/console"
 * import { EtcdMemory } from "@effect-etcd/discovery/etcd"
 * import { Layer } from "effect"
 * import { HttpRouter, HttpServer } from "effect/http"
 * import assert from "node:assert/strict"
 *
 * const routes = WebConsole.layer({ path: "/console" }).pipe(Layer.provide(EtcdMemory.layer()))
 * const { dispose, handler } = HttpRouter.toWebHandler(
 *   routes.pipe(Layer.provide(HttpServer.layerServices)),
 *   { disableLogger: true }
 * )
 * const headers = { host: "localhost" }
 * const response = await handler(new Request("http://localhost/console/services", { headers }))
 * assert.equal(response.status, 200)
 * await response.text()
 * await dispose()
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<never, InvalidOption, HttpRouter.HttpRouter | Etcd> =>
  Layer.unwrap(
    Effect.map(
      Effect.fromResult(checkOptions("WebConsole.layer", (check) => checkOptionsOf(check, options))),
      (settings) =>
        HttpRouter.use(Effect.fnUntraced(function* (router) {
          const source = yield* Source.make(settings)
          const renderer = new Renderer(source)
          yield* router.add(
            "*",
            `${settings.path === "" ? "" : toRoute(settings.path)}/*`,
            (request) => respond(source, renderer, request)
          )
        })).pipe(Layer.provide(Registry.layer({ namespace: settings.namespace })))
    )
  )

const toRoute = (path: string): `/${string}` => `/${path.slice(1)}`

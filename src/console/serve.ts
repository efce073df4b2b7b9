/**
 * A server for the console on `node:http`, which all three runtimes have.
 *
 * @module
 */
import { Effect, Layer, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { pipeline, Readable } from "node:stream"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import { ServeFailed } from "../monitoring/node.ts"

/**
 * Where to listen.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Address {
  readonly host: string
  /** 0 means a free port. */
  readonly port: number
}

const bodyOf = (incoming: IncomingMessage): RequestInit =>
  incoming.method === "GET" || incoming.method === "HEAD" ?
    {} :
    { body: Readable.toWeb(incoming) as unknown as ReadableStream<Uint8Array>, duplex: "half" } as RequestInit

const headersOf = (incoming: IncomingMessage): Headers => {
  const headers = new Headers()
  for (let index = 0; index + 1 < incoming.rawHeaders.length; index += 2) {
    headers.append(incoming.rawHeaders[index] ?? "", incoming.rawHeaders[index + 1] ?? "")
  }
  return headers
}

/**
 * Serves routes until the scope closes, and returns where. Fails if it cannot listen there.
 *
 * **Details**
 *
 * What a response holds waits for its reader: a browser that does not read makes nothing grow. Closing the scope ends
 * all connections. To serve the console beside routes of your own, provide its layer to your `HttpRouter` instead.
 *
 * @stability unstable
 * @since 0.1.0
 * @category running
 */
export const serve: <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter>,
  address: Address
) => Effect.Effect<Address, InvalidOption | ServeFailed, Scope.Scope> = Effect.fnUntraced(function* <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter>,
  { host, port }: Address
): Effect.fn.Return<Address, InvalidOption | ServeFailed, Scope.Scope> {
  yield* Effect.fromResult(
    checkOptions("WebConsole.serve", (check) => check.number("port", port, { min: 0, max: 65_535, whole: true }))
  )
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() => HttpRouter.toWebHandler(routes.pipe(withServices), { disableLogger: true })),
    ({ dispose }) => Effect.promise(() => dispose())
  )
  const server = createServer((incoming, outgoing) => {
    const controller = new AbortController()
    outgoing.on("close", () => controller.abort())
    const url = new URL(incoming.url ?? "/", "http://localhost")
    const request = new Request(`http://localhost${url.pathname}${url.search}`, {
      method: incoming.method ?? "GET",
      headers: headersOf(incoming),
      signal: controller.signal,
      ...bodyOf(incoming)
    })
    handler(request).then((response) => {
      outgoing.writeHead(response.status, Object.fromEntries(response.headers))
      if (response.body === null || incoming.method === "HEAD") return void outgoing.end()
      // A browser that leaves ends the response with an error that nobody needs.
      pipeline(Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]), outgoing, () => {})
    }, () => {
      if (!outgoing.headersSent) outgoing.writeHead(500)
      outgoing.end()
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void, ServeFailed>((resume) => {
      server.once("error", (cause) => resume(Effect.fail(new ServeFailed({ hostname: host, port, cause }))))
      server.listen(port, host, () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  return { host, port: (server.address() as AddressInfo).port }
})

const withServices = <E>(routes: Layer.Layer<never, E, HttpRouter.HttpRouter>) =>
  Layer.provide(routes, HttpServer.layerServices)

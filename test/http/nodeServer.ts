/**
 * An `HttpServer` of Effect on `node:http`, which all three runtimes have.
 *
 * @module
 */
import { type Context, Effect, Layer, type Scope } from "effect"
import { HttpEffect, HttpServer, type HttpServerRequest } from "effect/http"
import { NetAddress } from "effect/net"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"

type Handler = (request: Request) => Promise<Response>

/** A server on a free port of a host. Requests get status 503 while nothing is served. */
export const layerServer = (
  host: string,
  log: (event: string) => void = () => {}
): Layer.Layer<HttpServer.HttpServer> =>
  Layer.effect(
    HttpServer.HttpServer,
    Effect.gen(function* () {
      let handler: Handler = () => Promise.resolve(new Response("nothing is served", { status: 503 }))
      const server = createServer(async (request, response) => {
        const web = await handler(
          new Request(`http://${request.headers.host}${request.url}`, { method: request.method ?? "GET" })
        )
        response.writeHead(web.status, Object.fromEntries(web.headers))
        if (web.body === null) response.end()
        else Readable.fromWeb(web.body as Parameters<typeof Readable.fromWeb>[0]).pipe(response)
      })
      // An idle connection stays: the end of one would meet a request on its way if the machine is busy.
      server.keepAliveTimeout = 0
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(0, host, () => resume(Effect.void))),
        () =>
          Effect.sync(() => {
            log("server closed")
            server.close()
            server.closeAllConnections()
          })
      )
      const { address, port } = server.address() as AddressInfo
      return HttpServer.make({
        address: NetAddress.inetAddressFromIpStringUnsafe(address, port),
        serve: (app, middleware) =>
          Effect.gen(function* () {
            const context: Context.Context<Scope.Scope> = yield* Effect.context<Scope.Scope>()
            const idle = handler
            handler = HttpEffect.toWebHandlerWith<
              Scope.Scope,
              HttpServerRequest.HttpServerRequest | Scope.Scope,
              never
            >(
              context
            )(app, middleware)
            yield* Effect.addFinalizer(() =>
              Effect.sync(() => {
                log("app ended")
                handler = idle
              })
            )
          })
      })
    })
  )

/**
 * Serves the console on `node:http`, which all three runtimes provide.
 *
 * @module
 */
import { Effect, Layer, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import type { InvalidOption } from "../internal/options.ts"
import * as node from "../monitoring/node.ts"

/**
 * Serves routes until the scope closes, and returns the address. Fails if it cannot listen there.
 *
 * **Details**
 *
 * Responses apply backpressure: a browser that stops reading costs no memory. Closing the scope ends all connections.
 * To serve the console together with your own routes, provide its layer to your `HttpRouter` instead.
 *
 * @stability unstable
 * @since 0.1.0
 * @category running
 */
export const serve: <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter>,
  options: node.ServeOptions
) => Effect.Effect<
  { readonly hostname: string; readonly port: number },
  InvalidOption | node.ServeFailed,
  Scope.Scope
> = Effect.fnUntraced(function* <E>(
  routes: Layer.Layer<never, E, HttpRouter.HttpRouter>,
  options: node.ServeOptions
) {
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() =>
      HttpRouter.toWebHandler(Layer.provide(routes, HttpServer.layerServices), { disableLogger: true })
    ),
    ({ dispose }) => Effect.promise(() => dispose())
  )
  return yield* node.serveAs("WebConsole.serve", handler, options)
})

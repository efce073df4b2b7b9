/**
 * Registers the address that an HTTP server is bound to.
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Effect, Layer, Result } from "effect"
import { HttpServer } from "effect/http"
import { NetAddress } from "effect/net"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import type * as Service from "../registry/model/Service.ts"
import { registerService } from "../registry/registerService.ts"
import type { RegisterOptions } from "../registry/registration/RegisterOptions.ts"
import type { RegistrationError } from "../registry/registration/RegistrationError.ts"
import type { Registry } from "../registry/Registry.ts"
import { logError } from "../internal/log.ts"

/**
 * Options of {@link layer}: those of `registerService`, with what is served instead of `endpoints`.
 *
 * @stability unstable
 * @since 0.1.0
 * @category models
 */
export type Options<M, A, E, R> = Omit<RegisterOptions<M>, "endpoints"> & {
  /** Serves requests with the `HttpServer` of the context, such as `HttpRouter.serve(routes)`. */
  readonly app: Layer.Layer<A, E, R>
  /** The scheme of the endpoint: `"https"` for a server with TLS, or behind a proxy with TLS. Default: `"http"`. */
  readonly scheme?: "http" | "https"
  /** The path of the endpoint, such as `/api`. Default: none. */
  readonly path?: string
}

/**
 * Serves an app and registers the bound address of its server, until the layer is released.
 *
 * **Details**
 *
 * First the app serves, then the instance is registered. On release the registration ends first: it publishes
 * `draining`, waits for `drain`, and removes the key while the app still serves. Then the app ends, and the server
 * last. No layer exists for the registration alone, so every composition has this order.
 *
 * The endpoint is the address of `HttpServer`, so the port may be 0. A wildcard address (`0.0.0.0`, `[::]`) becomes the
 * advertised one, as in `registerService`. Fails as `registerService` does, and with `InvalidOption` for a server on a
 * Unix socket; then the app ends. If the registration fails later, that is logged, and the app keeps running.
 *
 * **Gotchas**
 *
 * Clients notice the end a moment after `draining` is published. Set `drain` to a few seconds, so that they can still
 * reach the app until then. The shutdown timeout of the server must not be shorter than the longest request.
 *
 * **Example**
 *
 * ```ts ignore
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Registry, runMain } from "@effect-etcd/discovery"
 * import { HttpRegistration } from "@effect-etcd/discovery/http"
 * import { Layer } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 * import { createServer } from "node:http"
 *
 * const routes = HttpRouter.add("GET", "/", HttpServerResponse.text("hello"))
 *
 * const main = HttpRegistration.layer("orders", { app: HttpRouter.serve(routes), drain: "5 seconds" }).pipe(
 *   Layer.provide(NodeHttpServer.layer(createServer, { port: 0 })),
 *   Layer.provide(Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] }))
 * )
 *
 * runMain(Layer.launch(main))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layer = <S extends Service.ServiceLike, A, E, R>(
  service: S,
  options: Options<Service.MetadataOf<S>, A, E, R>
): Layer.Layer<A, E | RegistrationError, R | HttpServer.HttpServer | Registry> => {
  const { app, path = "", scheme = "http", ...rest } = options
  const registered = Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    const endpoint = yield* Effect.fromResult(endpointOf(address, scheme, path))
    // `rest` has all members except `endpoints`.
    const registerOptions = { ...rest, endpoints: [endpoint] } as RegisterOptions<Service.MetadataOf<S>>
    const registration = yield* registerService(service, registerOptions)
    yield* registration.awaitFailure.pipe(
      Effect.catch((error) => logError(error.message)),
      Effect.forkScoped
    )
  })
  return Layer.effectDiscard(registered).pipe(Layer.provideMerge(app))
}

const endpointOf = (
  address: NetAddress.SocketAddress,
  scheme: "http" | "https",
  path: string
): Result.Result<string, InvalidOption> =>
  checkOptions("HttpRegistration.layer", (check) => {
    const rule = "it must be a host and a port. Bind the server to a port"
    if (NetAddress.isUnixPathAddress(address)) return check.refuse("HttpServer.address", address.path, rule)
    if (path !== "" && !path.startsWith("/")) return check.refuse("path", path, "it must start with a slash")
    const origin = Result.mapError(NetAddress.toUrl(address, check.oneOf("scheme", scheme, ["http", "https"])), () =>
      rule)
    return check.valid("HttpServer.address", String(address), origin).origin + path
  })

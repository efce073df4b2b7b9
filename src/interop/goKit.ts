/**
 * The format of go-kit, package `sd/etcdv3`: any key under a prefix, with an opaque value.
 *
 * By convention keys are `<prefix>/<host>:<port>`, and a value is a URL or `host:port`.
 *
 * @module
 */
import { Result } from "effect"
import { show } from "../internal/options.ts"
import { withoutUserInfo } from "../internal/text/userInfo.ts"
import { type AddressOptions, authorityOf, endpointOf, onlyEndpoint } from "./address.ts"
import { bytesOf, type Format, format, readText, refuse } from "./format.ts"
import { path } from "./path.ts"

/**
 * Options of {@link goKit}.
 *
 * @since 0.1.0
 * @category options
 */
export interface GoKitOptions extends AddressOptions {
  /**
   * Whether the name of a service is the exact prefix, as in go-kit itself: `orders` then includes `orders-eu/…`. By
   * default (`false`) a slash separates the name and the id.
   */
  readonly exactPrefix?: boolean
}

const url = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#]/i

/**
 * The format of go-kit's `Registrar` and `Instancer`.
 *
 * The name of a service is the prefix, such as `/services/orders`,
 * with or without a trailing slash.
 *
 * **Details**
 *
 * Stores no metadata, weight, zone, version or status, and one endpoint per instance. Endpoints `tcp://host:port` (or
 * with the `scheme` of the options) are written as `host:port`, all others unchanged. The default id is the address.
 *
 * **Example**
 *
 * ```ts
 * import { Service } from "@effect-etcd/discovery"
 * import { goKit } from "@effect-etcd/discovery/interop"
 *
 * const Orders = Service.make("/services/orders", { codec: goKit })
 * // 10.0.0.5:8080 is at /services/orders/10.0.0.5:8080
 * ```
 *
 * @since 0.1.0
 * @category codecs
 */
export const goKit: Format<Readonly<Record<string, string>>, GoKitOptions> = format<
  Readonly<Record<string, string>>,
  GoKitOptions
>(({ exactPrefix = false, scheme = "tcp" }) => ({
  title: "go-kit",
  layout: {
    servicePrefix: (name) => exactPrefix || name.endsWith("/") ? name : `${name}/`,
    checkName: path,
    checkId: path,
    newId: (_, endpoints) => authorityOf(endpoints[0] ?? "")
  },
  encode: (instance) =>
    Result.map(onlyEndpoint(instance), (endpoint) => {
      const start = `${scheme}://`
      const address = endpoint.slice(start.length)
      return bytesOf(endpoint.startsWith(start) && Result.isSuccess(endpointOf(scheme, address)) ? address : endpoint)
    }),
  decode: (name, id, value) =>
    Result.gen(function* () {
      const text = yield* readText(value)
      const isUrl = url.test(text) && URL.canParse(text)
      if (!isUrl && text.includes("://")) return yield* refuse(`${show(withoutUserInfo(text))} is not a URL`)
      const endpoint = isUrl ? text : yield* endpointOf(scheme, text)
      return Object.freeze({
        id,
        name,
        metadata: Object.freeze({}),
        endpoints: Object.freeze([endpoint]),
        weight: 1,
        status: "up" as const
      })
    })
}))

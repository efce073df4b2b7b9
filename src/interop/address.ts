/**
 * Addresses: `host:port` without a scheme. Most formats store these instead of URLs.
 *
 * @module
 */
import { Result } from "effect"
import type { InvalidInstance } from "../registry/model/Codec.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import { show } from "../internal/options.ts"
import { withoutUserInfo } from "../internal/text/userInfo.ts"
import { refuse } from "./format.ts"

/**
 * Options of formats whose addresses have no scheme.
 *
 * @since 0.1.0
 * @category options
 */
export interface AddressOptions {
  /**
   * The scheme to read addresses with, such as `"grpc"`. Encoding fails for endpoints with another scheme. Default:
   * `"tcp"`.
   */
  readonly scheme?: string
}

const address = /^(?:\[[0-9a-f:.%a-z]+\]|[^\s:/?#@[\]\\]+)(?::\d{1,5})?$/i
const withPort = /:\d{1,5}$/

/** The endpoint of an address with a port. */
export const endpointOf = (scheme: string, text: string): Result.Result<string, InvalidInstance> =>
  withPort.test(text) && !text.endsWith(":0") ?
    hostEndpointOf(scheme, text) :
    refuse(`${show(withoutUserInfo(text))} is not an address such as 10.0.0.5:8080`)

/** The endpoint of an address with or without a port. */
export const hostEndpointOf = (scheme: string, text: string): Result.Result<string, InvalidInstance> => {
  const url = `${scheme}://${text}`
  return address.test(text) && URL.canParse(url) ?
    Result.succeed(url) :
    refuse(`${show(withoutUserInfo(text))} is not an address such as 10.0.0.5:8080`)
}

/** Returns the endpoint of an instance, for formats that store exactly one. */
export const onlyEndpoint = ({ endpoints }: ServiceInstance<unknown>): Result.Result<string, InvalidInstance> => {
  const [endpoint, another] = endpoints
  return endpoint === undefined || another !== undefined ?
    refuse("this format has exactly one endpoint for each instance", "endpoints") :
    Result.succeed(endpoint)
}

/** Returns the address of an instance's only endpoint, which must have the scheme. */
export const onlyAddress = (
  scheme: string,
  instance: ServiceInstance<unknown>,
  parse: typeof endpointOf = endpointOf
): Result.Result<string, InvalidInstance> =>
  Result.flatMap(onlyEndpoint(instance), (endpoint) => {
    const start = `${scheme}://`
    return endpoint.startsWith(start) && Result.isSuccess(parse(scheme, endpoint.slice(start.length))) ?
      Result.succeed(endpoint.slice(start.length)) :
      refuse(`this format keeps no scheme: the endpoint must be ${start}host:port and no more`, "endpoints")
  })

/** Host and port of an endpoint. By convention the last segment of these formats' keys. */
export const authorityOf = (endpoint: string): string => /^[^:]+:\/\/(?:[^/?#@]*@)?([^/?#]*)/.exec(endpoint)?.[1] ?? ""

/**
 * The advertised address: the host of an instance that listens on every interface.
 *
 * @module
 */
import { Result } from "effect"
import { networkInterfaces } from "node:os"
import process from "node:process"

const address = /^(?:[0-9a-z._-]+|\[[0-9a-f:.]+\]|[0-9a-f]*:[0-9a-f:.]+)$/i

/** The rule for an advertised address. */
const addressRule = "must be a host name or an IP address, without a port"

/** The sources of the address: the option, then variables, then the interfaces of this machine. */
export interface AdvertiseSources {
  readonly option: string | undefined
  readonly variable: (name: string) => string | undefined
}

/** An environment variable. One that may not be read counts as unset. */
export const processVariable = (name: string): string | undefined => {
  try {
    return process.env[name]
  } catch {
    return undefined
  }
}

/** An address as the host of a URL, in brackets if it is IPv6, or the rule that it breaks. */
export const checkAddress = (value: string): Result.Result<string, string> => {
  if (typeof value !== "string" || !address.test(value) || wildcardHost.test(value)) {
    return Result.fail(`it ${addressRule}`)
  }
  return Result.succeed(value.includes(":") && !value.startsWith("[") ? `[${value}]` : value)
}

/** The address to advertise, or why there is none. */
export const advertised = ({ option, variable }: AdvertiseSources): Result.Result<string, string> => {
  const sources = [
    ["the option advertise", option],
    ["ADVERTISE_ADDRESS", variable("ADVERTISE_ADDRESS")],
    ["POD_IP", variable("POD_IP")]
  ] as const
  for (const [name, value] of sources) {
    if (value !== undefined && value !== "") return Result.mapError(checkAddress(value), () => `${name} ${addressRule}`)
  }
  return firstInterface()
}

const firstInterface = (): Result.Result<string, string> => {
  try {
    const own = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses)
      .filter(({ address, internal }) => !internal && !/^(?:169\.254\.|fe80:)/i.test(address))
    const first = own.find(({ family }) => family === "IPv4") ?? own[0]
    if (first !== undefined) return Result.succeed(first.family === "IPv4" ? first.address : `[${first.address}]`)
  } catch {
    return Result.fail("cannot read the interfaces of this machine; set ADVERTISE_ADDRESS")
  }
  return Result.fail("this machine has no address but loopback; set ADVERTISE_ADDRESS")
}

const wildcard = String.raw`0+(?:\.0+){0,3}|\[[0:]+\]`
const wildcardHost = new RegExp(`^(?:${wildcard}|[0:]+)$`)
const wildcardEndpoint = new RegExp(`^([a-z][a-z0-9+.-]*://)?(?:${wildcard}|(?=:\\d))(?=[:/]|$)(.*)$`, "is")

/** Replaces a host that means every interface (`0.0.0.0`, `[::]`, or none) by the address. */
export const advertise = (
  endpoint: string,
  find: () => Result.Result<string, string>
): Result.Result<string, string> => {
  const found = wildcardEndpoint.exec(endpoint)
  if (found === null) return Result.succeed(endpoint)
  return Result.map(find(), (host) => `${found[1] ?? ""}${host}${found[2] ?? ""}`)
}

/**
 * The address under which others reach what listens on every interface.
 *
 * @module
 */
import { Result } from "effect"
import { networkInterfaces } from "node:os"

/** Without brackets. */
const address = /^(?:[0-9a-z._-]+|\[[0-9a-f:.]+\]|[0-9a-f]*:[0-9a-f:.]+)$/i
const rule = "must be a host name or an IP address, without a port"

/** What is asked in turn for the address. */
export interface AdvertiseSources {
  readonly option: string | undefined
  readonly variable: (name: string) => string | undefined
}

/** The address to advertise, in brackets if it is IPv6, or why there is none. */
export const advertised = ({ option, variable }: AdvertiseSources): Result.Result<string, string> => {
  const named = [
    ["the option advertise", option],
    ["ADVERTISE_ADDRESS", variable("ADVERTISE_ADDRESS")],
    ["POD_IP", variable("POD_IP")]
  ] as const
  for (const [name, value] of named) {
    if (value === undefined || value === "") continue
    if (!address.test(value)) return Result.fail(`${name} ${rule}`)
    return Result.succeed(value.includes(":") && !value.startsWith("[") ? `[${value}]` : value)
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
    return Result.fail("the interfaces of this machine cannot be read; set ADVERTISE_ADDRESS")
  }
  return Result.fail("this machine has no address but loopback; set ADVERTISE_ADDRESS")
}

const unspecified = /^([a-z][a-z0-9+.-]*:\/\/)?(?:0\.0\.0\.0|\[[0:]+\]|(?=:\d))(?=[:/]|$)(.*)$/is

/** An endpoint with the address in the place of a host that means every interface. */
export const advertise = (
  endpoint: string,
  find: () => Result.Result<string, string>
): Result.Result<string, string> => {
  const found = unspecified.exec(endpoint)
  if (found === null) return Result.succeed(endpoint)
  return Result.map(find(), (host) => `${found[1] ?? ""}${host}${found[2] ?? ""}`)
}

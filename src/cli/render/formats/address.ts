/**
 * The addresses of instances. A checked address is safe in every format.
 *
 * @module
 */
import { Result } from "effect"
import { isIP } from "node:net"
import type { ServiceInstance } from "../../../registry/model/Instance.ts"

/** The address of an instance. */
export interface Address {
  /** An IP address without brackets, or a DNS name. */
  readonly host: string
  readonly port: number
  /** 4 or 6, or 0 for a name. */
  readonly family: number
  /** `host:port`, with brackets around an IPv6 address. */
  readonly text: string
}

const dnsName = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i
const defaultPorts: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 }

/** Whether a text is a DNS name: labels of letters, digits and inner hyphens. */
export const isDnsName = (text: string): boolean => dnsName.test(text)

const parse = (endpoint: string): Address | undefined => {
  if (!URL.canParse(endpoint)) return undefined
  const { hostname, port: digits, protocol } = new URL(endpoint)
  const host = hostname.replace(/^\[(.*)\]$/, "$1")
  // An IPv6 zone such as %eth0 is arbitrary text.
  const family = host.includes("%") ? 0 : isIP(host)
  const port = digits === "" ? defaultPorts[protocol] : Number(digits)
  if (port === undefined || (family === 0 && !isDnsName(host))) return undefined
  return { host, port, family, text: `${family === 6 ? `[${host}]` : host}:${port}` }
}

/** Returns the address of the first endpoint that has one. */
export const addressOf = ({ endpoints }: ServiceInstance): Result.Result<Address, string> => {
  for (const endpoint of endpoints) {
    const address = parse(endpoint)
    if (address !== undefined) return Result.succeed(address)
  }
  return Result.fail("no endpoint is host:port")
}

/** Returns the address, for formats that do not resolve names. */
export const ipAddressOf = (instance: ServiceInstance): Result.Result<Address, string> =>
  Result.flatMap(
    addressOf(instance),
    (address) =>
      address.family === 0 ?
        Result.fail("its host is a name, and this format needs IP addresses") :
        Result.succeed(address)
  )

/** Scales weights to whole numbers from 1 to `max`, rounded. Returns 1 for each if all are equal. */
export const scaledWeights = (instances: ReadonlyArray<ServiceInstance>, max: number): ReadonlyArray<number> => {
  const weights = instances.map(({ weight }) => weight)
  // A spread call overflows the stack with some 100,000 arguments.
  const largest = weights.reduce((a, b) => Math.max(a, b), 0)
  return weights.every((weight) => weight === largest) ?
    weights.map(() => 1) :
    weights.map((weight) => Math.max(1, Math.round(weight / largest * max)))
}

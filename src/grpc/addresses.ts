/**
 * The addresses that a gRPC channel gets for a set of instances.
 *
 * @module
 */
import { censusOf, describeCensus } from "../balancing/client/Census.ts"
import { shorten } from "../internal/options.ts"
import { withoutUserInfo } from "../internal/text/userInfo.ts"
import type { InstanceSet } from "../registry/model/InstanceSet.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import { spread } from "./spread.ts"

/** A TCP address in the form that grpc-js takes. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Which addresses a channel gets. */
export interface AddressRules {
  /** The schemes of endpoints that serve gRPC, best first. */
  readonly schemes: ReadonlyArray<string>
  readonly zone: string | undefined
  readonly minLocal: number
}

/** The addresses of a set, and text that says why other instances have none. */
export interface Resolution {
  /** An address occurs as often as the weight of its instance demands. */
  readonly addresses: ReadonlyArray<Address>
  readonly note: string
}

const securePorts: Readonly<Record<string, number>> = { "https:": 443, "grpcs:": 443 }

/** The first endpoint of the best scheme that is an address. Other processes wrote the endpoints, so any text is possible. */
const addressOf = (instance: ServiceInstance<unknown>, schemes: ReadonlyArray<string>): Address | undefined => {
  for (const scheme of schemes) {
    for (const endpoint of instance.endpoints) {
      const url = endpoint.toLowerCase().startsWith(`${scheme}://`) ? URL.parse(endpoint) : null
      if (url === null || url.hostname === "" || url.port === "0") continue
      return {
        host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
        port: url.port === "" ? securePorts[url.protocol] ?? 80 : Number(url.port)
      }
    }
  }
  return undefined
}

const described = ({ endpoints, id }: ServiceInstance<unknown>): string =>
  `${id} (${shorten(endpoints.map(withoutUserInfo).join(", "))})`

/** The addresses of the instances that take traffic, in a fixed order. */
export const resolutionOf = <M>(set: InstanceSet<M>, { minLocal, schemes, zone }: AddressRules): Resolution => {
  const reachable: Array<{ readonly address: Address; readonly instance: ServiceInstance<M> }> = []
  const unfit: Array<ServiceInstance<M>> = []
  for (const instance of set.available) {
    const address = addressOf(instance, schemes)
    if (address === undefined) unfit.push(instance)
    else reachable.push({ address, instance })
  }
  const local = zone === undefined ? [] : reachable.filter(({ instance }) => instance.zone === zone)
  const chosen = local.length >= minLocal && local.length > 0 ? local : reachable
  const details = unfit.length === 0 ?
    describeCensus(censusOf(set, new Map())) :
    `no endpoint with ${schemes.join(", ")}: ${unfit.slice(0, 3).map(described).join("; ")}${
      unfit.length > 3 ? "; …" : ""
    }`
  return {
    addresses: spread(chosen.map(({ address, instance }) => ({ value: address, weight: instance.weight }))),
    note: `at revision ${set.revision}: ${details}`
  }
}

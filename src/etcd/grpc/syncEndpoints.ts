/**
 * Keeps the endpoints of a client equal to the members of the cluster.
 *
 * @module
 */
import { Effect, Result, Schedule } from "effect"
import { isIPv4 } from "node:net"
import type { Member } from "../Administration.ts"
import type { EtcdError } from "../EtcdError.ts"
import { callsOf } from "./administration.ts"
import type { Client } from "./Client.ts"
import { isTransport } from "./failures.ts"
import type { Address } from "./settings.ts"
import { logInfo, logWarning } from "../../internal/log.ts"

/**
 * Reads the member list periodically until the client closes.
 *
 * The configured endpoints stay in use, in case every member was replaced between two reads.
 */
export const syncEndpoints = (client: Client, everyMillis: number): Effect.Effect<void> => {
  const { memberList } = callsOf((method, request) => client.send(method, request))
  let refusal: EtcdError["reason"]["_tag"] | undefined

  const adopt = (members: ReadonlyArray<Member>): Effect.Effect<void> => {
    refusal = undefined
    const before = client.connections.urls
    const addresses = endpointsOf(client, members)
    const after = addresses.map(({ url }) => url)
    if (before.length === after.length && before.every((url) => after.includes(url))) return Effect.void
    client.connections.replace(addresses)
    return logInfo(`the endpoints of etcd are now ${after.join(", ")}`)
  }

  const warn = (error: EtcdError): Effect.Effect<void> => {
    if (isTransport(error.reason) || error.reason._tag === refusal) return Effect.void
    refusal = error.reason._tag
    return logWarning("the endpoints do not follow the members of the cluster", error)
  }

  const sync = Effect.matchEffect(memberList(), {
    onSuccess: ({ members }) => adopt(members),
    onFailure: warn
  })
  return Effect.asVoid(Effect.repeat(sync, Schedule.jittered(Schedule.spaced(everyMillis))))
}

/** The configured endpoints, and those of the members that serve clients. */
const endpointsOf = ({ settings }: Client, members: ReadonlyArray<Member>): ReadonlyArray<Address> => {
  const isLocal = settings.addresses.some(isLoopback)
  const found = members
    // A learner serves no linearizable reads, and a member without a name has not started.
    .filter(({ isLearner, name }) => !isLearner && name !== "")
    .flatMap(({ clientUrls }) => clientUrls.map(settings.addressOf))
    .filter(Result.isSuccess)
    .map(({ success }) => success)
    // etcd advertises localhost by default. On another host, localhost may be another cluster.
    .filter((address) => isLocal || !isLoopback(address))
  const all = new Map([...settings.addresses, ...found].map((address) => [address.url, address]))
  return [...all.values()]
}

const isLoopback = ({ host }: Address): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."))

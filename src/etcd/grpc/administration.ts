/**
 * {@link Administration} over gRPC.
 *
 * @module
 */
import { Duration, Effect, Result, Stream } from "effect"
import { traced } from "../../internal/traced.ts"
import type { Administration, ClusterCalls, MemberCalls, Rpc } from "../Administration.ts"
import type { EtcdError } from "../EtcdError.ts"
import type { Client } from "./Client.ts"
import { type Failure, toError } from "./failures.ts"
import { encodeMemberList } from "./messages/cluster.ts"
import { encodeNothing } from "./messages/wire.ts"
import * as methods from "./methods.ts"
import type { Address } from "./settings.ts"

type Send = <Response>(
  method: methods.Method<Response>,
  request: Uint8Array,
  timeoutMillis?: number
) => Effect.Effect<Response, Failure>

const named = (name: string) => (failure: Failure): EtcdError => toError(failure, name)

/** The administrative calls that any member can answer. */
export const callsOf = (send: Send): ClusterCalls => {
  const unary = <Response>({ decode, name, path, request, timeout }: Rpc<Response>) => {
    const limit = timeout === undefined ? [] : [Duration.toMillis(Duration.fromInputUnsafe(timeout))]
    const inSpan = traced(`etcd.${name}`, { kind: "client" })
    return inSpan(Effect.mapError(send({ path, decode }, request, ...limit), named(name)))
  }
  return {
    unary,
    memberList: ({ serializable = false } = {}) =>
      unary({ ...methods.memberList, name: "memberList", request: encodeMemberList(!serializable) }),
    status: unary({ ...methods.status, name: "status", request: encodeNothing() }),
    alarms: unary({ ...methods.alarms, name: "alarms", request: encodeNothing() })
  }
}

/** The calls to one member. */
const callsTo = (client: Client, address: Address): MemberCalls => ({
  ...callsOf((method, request, timeoutMillis) => client.sendTo(address, method, request, timeoutMillis)),
  serverStream: ({ decode, name, path, request }) =>
    Stream.mapError(client.streamFrom(address, { path, decode }, request), named(name))
})

/** The administration of the cluster that a client is connected to. */
export const makeAdministration = (client: Client): Administration => ({
  ...callsOf((method, request, timeoutMillis) => client.send(method, request, timeoutMillis)),
  at: (endpoint) => Result.map(client.settings.addressOf(endpoint), (address) => callsTo(client, address))
})

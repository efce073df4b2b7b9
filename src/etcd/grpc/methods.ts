/**
 * The RPCs that this package calls: the path of each on the wire, and how its response is decoded.
 *
 * @module
 */
import { decode } from "./messages.ts"

/** An RPC on the wire. */
export interface Method<Response> {
  /** Such as `/etcdserverpb.KV/Range`. */
  readonly path: string
  readonly decode: (bytes: Uint8Array) => Response
}

const method = <Response>(rpc: string, decode: Method<Response>["decode"]): Method<Response> => ({
  path: `/etcdserverpb.${rpc}`,
  decode
})

export const authenticate = method("Auth/Authenticate", decode.token)
export const range = method("KV/Range", decode.range)
export const put = method("KV/Put", decode.put)
export const deleteRange = method("KV/DeleteRange", decode.deleteRange)
export const txn = method("KV/Txn", decode.txn)
export const compact = method("KV/Compact", decode.headerOnly)
export const leaseGrant = method("Lease/LeaseGrant", decode.lease)
export const leaseRevoke = method("Lease/LeaseRevoke", decode.headerOnly)
export const leaseKeepAlive = method("Lease/LeaseKeepAlive", decode.lease)
export const leaseTimeToLive = method("Lease/LeaseTimeToLive", decode.leaseTimeToLive)
export const leaseLeases = method("Lease/LeaseLeases", decode.leaseLeases)
export const watch = method("Watch/Watch", decode.watch)
export const status = method("Maintenance/Status", decode.status)
export const memberList = method("Cluster/MemberList", decode.memberList)
/** The request without fields reads the alarms. */
export const alarms = method("Maintenance/Alarm", decode.alarms)

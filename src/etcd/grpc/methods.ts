/**
 * The RPCs that this package calls: the path of each, and the decoder of its response.
 *
 * @module
 */
import { decodeToken } from "./messages/auth.ts"
import { decodeMemberList } from "./messages/cluster.ts"
import { decodeDeleteRange, decodePut, decodeRange, decodeTxn } from "./messages/kv.ts"
import { decodeLease, decodeLeaseLeases, decodeLeaseTimeToLive } from "./messages/lease.ts"
import { decodeAlarms, decodeStatus } from "./messages/maintenance.ts"
import { decodeWatch } from "./messages/watch.ts"
import { decodeHeaderOnly } from "./messages/wire.ts"

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

export const authenticate = method("Auth/Authenticate", decodeToken)
export const range = method("KV/Range", decodeRange)
export const put = method("KV/Put", decodePut)
export const deleteRange = method("KV/DeleteRange", decodeDeleteRange)
export const txn = method("KV/Txn", decodeTxn)
export const compact = method("KV/Compact", decodeHeaderOnly)
export const leaseGrant = method("Lease/LeaseGrant", decodeLease)
export const leaseRevoke = method("Lease/LeaseRevoke", decodeHeaderOnly)
export const leaseKeepAlive = method("Lease/LeaseKeepAlive", decodeLease)
export const leaseTimeToLive = method("Lease/LeaseTimeToLive", decodeLeaseTimeToLive)
export const leaseLeases = method("Lease/LeaseLeases", decodeLeaseLeases)
export const watch = method("Watch/Watch", decodeWatch)
export const status = method("Maintenance/Status", decodeStatus)
export const memberList = method("Cluster/MemberList", decodeMemberList)
/** The request without fields reads the alarms. */
export const alarms = method("Maintenance/Alarm", decodeAlarms)

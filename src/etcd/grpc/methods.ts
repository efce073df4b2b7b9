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
  /** Whether the calls that begin at the same time are sent first. */
  readonly goesLast?: boolean
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
/**
 * A grant goes last, so that a Txn under its lease can be sent at the same time. The two arrive together, and Go runs the
 * goroutine that became ready last first (`runnext` in `runtime/proc.go`): etcd handles the grant before the Txn in more
 * than nine of ten cases.
 */
export const leaseGrant = { ...method("Lease/LeaseGrant", decodeLease), goesLast: true }
export const leaseRevoke = method("Lease/LeaseRevoke", decodeHeaderOnly)
export const leaseKeepAlive = method("Lease/LeaseKeepAlive", decodeLease)
export const leaseTimeToLive = method("Lease/LeaseTimeToLive", decodeLeaseTimeToLive)
export const leaseLeases = method("Lease/LeaseLeases", decodeLeaseLeases)
export const watch = method("Watch/Watch", decodeWatch)
export const status = method("Maintenance/Status", decodeStatus)
export const memberList = method("Cluster/MemberList", decodeMemberList)
/** The request without fields reads the alarms. */
export const alarms = method("Maintenance/Alarm", decodeAlarms)

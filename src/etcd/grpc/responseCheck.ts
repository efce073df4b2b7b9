/**
 * The check that a response belongs to its request.
 *
 * Nothing that a server sends is trusted: a proxy may confuse its clients, and a server may be broken. Each function
 * finds what is wrong with a response, and returns `undefined` if it can be the answer to the request.
 *
 * @module
 */
import { compareBytes, rangeTest } from "../KeyRange.ts"
import type {
  DeleteRangeResponse,
  KeyValue,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse
} from "../messages/kv.ts"
import type { LeaseGrantRequest, LeaseGrantResponse, LeaseId } from "../messages/lease.ts"

/** etcd counts from revision 1, so 0 means that the response has no header. */
export const ofWrite = ({ header }: PutResponse | DeleteRangeResponse): string | undefined =>
  header.revision > 0n ? undefined : "the server sent no revision"

/** Checks the response to a read. */
export const ofRange = (request: RangeRequest, response: RangeResponse): string | undefined =>
  response.header.revision > 0n ? keysOf(request, response, response.header.revision) : "the server sent no revision"

const isFiltered = (request: RangeRequest): boolean =>
  request.minModRevision !== undefined || request.maxModRevision !== undefined ||
  request.minCreateRevision !== undefined || request.maxCreateRevision !== undefined

const keysOf = (request: RangeRequest, response: RangeResponse, newest: bigint): string | undefined => {
  const { count, kvs, more } = response
  const isInRange = rangeTest(request)
  let before: KeyValue | undefined
  for (const kv of kvs) {
    if (kv.modRevision > newest) return `the server sent a key of revision ${kv.modRevision} as of ${newest}`
    if (request.sort === undefined && before !== undefined) {
      if (compareBytes(before.key, kv.key) >= 0) return "the server sent keys out of order"
    } else if (!isInRange(kv.key)) return "the server sent keys of another range"
    before = kv
  }
  // In ascending order, what lies between two keys of the range lies in it.
  if (before !== undefined && !isInRange(before.key)) return "the server sent keys of another range"
  if (request.countOnly === true || isFiltered(request)) return undefined
  if (more && before === undefined) return "the server sent no keys and says that there are more"
  return !more && count > kvs.length ?
    `the server sent ${kvs.length} of ${count} keys and says that this is all` :
    undefined
}

/** Checks the response to a Txn: one response to each operation of the branch that was applied. */
export const ofTxn = (request: TxnRequest, response: TxnResponse): string | undefined =>
  response.header.revision > 0n ? branchOf(request, response, response.header.revision) : "the server sent no revision"

const branchOf = (request: TxnRequest, { responses, succeeded }: TxnResponse, newest: bigint): string | undefined => {
  const ops = (succeeded ? request.then : request.else) ?? []
  if (ops.length !== responses.length) return `the server answered ${responses.length} of ${ops.length} operations`
  for (const [index, op] of ops.entries()) {
    const violation = operationOf(op, responses[index], newest)
    if (violation !== undefined) return violation
  }
  return undefined
}

const operationOf = (op: RequestOp, response: ResponseOp | undefined, newest: bigint): string | undefined => {
  if (op._tag === "Range" && response?._tag === "Range") return keysOf(op.request, response.response, newest)
  if (op._tag === "Txn" && response?._tag === "Txn") return branchOf(op.request, response.response, newest)
  return op._tag === response?._tag ? undefined : `the server answered a ${op._tag} with another response`
}

/** Checks a granted lease. */
export const ofGrant = ({ id = 0n }: LeaseGrantRequest, granted: LeaseGrantResponse): string | undefined => {
  if (id !== 0n && granted.id !== id) return "the server granted another lease than requested"
  return granted.ttl > 0 ? undefined : "the server granted a lease without time to live"
}

/** Checks that a response is about the lease that was asked for. */
export const ofLease = ({ id }: { readonly id: LeaseId }, response: { readonly id: LeaseId }): string | undefined =>
  response.id === id ? undefined : "the server described another lease than requested"

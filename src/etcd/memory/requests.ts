/**
 * The checks that etcd makes before it reads its data: rules that hold whatever the keys are.
 *
 * The rules, their order and their wording are etcd's (`server/etcdserver/api/v3rpc/key.go`). Numbers that do not fit
 * into the wire format are refused as well; they never reach a server.
 *
 * @module
 */
import { type EtcdErrorReason, InvalidArgument, TooLarge } from "../EtcdError.ts"
import { int64Violation } from "../int64.ts"
import type { Bytes, KeyRange } from "../KeyRange.ts"
import { type ByteText, type Interval, interval, point, toText } from "./keys.ts"
import type {
  CompactRequest,
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest
} from "../messages/kv.ts"
import type { LeaseGrantRequest, LeaseId } from "../messages/lease.ts"
import type { WatchRequest } from "../messages/watch.ts"

/** The reason why a request is refused, if it is. */
export type Refusal = EtcdErrorReason | undefined

/** Seconds. */
const maxLeaseTtl = 9_000_000_000

const invalid = (detail: string): EtcdErrorReason => new InvalidArgument({ detail: `etcdserver: ${detail}` })

const checkKey = ({ key }: KeyRange): Refusal => key.length === 0 ? invalid("key is not provided") : undefined

const checkInt64 = (name: string, value: bigint): Refusal => {
  const detail = int64Violation(name, value)
  return detail === undefined ? undefined : new InvalidArgument({ detail })
}

const checkInteger = (name: string, value = 0): Refusal =>
  Number.isSafeInteger(value) ?
    undefined :
    new InvalidArgument({ detail: `${name} must be a whole number, got ${value}` })

const revisions = [
  "revision",
  "minModRevision",
  "maxModRevision",
  "minCreateRevision",
  "maxCreateRevision"
] as const

export const checkRange = (request: RangeRequest): Refusal =>
  checkKey(request) ??
    checkInteger("limit", request.limit) ??
    firstRefusal(revisions, (name) => checkInt64(name, request[name] ?? 0n))

export const checkDeleteRange = (request: DeleteRangeRequest): Refusal => checkKey(request)

export const checkPut = (request: PutRequest): Refusal =>
  checkKey(request) ??
    checkInt64("lease", request.lease ?? 0n) ??
    (request.ignoreValue === true && request.value.length > 0 ? invalid("value is provided") : undefined) ??
    (request.ignoreLease === true && (request.lease ?? 0n) !== 0n ? invalid("lease is provided") : undefined)

export const checkCompact = ({ revision }: CompactRequest): Refusal => checkInt64("revision", revision)

export const checkLeaseId = (id: LeaseId): Refusal => checkInt64("id", id)

export const checkLeaseGrant = ({ id = 0n, ttl }: LeaseGrantRequest): Refusal =>
  checkInt64("id", id) ??
    checkInteger("ttl", ttl) ??
    (ttl > maxLeaseTtl ? invalid("too large lease TTL") : undefined)

/** A watch of an empty range is refused. A read of one returns nothing. */
export const checkWatch = (request: WatchRequest): Refusal => {
  const { start, end } = interval(request)
  return checkKey(request) ??
    checkInt64("startRevision", request.startRevision ?? 0n) ??
    (end <= start ? new InvalidArgument({ detail: "mvcc: watcher range is empty" }) : undefined)
}

export const checkTxn = (request: TxnRequest, maxOps: number): Refusal =>
  checkTxnOps(request, maxOps) ??
    (writesOf(request.then) === undefined || writesOf(request.else) === undefined ?
      invalid("duplicate key given in txn request") :
      undefined)

const checkTxnOps = (request: TxnRequest, maxOps: number): Refusal => {
  const { compare = [], then = [], else: otherwise = [] } = request
  const ops = Math.max(compare.length, then.length, otherwise.length)
  if (ops > maxOps) return invalid("too many operations in txn request")
  return firstRefusal(compare, checkCompare) ??
    firstRefusal(then, (op) => checkOp(op, maxOps - ops)) ??
    firstRefusal(otherwise, (op) => checkOp(op, maxOps - ops))
}

const checkCompare = (compare: Compare): Refusal =>
  checkKey(compare) ?? (compare.target === "value" ? undefined : checkInt64("compare.value", compare.value))

const checkOp = (op: RequestOp, maxOps: number): Refusal => {
  switch (op._tag) {
    case "Range":
      return checkRange(op.request)
    case "Put":
      return checkPut(op.request)
    case "DeleteRange":
      return checkDeleteRange(op.request)
    case "Txn":
      return checkTxnOps(op.request, maxOps)
  }
}

/** The first refusal among some parts. */
export const firstRefusal = <A>(parts: ReadonlyArray<A>, check: (part: A) => Refusal): Refusal => {
  for (const part of parts) {
    const refusal = check(part)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

interface Writes {
  readonly puts: Set<ByteText>
  readonly deletes: Array<Interval>
}

/**
 * The keys that operations may write, in either branch of nested transactions; `undefined` if one key may be written
 * twice.
 *
 * Deleting a key twice is valid. As in etcd, a deletion "to the end of the keyspace" is ignored here.
 */
const writesOf = (ops: ReadonlyArray<RequestOp> = []): Writes | undefined => {
  const puts = new Set<ByteText>()
  const deletes: Array<Interval> = []
  for (const op of ops) {
    if (op._tag !== "DeleteRange") continue
    const start = toText(op.request.key)
    const end = toText(op.request.rangeEnd ?? "")
    deletes.push(end === "" ? point(start) : { start, end })
  }
  const isDeleted = (key: ByteText): boolean => deletes.some(({ start, end }) => start <= key && key < end)
  for (const op of ops) {
    if (op._tag !== "Txn") continue
    const then = writesOf(op.request.then)
    const otherwise = writesOf(op.request.else)
    if (then === undefined || otherwise === undefined) return undefined
    for (const key of new Set([...then.puts, ...otherwise.puts])) {
      if (puts.has(key) || isDeleted(key)) return undefined
      puts.add(key)
    }
    for (const nested of [then, otherwise]) deletes.push(...nested.deletes)
  }
  for (const op of ops) {
    if (op._tag !== "Put") continue
    const key = toText(op.request.key)
    if (puts.has(key) || isDeleted(key)) return undefined
    puts.add(key)
  }
  return { puts, deletes }
}

/** Refuses a write that is larger than etcd's log accepts. */
export const checkSize = (bytes: number, maxBytes: number): Refusal =>
  bytes > maxBytes ? new TooLarge({ detail: "etcdserver: request is too large" }) : undefined

/** Size of the keys and values of a write, in bytes. */
export const putBytes = ({ key, value }: PutRequest): number => lengthOf(key) + lengthOf(value)

export const txnBytes = (request: TxnRequest): number => {
  let bytes = 0
  for (const { key } of request.compare ?? []) bytes += lengthOf(key)
  for (const op of [...(request.then ?? []), ...(request.else ?? [])]) {
    bytes += op._tag === "Put" ?
      putBytes(op.request) :
      op._tag === "Txn" ?
      txnBytes(op.request) :
      lengthOf(op.request.key)
  }
  return bytes
}

const lengthOf = (bytes: Bytes): number => (typeof bytes === "string" ? toText(bytes) : bytes).length

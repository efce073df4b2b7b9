/**
 * An etcd server of one member. Each method is one synchronous step from request to response.
 *
 * It reads no clock. Before each step, the caller passes the time to {@link Server.advance}, in milliseconds that never
 * go back. That expires leases, so no response contains a key of an expired lease. If no request arrives, advance at
 * the next time in {@link Server.deadlines}.
 *
 * As in etcd, a transaction is checked before it is applied. The state before its first write decides the branches of
 * nested transactions and all refusals. After that nothing fails.
 *
 * @module
 */
import { Duration, Result } from "effect"
import type { AlarmResponse, MemberListResponse, StatusResponse } from "../Administration.ts"
import { Compacted, type EtcdErrorReason, InvalidArgument, LeaseExists, LeaseNotFound } from "../EtcdError.ts"
import { Deadlines } from "../../internal/time/Deadlines.ts"
import { fromText, interval, point, toText } from "./keys.ts"
import { keysOf, type Lease, Leases } from "./Leases.ts"
import type {
  CompactRequest,
  CompactResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RequestOp,
  ResponseOp,
  TxnRequest,
  TxnResponse
} from "../messages/kv.ts"
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseId,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse
} from "../messages/lease.ts"
import type { ResponseHeader } from "../messages/ResponseHeader.ts"
import type { WatchEvent, WatchRequest, WatchResponse } from "../messages/watch.ts"
import { holds, readRange, toKeyValue } from "./reads.ts"
import {
  checkCompact,
  checkDeleteRange,
  checkLeaseGrant,
  checkLeaseId,
  checkPut,
  checkRange,
  checkSize,
  checkTxn,
  checkWatch,
  firstRefusal,
  putBytes,
  type Refusal,
  txnBytes
} from "./requests.ts"
import { exists, Store, type Transaction } from "./Store.ts"
import { type Change, type Message, type Watch, Watchers } from "./Watchers.ts"

/** The client URL of the only member, in the form of an endpoint. */
export const memberUrl = "memory://engine"

/** The options of a server. */
export interface ServerOptions {
  readonly clusterId: bigint
  readonly memberId: bigint
  /** Seconds. */
  readonly minLeaseTtl: number
  readonly maxTxnOps: number
  readonly maxRequestBytes: number
  /** Whether reads without values carry leases. */
  readonly keysOnlyLeases: boolean
}

/** The response to a request, or the reason of its refusal. */
export type Answer<A> = Result.Result<A, EtcdErrorReason>

/** The branch of a transaction that will run. */
interface Branch {
  readonly _tag: "Branch"
  readonly succeeded: boolean
  readonly steps: ReadonlyArray<Leaf | Branch>
}

type Leaf = Exclude<RequestOp, { readonly _tag: "Txn" }>

const raftTerm = 2n
const version = "3.5.0+memory"

const compacted = new Compacted({
  detail: "etcdserver: mvcc: required revision has been compacted",
  compactRevision: 0n
})
const futureRevision = new InvalidArgument({ detail: "etcdserver: mvcc: required revision is a future revision" })
const keyNotFound = new InvalidArgument({ detail: "etcdserver: key not found" })
const leaseNotFound = new LeaseNotFound({ detail: "etcdserver: requested lease not found" })
const leaseExists = new LeaseExists({ detail: "etcdserver: lease already exists" })
const badProgressEvery = new InvalidArgument({ detail: "progressEvery must be positive and finite" })

/** A member of a cluster of one. */
export class Server {
  readonly deadlines: Deadlines = new Deadlines()
  readonly #options: ServerOptions
  readonly #store = new Store()
  readonly #leases = new Leases(this.deadlines, (lease) => this.#end(lease))
  readonly #watchers = new Watchers(this.#store, this.deadlines)
  #now = 0
  /** The raft index: the number of changes. */
  #raftIndex = 0
  #leasesNamed = 0n

  constructor(options: ServerOptions) {
    this.#options = options
  }

  /** Moves the time forward. */
  advance(now: number): void {
    this.#now = now
    this.deadlines.run(now)
  }

  range(request: RangeRequest): Answer<RangeResponse> {
    const refusal = checkRange(request) ?? this.#refuseRevision(request)
    if (refusal !== undefined) return Result.fail(refusal)
    return Result.succeed({
      header: this.#header(),
      ...readRange(this.#store, request, this.#store.revision, this.#options.keysOnlyLeases)
    })
  }

  put(request: PutRequest): Answer<PutResponse> {
    const refusal = checkPut(request) ??
      checkSize(putBytes(request), this.#options.maxRequestBytes) ??
      this.#refuseLease(request) ??
      this.#refuseKeeping(request)
    if (refusal !== undefined) return Result.fail(refusal)
    const answer = this.#write((transaction) => this.#put(transaction, request))
    return Result.succeed({ header: this.#header(), ...answer })
  }

  deleteRange(request: DeleteRangeRequest): Answer<DeleteRangeResponse> {
    const refusal = checkDeleteRange(request)
    if (refusal !== undefined) return Result.fail(refusal)
    const answer = this.#write((transaction) => this.#deleteRange(transaction, request))
    return Result.succeed({ header: this.#header(), ...answer })
  }

  txn(request: TxnRequest): Answer<TxnResponse> {
    const { maxTxnOps, maxRequestBytes } = this.#options
    const refusal = checkTxn(request, maxTxnOps) ?? checkSize(txnBytes(request), maxRequestBytes)
    if (refusal !== undefined) return Result.fail(refusal)
    const branch = this.#choose(request)
    const refusalInBranch = this.#refuseBranch(branch)
    if (refusalInBranch !== undefined) return Result.fail(refusalInBranch)
    const responses = this.#write((transaction) => this.#run(transaction, branch))
    return Result.succeed({ header: this.#header(), succeeded: branch.succeeded, responses })
  }

  leaseGrant(request: LeaseGrantRequest): Answer<LeaseGrantResponse> {
    const refusal = checkLeaseGrant(request)
    if (refusal !== undefined) return Result.fail(refusal)
    const ttl = Math.max(request.ttl, this.#options.minLeaseTtl)
    const id = request.id === undefined || request.id === 0n ? this.#freeLeaseId() : request.id
    if (this.#leases.get(id) !== undefined) return Result.fail(leaseExists)
    this.#raftIndex++
    this.#leases.grant(id, ttl, this.#now)
    return Result.succeed({ header: this.#header(), id, ttl })
  }

  leaseRevoke(id: LeaseId): Answer<LeaseRevokeResponse> {
    const lease = this.#leases.get(id)
    if (lease === undefined) return Result.fail(checkLeaseId(id) ?? leaseNotFound)
    this.#end(lease)
    return Result.succeed({ header: this.#header() })
  }

  leaseTimeToLive({ id, keys = false }: LeaseTimeToLiveRequest): Answer<LeaseTimeToLiveResponse> {
    const refusal = checkLeaseId(id)
    if (refusal !== undefined) return Result.fail(refusal)
    const header = this.#header()
    const lease = this.#leases.get(id)
    if (lease === undefined) return Result.succeed({ header, id, ttl: -1, grantedTtl: 0, keys: [] })
    return Result.succeed({
      header,
      id,
      ttl: Math.trunc((lease.expiry.at - this.#now) / 1000),
      grantedTtl: lease.ttl,
      keys: keys ? keysOf(lease).map(fromText) : []
    })
  }

  leaseLeases(): Answer<LeaseLeasesResponse> {
    return Result.succeed({ header: this.#header(), leases: this.#leases.all.map(({ id }) => id) })
  }

  leaseKeepAlive({ id }: LeaseKeepAliveRequest): Answer<LeaseKeepAliveResponse> {
    const lease = this.#leases.get(id)
    if (lease === undefined) return Result.fail(checkLeaseId(id) ?? leaseNotFound)
    this.#leases.renew(lease, this.#now)
    return Result.succeed({ header: this.#header(), id, ttl: lease.ttl })
  }

  compact(request: CompactRequest): Answer<CompactResponse> {
    const refusal = checkCompact(request)
    if (refusal !== undefined) return Result.fail(refusal)
    const revision = Number(request.revision)
    if (revision <= this.#store.compactRevision) return Result.fail(compacted)
    if (revision > this.#store.revision) return Result.fail(futureRevision)
    this.#raftIndex++
    this.#store.compact(revision)
    return Result.succeed({ header: this.#header() })
  }

  status(): Answer<StatusResponse> {
    return Result.succeed({
      header: this.#header(),
      version,
      dbSize: BigInt(this.#store.bytes),
      leader: this.#options.memberId,
      raftIndex: BigInt(this.#raftIndex),
      raftTerm,
      raftAppliedIndex: BigInt(this.#raftIndex),
      errors: [],
      dbSizeInUse: BigInt(this.#store.bytes),
      isLearner: false
    })
  }

  /** The engine is a cluster of one member. */
  memberList(): Answer<MemberListResponse> {
    const { memberId } = this.#options
    const member = { id: memberId, name: "memory", peerUrls: [], clientUrls: [memberUrl], isLearner: false }
    return Result.succeed({ header: this.#header(), members: [member] })
  }

  /** No alarms: an engine has no quota and no second copy of its data. */
  alarms(): Answer<AlarmResponse> {
    return Result.succeed({ header: this.#header(), alarms: [] })
  }

  /** Starts a watch, which lasts until it is closed. */
  watch(request: WatchRequest): Answer<Watch> {
    const refusal = checkWatch(request)
    if (refusal !== undefined) return Result.fail(refusal)
    const { startRevision = 0n, prevKv = false, filters = [] } = request
    const progressEvery = Duration.toMillis(Duration.fromInputUnsafe(request.progressEvery ?? "10 seconds"))
    if (!(progressEvery > 0 && progressEvery < Infinity)) return Result.fail(badProgressEvery)
    return Result.succeed(this.#watchers.open({
      ...interval(request),
      from: Number(startRevision),
      prevKv,
      puts: !filters.includes("noPut"),
      deletes: !filters.includes("noDelete"),
      progressEvery
    }, this.#now))
  }

  /** The messages of a watch so far, possibly none. */
  takeFrom(watch: Watch): Answer<ReadonlyArray<WatchResponse>> {
    const messages = watch.take(this.#now)
    if (messages !== "compacted") return Result.succeed(messages.map((message) => this.#toWatchResponse(message)))
    const compactRevision = BigInt(this.#store.compactRevision)
    return Result.fail(new Compacted({ detail: compacted.detail, compactRevision }))
  }

  #header(revision = this.#store.revision): ResponseHeader {
    const { clusterId, memberId } = this.#options
    return { clusterId, memberId, revision: BigInt(revision), raftTerm }
  }

  #write<A>(body: (transaction: Transaction) => A): A {
    const transaction = this.#store.begin()
    const answer = body(transaction)
    transaction.commit()
    this.#raftIndex++
    if (transaction.changes.length > 0) this.#watchers.publish(transaction.changes, this.#now)
    return answer
  }

  #put(transaction: Transaction, request: PutRequest): Omit<PutResponse, "header"> {
    const key = toText(request.key)
    const previous = transaction.at(key)
    const value = request.ignoreValue === true ? previous?.value ?? "" : toText(request.value)
    const lease = (request.ignoreLease === true ? previous?.lease : request.lease) ?? 0n
    transaction.put(key, value, lease)
    this.#leases.move(key, previous?.lease ?? 0n, lease)
    return request.prevKv === true && previous !== undefined ? { prevKv: toKeyValue(previous) } : {}
  }

  #deleteRange(
    transaction: Transaction,
    request: DeleteRangeRequest
  ): Omit<DeleteRangeResponse, "header"> {
    const deleted = transaction.delete(interval(request))
    for (const { key, lease } of deleted) this.#leases.move(key, lease, 0n)
    return {
      deleted: BigInt(deleted.length),
      prevKvs: request.prevKv === true ? deleted.map((version) => toKeyValue(version)) : []
    }
  }

  #end(lease: Lease): void {
    const keys = this.#leases.end(lease)
    this.#write((transaction) => {
      for (const key of keys) transaction.delete(point(key))
    })
  }

  #freeLeaseId(): bigint {
    while (true) {
      const id = ((this.#options.memberId & 0x7fffn) << 48n) + ++this.#leasesNamed
      if (this.#leases.get(id) === undefined) return id
    }
  }

  #refuseRevision({ revision = 0n }: RangeRequest): Refusal {
    if (revision > this.#store.revision) return futureRevision
    return revision > 0n && revision < this.#store.compactRevision ? compacted : undefined
  }

  #refuseLease({ lease = 0n }: PutRequest): Refusal {
    return lease !== 0n && this.#leases.get(lease) === undefined ? leaseNotFound : undefined
  }

  /** Refuses `ignoreValue` and `ignoreLease` for a missing key. */
  #refuseKeeping({ ignoreLease = false, ignoreValue = false, key }: PutRequest): Refusal {
    if (!ignoreLease && !ignoreValue) return undefined
    return this.#store.at(toText(key), this.#store.revision) === undefined ? keyNotFound : undefined
  }

  /** The refusal of a put inside a transaction. A put on its own checks its lease first. */
  #refusePut(request: PutRequest): Refusal {
    return this.#refuseKeeping(request) ?? this.#refuseLease(request)
  }

  #refuseBranch(branch: Branch): Refusal {
    const leaves = leavesOf(branch)
    return firstRefusal(leaves, (op) => op._tag === "Put" ? this.#refusePut(op.request) : undefined) ??
      firstRefusal(leaves, (op) => op._tag === "Range" ? this.#refuseRevision(op.request) : undefined)
  }

  #choose(request: TxnRequest): Branch {
    const { compare = [], then = [], else: otherwise = [] } = request
    const succeeded = compare.every((one) => holds(this.#store, one, this.#store.revision))
    const steps = (succeeded ? then : otherwise).map((op) => op._tag === "Txn" ? this.#choose(op.request) : op)
    return { _tag: "Branch", succeeded, steps }
  }

  #run(transaction: Transaction, branch: Branch): ReadonlyArray<ResponseOp> {
    return branch.steps.map((step) => this.#runStep(transaction, step))
  }

  #runStep(transaction: Transaction, step: Leaf | Branch): ResponseOp {
    switch (step._tag) {
      case "Range": {
        const answer = readRange(this.#store, step.request, transaction.revision, this.#options.keysOnlyLeases)
        return { _tag: "Range", response: { header: innerHeader(transaction.revision), ...answer } }
      }
      case "Put": {
        const answer = this.#put(transaction, step.request)
        return { _tag: "Put", response: { header: innerHeader(transaction.revision), ...answer } }
      }
      case "DeleteRange": {
        const answer = this.#deleteRange(transaction, step.request)
        return { _tag: "DeleteRange", response: { header: innerHeader(transaction.revision), ...answer } }
      }
      case "Branch": {
        const responses = this.#run(transaction, step)
        return { _tag: "Txn", response: { header: innerHeader(0), succeeded: step.succeeded, responses } }
      }
    }
  }

  #toWatchResponse(message: Message): WatchResponse {
    const header = this.#header(message.revision)
    switch (message._tag) {
      case "Created":
        return { _tag: "Created", header }
      case "Events":
        return { _tag: "Events", header, events: message.changes.map(toWatchEvent) }
      case "Progress":
        return { _tag: "Progress", header }
    }
  }
}

/** Responses inside a transaction have only the revision in their header, and nested ones nothing, as in etcd. */
const innerHeader = (revision: number): ResponseHeader => ({
  clusterId: 0n,
  memberId: 0n,
  revision: BigInt(revision),
  raftTerm: 0n
})

const leavesOf = (branch: Branch): ReadonlyArray<Leaf> =>
  branch.steps.flatMap((step) => step._tag === "Branch" ? leavesOf(step) : [step])

const toWatchEvent = ({ version, previous }: Change): WatchEvent => ({
  type: exists(version) ? "put" : "delete",
  kv: toKeyValue(version),
  ...(previous === undefined ? {} : { prevKv: toKeyValue(previous) })
})

/**
 * A program on one store: runs its commands, and converts the results to terms that are the same for every store.
 *
 * @module
 */
import { Effect, Queue, type Scope, Stream } from "effect"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { RequestOp } from "../../../src/etcd/messages/kv.ts"
import type { WatchRequest } from "../../../src/etcd/messages/watch.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import { text } from "../conformance/subject.ts"
import {
  allKeys,
  type Command,
  deleteRequest,
  leaseOf,
  type Place,
  putRequest,
  rangeRequest,
  revisionOf,
  txnRequest
} from "./Program.ts"

/** A store with a running program. */
export interface Side {
  readonly etcd: Etcd
  readonly place: Place
  /** Completes when a lease of this many seconds has expired. */
  readonly outlive: (lease: bigint, seconds: number) => Effect.Effect<void, EtcdError>
}

/** Seconds, longer than any program takes. */
const ttl = 600

/** Starts a program. Nothing of earlier programs is visible at or after its first revision. */
export const begin = (
  etcd: Etcd,
  origin: Omit<Place, "base">,
  outlive: Side["outlive"]
): Effect.Effect<Side, EtcdError, Scope.Scope> =>
  Effect.gen(function* () {
    for (const lease of [0, 1]) yield* etcd.leaseGrant({ id: origin.firstLease + BigInt(lease), ttl })
    const { header } = yield* etcd.put({ key: origin.root, value: "" })
    const place = { ...origin, base: header.revision }
    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        yield* Effect.ignore(etcd.deleteRange(prefix(place.root)))
        yield* Effect.forEach([0, 1, 2], (lease) => Effect.ignore(etcd.leaseRevoke(leaseOf(place, lease))))
      })
    )
    return { etcd, place, outlive }
  })

const none = new Set(["clusterId", "memberId", "raftTerm"])
const revisions = new Set(["revision", "createRevision", "modRevision", "compactRevision"])

/** Converts a value of a store to the program's names of keys, revisions and leases. */
export const relative = (place: Place, value: unknown, name = ""): unknown => {
  if (value instanceof Uint8Array) return text(value).replace(place.root, "")
  if (typeof value === "bigint") {
    const origin = revisions.has(name) ? place.base : name === "lease" || name === "id" ? place.firstLease : 0n
    return value === 0n ? 0n : value - origin
  }
  if (Array.isArray(value)) return value.map((item) => relative(place, item))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !none.has(name))
      .map(([name, member]) => [name, relative(place, member, name)])
  )
}

const failure = (place: Place, { reason, method, key }: EtcdError) => ({
  failed: relative(place, { ...reason }),
  method,
  key: key?.replace(place.root, "")
})

/** The result of an operation, or its refusal. */
const outcome = <A>(place: Place, operation: Effect.Effect<A, EtcdError>): Effect.Effect<unknown> =>
  Effect.match(operation, {
    onSuccess: (answer) => relative(place, answer),
    onFailure: (error) => failure(place, error)
  })

/** Runs a command other than `Watch` and returns its result. */
export const carryOut = (
  { etcd, place }: Side,
  command: Exclude<Command, { readonly _tag: "Watch" }>
): Effect.Effect<unknown> => {
  switch (command._tag) {
    case "Range":
      return outcome(place, etcd.range(rangeRequest(place, command)))
    case "Put":
      return outcome(place, etcd.put(putRequest(place, command)))
    case "Delete":
      return outcome(place, etcd.deleteRange(deleteRequest(place, command)))
    case "Txn":
      return outcome(place, etcd.txn(txnRequest(place, command)))
    case "Grant":
      return outcome(place, etcd.leaseGrant({ id: leaseOf(place, command.lease), ttl }))
    case "Revoke":
      return outcome(place, etcd.leaseRevoke(leaseOf(place, command.lease)))
    case "Renew":
      return outcome(place, etcd.leaseKeepAlive({ id: leaseOf(place, command.lease) }))
    case "Compact":
      return outcome(place, etcd.compact({ revision: revisionOf(place, command.later) }))
    case "TimeToLive": {
      const answer = etcd.leaseTimeToLive({ id: leaseOf(place, command.lease), keys: true })
      const comparable = Effect.map(answer, ({ keys, ttl, ...rest }) => ({
        ...rest,
        lives: ttl > 0,
        keys: keys.map(text).sort()
      }))
      return outcome(place, comparable)
    }
    case "Leases": {
      const ours = [0, 1, 2].map((lease) => leaseOf(place, lease))
      return outcome(
        place,
        Effect.map(
          etcd.leaseLeases,
          ({ header, leases }) => ({ header, leases: ours.map((id) => leases.includes(id)) })
        )
      )
    }
  }
}

/**
 * Seconds of a lease that expires. A busy server must complete a few writes in this time: a lease that expires before its
 * keys are written would be a difference.
 */
const shortTtl = 4

/** Lets a lease with some keys expire, in one step, because a server cannot be paused for it. */
export const letExpire = ({ etcd, outlive, place }: Side, names: ReadonlyArray<Uint8Array>): Effect.Effect<unknown> => {
  const id = leaseOf(place, 4)
  return outcome(
    place,
    Effect.gen(function* () {
      const { ttl } = yield* etcd.leaseGrant({ id, ttl: shortTtl })
      yield* Effect.forEach(names, (key) => etcd.put({ key, value: "expires", lease: id }))
      yield* etcd.leaseKeepAlive({ id })
      yield* outlive(id, ttl)
      const { header, kvs } = yield* etcd.range(prefix(place.root))
      return { header, kvs, ttl: (yield* etcd.leaseTimeToLive({ id })).ttl }
    })
  )
}

/** Writes and deletes every key, so that each watch receives events. */
export const finish = ({ etcd, place }: Side): Effect.Effect<unknown> => {
  const keys = allKeys(place)
  const puts = keys.map((key): RequestOp => ({ _tag: "Put", request: { key, value: "last" } }))
  const deletes = keys.map((key): RequestOp => ({ _tag: "DeleteRange", request: { key } }))
  return Effect.all([outcome(place, etcd.txn({ then: puts })), outcome(place, etcd.txn({ then: deletes }))])
}

/** The messages of a watch that were not taken yet: creation, events, failure. */
export type Reports = Queue.Queue<unknown>

/** Opens a watch and waits until it is created. */
export const startWatch = (
  { etcd, place }: Side,
  request: WatchRequest
): Effect.Effect<Reports, never, Scope.Scope> =>
  Effect.gen(function* () {
    const reports = yield* Queue.unbounded<unknown>()
    yield* etcd.watch(request).pipe(
      Stream.runForEach((response) => {
        switch (response._tag) {
          case "Created":
            return Queue.offer(reports, relative(place, response))
          case "Events":
            return Queue.offerAll(reports, response.events.map((event) => relative(place, event)))
          case "Progress":
            return Effect.void
        }
      }),
      Effect.catch((error) => Queue.offer(reports, failure(place, error))),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Queue.peek(reports)
    return reports
  })

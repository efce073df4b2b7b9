/**
 * Ten stores that break one rule each, to prove that the conformance suite detects it.
 *
 * Each is a correct `Etcd` behind a wrapper that breaks the rule, as a careless implementation might.
 *
 * @module
 */
import { Effect } from "effect"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import { toBytes } from "../../../src/etcd/KeyRange.ts"
import type { RequestOp } from "../../../src/etcd/messages/kv.ts"
import type { WatchRequest } from "../../../src/etcd/messages/watch.ts"
import { text } from "./subject.ts"

/** A wrong store. */
export interface Broken {
  /** The rule that it breaks. */
  readonly rule: string
  /** The title of a check that must fail. */
  readonly caughtBy: string
  readonly wrap: (etcd: Etcd) => Etcd
}

const byText = (self: Uint8Array, that: Uint8Array): number => text(self) < text(that) ? -1 : 1

const later = ({ startRevision = 0n, ...request }: WatchRequest): WatchRequest => ({
  ...request,
  startRevision: startRevision === 0n ? 0n : startRevision + 1n
})

export const brokenStores: ReadonlyArray<Broken> = [
  {
    rule: "keys are ordered by bytes",
    caughtBy: "range orders keys by bytes, not by UTF-16",
    wrap: (etcd) => ({
      ...etcd,
      range: (request) =>
        Effect.map(
          etcd.range(request),
          (answer) =>
            request.sort === undefined ?
              { ...answer, kvs: answer.kvs.toSorted((self, that) => byText(self.key, that.key)) } :
              answer
        )
    })
  },
  {
    rule: "the number of keys in a range does not depend on the limit",
    caughtBy: "range with a limit returns that many keys, whether there are more, and the total count",
    wrap: (etcd) => ({
      ...etcd,
      range: (request) =>
        Effect.map(
          etcd.range(request),
          (answer) => request.countOnly === true ? answer : { ...answer, count: BigInt(answer.kvs.length) }
        )
    })
  },
  {
    rule: "deleting nothing creates no revision",
    caughtBy: "deleteRange of nothing succeeds and creates no revision",
    wrap: (etcd) => ({
      ...etcd,
      deleteRange: (request) =>
        Effect.gen(function* () {
          const answer = yield* etcd.deleteRange(request)
          if (answer.deleted === 0n) {
            yield* etcd.put({ key: "broken", value: "" })
            yield* etcd.deleteRange({ key: "broken" })
          }
          return answer
        })
    })
  },
  {
    rule: "a key with an expired lease is not written",
    caughtBy: "put with an expired lease fails with LeaseNotFound and writes nothing",
    wrap: (etcd) => ({
      ...etcd,
      put: (request) =>
        Effect.catch(
          etcd.put(request),
          (error) => error.reason._tag === "LeaseNotFound" ? etcd.put({ ...request, lease: 0n }) : Effect.fail(error)
        )
    })
  },
  {
    rule: "a key that moves to another lease leaves its old one",
    caughtBy: "put moves a key to another lease: it survives the end of the first lease, not of the second",
    wrap: (etcd) => {
      const everAttached = new Map<bigint, Array<string>>()
      return {
        ...etcd,
        put: (request) =>
          Effect.tap(etcd.put(request), () =>
            Effect.sync(() => {
              const { lease = 0n } = request
              everAttached.set(lease, [...everAttached.get(lease) ?? [], text(toBytes(request.key))])
            })),
        leaseRevoke: (id) =>
          Effect.tap(
            etcd.leaseRevoke(id),
            () => Effect.forEach(everAttached.get(id) ?? [], (key) => etcd.deleteRange({ key }))
          )
      }
    }
  },
  {
    rule: "revoking a lease deletes its keys at one revision",
    caughtBy: "leaseRevoke deletes all keys of the lease at one revision, in key order",
    wrap: (etcd) => ({
      ...etcd,
      leaseRevoke: (id) =>
        Effect.gen(function* () {
          const { keys } = yield* etcd.leaseTimeToLive({ id, keys: true })
          yield* Effect.forEach(keys, (key) => etcd.deleteRange({ key }))
          return yield* etcd.leaseRevoke(id)
        })
    })
  },
  {
    rule: "a transaction reads its own writes",
    caughtBy: "txn reads its own earlier writes",
    wrap: (etcd) => {
      const isRead = (op: RequestOp) => op._tag === "Range"
      return {
        ...etcd,
        txn: (request) =>
          Effect.gen(function* () {
            const before = yield* etcd.txn({ ...request, then: request.then?.filter(isRead) ?? [], else: [] })
            const answer = yield* etcd.txn(request)
            if (!answer.succeeded) return answer
            const reads = [...before.responses]
            const responses = answer.responses.map((one) => one._tag === "Range" ? reads.shift() ?? one : one)
            return { ...answer, responses }
          })
      }
    }
  },
  {
    rule: "a transaction has one revision",
    caughtBy: "txn applies all writes at one revision, and a watch receives them together in order",
    wrap: (etcd) => ({
      ...etcd,
      txn: (request) =>
        Effect.gen(function* () {
          const [first, ...rest] = request.then ?? []
          if (first?._tag !== "Put") return yield* etcd.txn(request)
          const head = yield* etcd.txn({ ...request, then: [first] })
          if (!head.succeeded) return head
          const tail = yield* etcd.txn({ then: rest })
          return { ...tail, responses: [...head.responses, ...tail.responses] }
        })
    })
  },
  {
    rule: "a watch starts at its start revision, not after it",
    caughtBy: "watch that starts exactly at a deletion emits the deletion first",
    wrap: (etcd) => ({ ...etcd, watch: (request) => etcd.watch(later(request)) })
  },
  {
    rule: "history before the compact revision cannot be read",
    caughtBy: "compact makes reads before its revision fail with Compacted, and no others",
    wrap: (etcd) => ({
      ...etcd,
      range: (request) =>
        Effect.catch(
          etcd.range(request),
          (error) => error.reason._tag === "Compacted" ? etcd.range({ ...request, revision: 0n }) : Effect.fail(error)
        )
    })
  }
]

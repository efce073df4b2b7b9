/**
 * The Txns of claims, batched: claims that are ready at the same time go to etcd as nested Txns of one Txn.
 *
 * Each keeps its own compare and its own result. Claims that arrive while two batches are in flight wait and form the
 * next one, which is sent when it is full or when another one has ended. A single claim does not wait. The claims of a
 * batch have one time limit, which is that of its Txn. It begins when the Txn is sent.
 *
 * @module
 */
import { Effect, Exit, Request, RequestResolver } from "effect"
import type { Etcd } from "../../etcd/Etcd.ts"
import { EtcdError, Unknown } from "../../etcd/EtcdError.ts"
import type { TxnRequest, TxnResponse } from "../../etcd/messages/kv.ts"
import type { LeaseId } from "../../etcd/messages/lease.ts"
import { within } from "../../etcd/leaseCalls.ts"
import type { Timers } from "../../internal/time/Timers.ts"

/** Puts a key if its mod revision is `expected` (`0n`: if it does not exist), and reads it otherwise. */
export interface PutIf {
  readonly key: string
  readonly expected: bigint
  readonly value: Uint8Array
  readonly lease: LeaseId
  /** How long the Txn may take. Default: as long as the client lets it. */
  readonly limitMillis?: number
}

/** The Txn of one {@link PutIf}. */
export const txnOf = ({ expected, key, lease, value }: PutIf): TxnRequest => ({
  compare: [{ target: "mod", key, result: "equal", value: expected }],
  then: [{ _tag: "Put", request: { key, value, lease } }],
  else: [{ _tag: "Range", request: { key } }]
})

class ClaimRequest extends Request.Class<{ readonly putIf: PutIf }, TxnResponse, EtcdError> {}

type Entry = Request.Entry<ClaimRequest>

/** etcd accepts 126 nested Txns in one, by default. */
const maxBatch = 100

/** etcd refuses requests of more than 1.5 MiB. */
const maxBatchBytes = 1024 * 1024

const maxInFlight = 2

/** Splits entries into batches of distinct keys that are small enough: etcd refuses a Txn that puts a key twice. */
const batchesOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<ReadonlyArray<Entry>> => {
  const batches: Array<{ readonly entries: Array<Entry>; readonly keys: Set<string>; bytes: number }> = []
  for (const entry of entries) {
    const { key, value } = entry.request.putIf
    const bytes = key.length * 4 + value.length
    let batch = batches.find(({ entries, keys, ...batch }) =>
      entries.length < maxBatch && !keys.has(key) && batch.bytes + bytes <= maxBatchBytes
    )
    if (batch === undefined) {
      batch = { entries: [], keys: new Set(), bytes: 0 }
      batches.push(batch)
    }
    batch.entries.push(entry)
    batch.keys.add(key)
    batch.bytes += bytes
  }
  return batches.map(({ entries }) => entries)
}

const incomplete = new EtcdError({
  reason: new Unknown({ detail: "the response to a Txn lacks the response to a Txn inside it" }),
  method: "txn"
})

/** Sends the claims of one etcd. */
export const make = (etcd: Etcd, timers: Timers): (putIf: PutIf) => Effect.Effect<TxnResponse, EtcdError> => {
  let inFlight = 0
  const waiting = new Set<() => void>()

  const slot: Effect.Effect<void> = Effect.suspend(() =>
    inFlight < maxInFlight ? Effect.void : Effect.callback<void>((resume) => {
      const wake = () => resume(slot)
      waiting.add(wake)
      return Effect.sync(() => waiting.delete(wake))
    })
  )

  const txn = (request: TxnRequest, limitMillis: number | undefined) =>
    limitMillis === undefined ? etcd.txn(request) : within(etcd.txn(request), timers, "txn", limitMillis)

  const sendAlone = (entry: Entry): Effect.Effect<void> => {
    const { putIf } = entry.request
    return Effect.map(Effect.exit(txn(txnOf(putIf), putIf.limitMillis)), (exit) => entry.completeUnsafe(exit))
  }

  const sendTogether = (entries: ReadonlyArray<Entry>): Effect.Effect<void> =>
    Effect.matchEffect(
      txn(
        { then: entries.map(({ request }) => ({ _tag: "Txn", request: txnOf(request.putIf) })) },
        entries[0]?.request.putIf.limitMillis
      ),
      {
        // etcd refuses the whole batch for one missing lease or permission. Then each claim is sent alone.
        onFailure: (error) =>
          error.retryable ?
            Effect.sync(() => entries.forEach((entry) => entry.completeUnsafe(Exit.fail(error)))) :
            Effect.forEach(entries, sendAlone, { concurrency: "unbounded", discard: true }),
        onSuccess: ({ header, responses }) =>
          Effect.sync(() => {
            for (const [index, entry] of entries.entries()) {
              const answer = responses[index]
              // A nested response has no revision of its own.
              entry.completeUnsafe(
                answer?._tag === "Txn" ? Exit.succeed({ ...answer.response, header }) : Exit.fail(incomplete)
              )
            }
          })
      }
    )

  const send = (entries: ReadonlyArray<Entry>): Effect.Effect<void> => {
    const [first, second] = entries
    return first !== undefined && second === undefined ? sendAlone(first) : sendTogether(entries)
  }

  const resolver = RequestResolver.makeWith<ClaimRequest>({
    batchKey: ({ request }) => request.putIf.limitMillis,
    delay: slot,
    collectWhile: (entries) => entries.size < maxBatch,
    runAll: (entries) =>
      Effect.suspend(() => {
        inFlight += 1
        const batches = batchesOf(entries)
        return Effect.forEach(batches, send, { concurrency: batches.length, discard: true })
      }).pipe(Effect.ensuring(Effect.sync(() => {
        inFlight -= 1
        const woken = [...waiting]
        waiting.clear()
        for (const wake of woken) wake()
      })))
  })

  return (putIf) => Effect.request(new ClaimRequest({ putIf }), resolver)
}

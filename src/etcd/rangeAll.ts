import { Effect } from "effect"
import type { Etcd } from "./Etcd.ts"
import { EtcdError, Unavailable, Unknown } from "./EtcdError.ts"
import { after, type Bytes, compareBytes, rangeTest, toBytes } from "./KeyRange.ts"
import type { KeyValue, RangeRequest, RangeResponse } from "./messages/kv.ts"

/** The number of keys in the first page. Later pages have about {@link pageBytes}. */
const pageLimit = 2000

/** How often a read starts over because its revision was compacted. */
const maxRestarts = 5

/** Small enough to share the connection with other calls, and large enough to hide the round trip. */
const pageBytes = 4 * 1024 * 1024

/**
 * Reads a range of any size at one revision, in pages.
 *
 * **Details**
 *
 * The first page is linearizable and sets the revision of the others. If that revision is compacted in between, or the
 * history is replaced, the read starts over, up to five times. A page that is too large for one response is read again
 * in smaller ones. The header is that of the first page. `limit` and `sort` do not apply. Fails with `Unavailable` if a
 * page has keys of another range, which a faulty proxy may send.
 *
 * @since 0.1.0
 * @category ranges
 */
export const rangeAll: (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
) => Effect.Effect<RangeResponse, EtcdError> = Effect.fnUntraced(function* (
  etcd: Etcd,
  request: Omit<RangeRequest, "limit" | "sort" | "countOnly">
): Effect.fn.Return<RangeResponse, EtcdError> {
  const isInRange = rangeTest(request)
  let limit = pageLimit
  let maxKeys = Infinity
  let key: Bytes = request.key
  let kvs: Array<KeyValue> = []
  let first: RangeResponse | undefined
  let restarts = 0
  while (true) {
    const revision = request.revision ?? first?.header.revision
    const page: Effect.Effect<RangeResponse, EtcdError> = etcd.range({
      ...request,
      key,
      limit,
      ...(revision === undefined ? {} : { revision })
    })
    const answer = yield* Effect.result(page)
    if (answer._tag === "Failure") {
      const reason = answer.failure.reason._tag
      if (reason === "TooLarge" && limit > 1) {
        maxKeys = limit = Math.max(1, limit >> 2)
      } else if (
        // The history of this revision was compacted, or replaced by one that has not come so far.
        (reason === "Compacted" || reason === "InvalidArgument") && request.revision === undefined &&
        first !== undefined && restarts < maxRestarts
      ) {
        restarts += 1
        first = undefined
        key = request.key
        kvs = []
      } else {
        return yield* answer.failure
      }
      continue
    }
    const { kvs: more } = answer.success
    const [next] = more
    // A page is sorted by key: if its first and last key lie in the range, all do.
    if ([next, more.at(-1)].some((kv) => kv !== undefined && !isInRange(kv.key))) {
      const reason = new Unavailable({ detail: "the server sent keys of another range" })
      return yield* new EtcdError({ reason, method: "range", key: new TextDecoder().decode(toBytes(request.key)) })
    }
    if (next !== undefined && compareBytes(next.key, toBytes(key)) < 0) return yield* outOfOrder
    first ??= answer.success
    if (answer.success.header.clusterId !== first.header.clusterId) return yield* ofTwoClusters
    let bytes = 0
    for (const kv of more) {
      bytes += kv.key.length + kv.value.length
      kvs.push(kv)
    }
    const last = more.at(-1)
    if (!answer.success.more || last === undefined) {
      return { header: first.header, kvs, more: false, count: BigInt(kvs.length) }
    }
    key = after(last.key)
    limit = Math.min(maxKeys, Math.max(1, Math.floor(more.length * pageBytes / bytes)))
  }
})

/** A load balancer may lead to two clusters. */
const ofTwoClusters = new EtcdError({
  reason: new Unavailable({ detail: "the pages of a range come from two clusters" }),
  method: "range"
})

/** Without this check, a server that repeats keys would be read forever. */
const outOfOrder = new EtcdError({
  reason: new Unknown({ detail: "the server returned a page of keys that it had returned before" }),
  method: "range"
})

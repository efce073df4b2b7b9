import assert from "node:assert/strict"
import { describe, it } from "node:test"
import { Compacted, EtcdError, type EtcdErrorReason, PermissionDenied, Unavailable } from "../../src/etcd/EtcdError.ts"
import { initial, type Input, isReplaced, type State, step } from "../../src/etcd/followState.ts"
import type { KeyValue } from "../../src/etcd/messages/kv.ts"
import type { ResponseHeader } from "../../src/etcd/messages/ResponseHeader.ts"
import type { WatchEvent } from "../../src/etcd/messages/watch.ts"

const header = (revision: bigint, other: Partial<ResponseHeader> = {}): ResponseHeader => ({
  clusterId: 1n,
  memberId: 1n,
  raftTerm: 2n,
  revision,
  ...other
})

const kv = (modRevision: bigint): KeyValue => ({
  key: new Uint8Array([97]),
  value: new Uint8Array(),
  createRevision: modRevision,
  modRevision,
  version: 1n,
  lease: 7n
})

const put = (modRevision: bigint): WatchEvent => ({ type: "put", kv: kv(modRevision) })

const failed = (reason: EtcdErrorReason): Input => ({
  _tag: "Failed",
  error: new EtcdError({ reason, method: "watch" })
})

const unavailable = failed(new Unavailable({ detail: "away" }))
const refused = failed(new PermissionDenied({ detail: "no" }))
const compacted = failed(new Compacted({ detail: "gone", compactRevision: 9n }))
const listed: Input = { _tag: "Listed", header: header(5n), kvs: [kv(3n), kv(4n)] }
const created: Input = { _tag: "Created", header: header(5n) }
const events = (...revisions: ReadonlyArray<bigint>): Input => ({
  _tag: "Events",
  header: header(revisions.at(-1) ?? 0n),
  events: revisions.map(put)
})

/** Applies inputs in order, each at its second; one line for each step. */
const run = (from: State, inputs: ReadonlyArray<readonly [seconds: number, input: Input]>) => {
  let state = from
  const lines = inputs.map(([seconds, input]) => {
    const next = step(state, input, seconds * 1000)
    state = next.state
    const at = state._tag === "Listing" ? "" : ` ${state.position.next}`
    return `${state._tag}${at} ${next.report?._tag ?? "-"}${next.retry === undefined ? "" : ` ${next.retry}`}`
  })
  return { lines, state }
}

const fresh = initial(undefined, false)

describe("follow's state machine", () => {
  it("step lists, watches from the next revision and moves on with each change", () => {
    const { lines, state } = run(fresh, [
      [0, listed],
      [0, created],
      [1, events(6n, 8n)],
      [2, { _tag: "Progress", header: header(20n) }]
    ])
    assert.deepEqual(lines, ["Watching 6 Listed", "Watching 6 -", "Watching 9 Changed", "Watching 21 -"])
    assert.ok(state._tag === "Watching")
    assert.deepEqual([state.position.lastWrite?.modRevision, state.position.lastWrite?.lease], [8n, 7n])
  })

  it("step drops events that it reported before, and reports nothing if none is left", () => {
    const { state } = run(fresh, [[0, listed]])
    const next = step(state, events(4n, 6n), 0)
    assert.ok(next.report?._tag === "Changed")
    assert.deepEqual(next.report.events.map(({ kv }) => kv.modRevision), [6n])
    assert.deepEqual(step(state, events(4n, 5n), 0), { state })
  })

  it("step reports one interruption, and a recovery only when nothing can have been missed", () => {
    const watching = run(fresh, [[0, listed], [0, created]]).state
    assert.deepEqual(run(watching, [[1, unavailable], [2, unavailable], [3, created]]).lines, [
      "Interrupted 6 Interrupted backoff",
      "Interrupted 6 - backoff",
      // etcd is still at revision 5.
      "Watching 6 Resumed"
    ])
    const behind = run(watching, [[1, unavailable], [2, { _tag: "Created", header: header(9n) }]])
    assert.equal(behind.lines[1], "Interrupted 6 -")
    assert.ok(behind.state._tag === "Interrupted" && behind.state.isOpen)
    assert.deepEqual(run(behind.state, [[3, events(7n)]]).lines, ["Watching 8 Changed"])
    assert.deepEqual(run(behind.state, [[3, { _tag: "CaughtUp" }]]).lines, ["Watching 6 Resumed"])
    assert.deepEqual(run(behind.state, [[3, { _tag: "Progress", header: header(9n) }]]).lines, ["Watching 10 Resumed"])
    assert.deepEqual(
      run(behind.state, [[3, unavailable], [4, { _tag: "CaughtUp" }]]).lines[0],
      "Interrupted 6 - backoff"
    )
  })

  it("step lists again at once after a compaction, but backs off if the last list was less than 10 s ago", () => {
    const watching = run(fresh, [[0, listed], [0, created]]).state
    assert.deepEqual(
      run(watching, [[10, compacted], [10, listed], [10, created], [11, compacted], [12, compacted]]).lines,
      [
        "Listing - now",
        "Watching 6 Listed",
        "Watching 6 -",
        "Listing Interrupted backoff",
        "Listing - backoff"
      ]
    )
  })

  it("step backs off when the list itself is compacted", () => {
    assert.deepEqual(run(fresh, [[0, compacted], [60, compacted]]).lines, [
      "Listing Interrupted backoff",
      "Listing - backoff"
    ])
  })

  it("step keeps an interruption over a compaction, and the list ends it", () => {
    const watching = run(fresh, [[0, listed], [0, created]]).state
    assert.deepEqual(run(watching, [[20, unavailable], [21, compacted], [22, unavailable], [23, listed]]).lines, [
      "Interrupted 6 Interrupted backoff",
      "Listing - now",
      "Listing - backoff",
      "Watching 6 Listed"
    ])
  })

  it("step gives up on a refusal only until etcd has accepted the request once (D7)", () => {
    assert.deepEqual(run(fresh, [[0, refused]]).lines, ["Listing - never"])
    assert.deepEqual(run(initial(5n, false), [[0, refused]]).lines, ["Watching 6 - never"])
    assert.deepEqual(run(initial(5n, true), [[0, refused]]).lines, ["Interrupted 6 Interrupted slowly"])
    assert.deepEqual(run(fresh, [[0, unavailable], [1, listed], [2, refused], [3, refused]]).lines, [
      "Listing Interrupted backoff",
      "Watching 6 Listed",
      "Interrupted 6 Interrupted slowly",
      "Interrupted 6 - slowly"
    ])
    assert.deepEqual(run(initial(5n, false), [[0, created], [1, refused]]).lines[1], "Interrupted 6 Interrupted slowly")
  })

  it("isReplaced detects another cluster, a lower term and a lower revision", () => {
    const { state } = run(fresh, [[0, listed], [0, created]])
    assert.deepEqual(
      [
        header(5n),
        header(500n),
        header(4n),
        header(9n, { clusterId: 2n }),
        header(9n, { raftTerm: 1n }),
        header(9n, { raftTerm: 3n, memberId: 2n })
      ].map((found) => isReplaced(state, found)),
      [false, false, true, true, true, false]
    )
    assert.equal(isReplaced(fresh, header(1n)), false)
    assert.equal(isReplaced(initial(5n, false), header(4n)), true)
  })
})

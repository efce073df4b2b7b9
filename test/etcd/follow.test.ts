import { Duration, Effect, Fiber, Latch, Schedule, Stream } from "effect"
import assert from "node:assert/strict"
import { follow } from "../../src/etcd/follow.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import type { WatchResponse } from "../../src/etcd/messages/watch.ts"
import { describe, live } from "../harness/it.ts"

const header = { clusterId: 1n, memberId: 1n, raftTerm: 1n }

/** The change of one revision. */
const change = (revision: bigint): WatchResponse => ({
  _tag: "Events",
  header: { ...header, revision },
  events: [{
    type: "put",
    kv: {
      key: new Uint8Array([97]),
      value: new Uint8Array(),
      createRevision: revision,
      modRevision: revision,
      version: 1n,
      lease: 0n
    }
  }]
})

/** Keeps the thread busy. */
const work = (millis: number): void => {
  const until = performance.now() + millis
  while (performance.now() < until);
}

describe("follow", () => {
  live(
    "follow yields to the event loop while it takes many responses that arrived together",
    () =>
      Effect.gen(function* () {
        const etcd = yield* EtcdMemory.make()
        const responses = Array.from({ length: 60 }, (_, index) => change(BigInt(index + 2)))
        const watch = () => Stream.concat(Stream.fromArray(responses), Stream.never)
        const hasAll = yield* Latch.make()
        let reports = 0
        let turns = 0
        const count = () => {
          turns += 1
          if (reports < responses.length) setTimeout(count, 0)
        }
        const options = {
          range: { key: "a" },
          knownAt: 1n,
          progressEvery: Duration.seconds(10),
          progressTimeout: Duration.seconds(5),
          retry: Schedule.forever
        }
        setTimeout(count, 0)
        const following = yield* Effect.forkChild(follow({ ...etcd, watch }, options, () => {
          work(2)
          reports += 1
          if (reports === responses.length) hasAll.openUnsafe()
          return undefined
        }))
        yield* hasAll.await
        yield* Fiber.interrupt(following)
        assert.equal(reports, responses.length)
        // 120 ms of work in slices of 5 ms. Without slices, the first turn comes after all of it.
        assert.ok(turns >= 5, `${turns} turns`)
      })
  )
})

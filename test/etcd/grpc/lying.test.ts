import { Effect, Logger } from "effect"
import assert from "node:assert/strict"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eventCheck } from "../../../src/etcd/grpc/watchRange.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { event, header, startFake, type WatchAsk } from "./fakeEtcd.ts"
import { watching } from "./support.ts"

interface Lie {
  readonly title: string
  /** What the server sends after it has answered the creation at revision 10. */
  readonly then: (send: (response: object) => void, id: string) => void
  readonly detail: string
}

const lies: ReadonlyArray<Lie> = [
  {
    title: "an event outside of the watch's range",
    then: (send, watch_id) => send({ header: header(11), watch_id, events: [event("b/1", 11)] }),
    detail: "the server sent an event of another watch"
  },
  {
    title: "an older revision after a newer one",
    then: (send, watch_id) => {
      send({ header: header(12), watch_id, events: [event("a/1", 12)] })
      send({ header: header(12), watch_id, events: [event("a/1", 11)] })
    },
    detail: "the server sent an event of revision 11 after 12"
  },
  {
    title: "another cluster in mid-stream",
    then: (send, watch_id) => send({ header: header(11, 8), watch_id, events: [event("a/1", 11)] }),
    detail: "the server belongs to another cluster than before"
  },
  {
    title: "a creation that was not requested",
    then: (send) => send({ header: header(11), watch_id: "99", created: true }),
    detail: "the server answered a creation that was never sent"
  },
  {
    title: "fragments without an end",
    then: (send, watch_id) => {
      for (let count = 0; count < 20; count++) {
        const events = [event("a/1", 11, new Uint8Array(10_000))]
        send({ header: header(11), watch_id, fragment: true, events })
      }
    },
    detail: "one revision has more than 100000 bytes"
  }
]

describe("EtcdGrpc watches of a server that breaks the protocol", () => {
  for (const { detail, then, title } of lies) {
    live(
      `a watch fails with Unavailable on ${title}, and the next one uses a new stream`,
      () =>
        Effect.gen(function* () {
          const server = yield* startFake(({ create_request }, send) => {
            if (!create_request) return
            const id = create_request.watch_id
            send({ header: header(10), watch_id: id, created: true })
            then(send, id)
          })
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint], maxReceiveBytes: 100_000 })
          const watch = yield* watching(etcd, prefix("a/"))
          const { endpoint, reason, retryable } = yield* watch.failure
          assert.deepEqual({ ...reason, endpoint, retryable }, {
            _tag: "Unavailable",
            detail,
            endpoint: server.endpoint,
            retryable: true
          })
          yield* (yield* watching(etcd, prefix("a/"))).failure
          assert.equal(server.streams(), 2)
        })
    )
  }

  live("watches take the ids that a proxy gives them", () =>
    Effect.gen(function* () {
      let next = 0
      const keys = new Map<string, number>()
      let send: (response: object) => void = () => {}
      const server = yield* startFake(({ create_request }, respond) => {
        if (!create_request) return
        send = respond
        const id = next++
        keys.set(Buffer.from(create_request.key).toString(), id)
        respond({ header: header(10), watch_id: String(id), created: true })
      })
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const names = ["a", "b", "c"]
      const watches = yield* Effect.forEach(names, (key) => watching(etcd, { key }))
      yield* Effect.forEach(watches, ({ created }) => created)
      names.forEach((key, index) =>
        send({ header: header(11 + index), watch_id: String(keys.get(key)), events: [event(key, 11 + index, key)] })
      )
      yield* Effect.forEach(watches, (watch) => watch.until(({ _tag }) => _tag === "Events"))
      assert.deepEqual(watches.map(({ events }) => events), names.map((key) => [[key, key]]))
    }))

  live(
    "a watch of a server without progress reports is probed by reads, and that is logged once (D8)",
    () =>
      Effect.gen(function* () {
        const lines: Array<string> = []
        const logger = Logger.make(({ message }) => void lines.push(String(message)))
        const asks: Array<keyof WatchAsk> = []
        const server = yield* startFake((ask, send) => {
          if (ask.progress_request !== undefined && ask.progress_request !== null) {
            return void asks.push("progress_request")
          }
          if (!ask.create_request) return
          asks.push("create_request")
          send({ header: header(10), watch_id: ask.create_request.watch_id, created: true })
        })
        yield* Effect.gen(function* () {
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
          const quick = { progressEvery: "100 millis", progressTimeout: "1 second" } as const
          const watch = yield* watching(etcd, { key: "a", ...quick })
          yield* watch.created
          yield* eventually(
            Effect.suspend(() => server.reads() >= 3 ? Effect.void : Effect.fail(`${server.reads()} reads`))
          )
          assert.equal(watch.error, undefined)
          // The watch, one progress request, and the creation that shows that the server answers.
          assert.deepEqual(asks, ["create_request", "progress_request", "create_request"])
        }).pipe(Effect.provide(Logger.layer([logger])))
        assert.deepEqual(lines, [
          `${server.endpoint} is a proxy that answers no progress requests: only reconciliation finds a watch that stopped there`
        ])
      })
  )
})

describe("eventCheck", () => {
  const at = (key: string, modRevision: bigint) => {
    const kv = { key: new TextEncoder().encode(key), value: new Uint8Array(), createRevision: 1n, modRevision }
    return { type: "put" as const, kv: { ...kv, version: 1n, lease: 0n } }
  }

  live("eventCheck accepts exactly the keys of a range", () =>
    Effect.sync(() => {
      const another = "the server sent an event of another watch"
      const cases = [
        [{ key: "a" }, ["a"], ["", "aa", "b"]],
        [prefix("a/"), ["a/", "a/b", "a/\u00ff"], ["a", "a0", "b/"]],
        [prefix(""), ["\0", "a", "\u{10ffff}"], [""]],
        [{ key: "b", rangeEnd: "\0" }, ["b", "c"], ["a"]]
      ] as const
      for (const [range, inside, outside] of cases) {
        const check = eventCheck(range)
        for (const key of inside) assert.equal(check([at(key, 1n)], 0n), undefined, `${key} is inside`)
        for (const key of outside) assert.equal(check([at(key, 1n)], 0n), another, `${key} is outside`)
      }
    }))

  live("eventCheck refuses an event before the start and one before a delivered event", () =>
    Effect.sync(() => {
      const check = eventCheck({ key: "a", startRevision: 5n })
      assert.equal(check([at("a", 5n), at("a", 6n)], 0n), undefined)
      assert.equal(check([at("a", 4n)], 0n), "the server sent an event of revision 4 after 5")
      assert.equal(check([at("a", 7n)], 8n), "the server sent an event of revision 7 after 8")
    }))
})

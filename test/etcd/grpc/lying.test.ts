import { Cause, Clock, Effect, Exit, Fiber, Logger, Option, Redacted, Result, Stream } from "effect"
import assert from "node:assert/strict"
import { setTimeout } from "node:timers"
import { prefix } from "../../../src/etcd/KeyRange.ts"
import type { Etcd } from "../../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { rangeAll } from "../../../src/etcd/rangeAll.ts"
import { eventCheck } from "../../../src/etcd/grpc/watchRange.ts"
import { clockWith } from "../../harness/clock.ts"
import { describe, live } from "../../harness/it.ts"
import { eventually } from "../../harness/real.ts"
import { event, header, startFake, type WatchAsk } from "./fakeEtcd.ts"
import { watching } from "./support.ts"

interface Lie {
  readonly title: string
  /** The events that the server sends after it has answered the creation at revision 10. */
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
    title: "events of a watch that was not created",
    then: (send) => send({ header: header(11), watch_id: "77", events: [event("a/1", 11)] }),
    detail: "the server sent events of a watch that it has not created"
  },
  {
    title: "an event of an unknown type",
    then: (send, watch_id) => send({ header: header(11), watch_id, events: [{ ...event("a/1", 11), type: 2 }] }),
    detail: "unreadable response: an event has the unknown type 2"
  },
  {
    title: "an event without a key",
    then: (send, watch_id) => send({ header: header(11), watch_id, events: [{ type: "Put" }] }),
    detail: "the server sent an event of another watch"
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

  live("events of a cancelled watch that are still on their way end no other watch", () =>
    Effect.gen(function* () {
      const server = yield* startFake(({ cancel_request, create_request }, send) => {
        if (create_request) send({ header: header(10), watch_id: create_request.watch_id, created: true })
        if (!cancel_request) return
        const { watch_id } = cancel_request
        send({ header: header(11), watch_id, events: [event("b", 11)] })
        send({ header: header(11), watch_id, canceled: true })
        send({ header: header(12), watch_id: "1", events: [event("a", 12)] })
      })
      const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
      const watch = yield* watching(etcd, { key: "a" })
      yield* watch.created
      yield* Effect.scoped(Effect.flatMap(watching(etcd, { key: "b" }), ({ created }) => created))
      yield* watch.until(({ _tag }) => _tag === "Events")
      assert.deepEqual([watch.events, watch.error, server.streams()], [[["a", "1"]], undefined, 1])
    }))

  live(
    "watches of a proxy that numbers them itself and answers the newest creation first receive their own events",
    () =>
      Effect.gen(function* () {
        const keys: Array<string> = []
        const unanswered: Array<string> = []
        let mostInFlight = 0
        let send: (response: object) => void = () => {}
        const server = yield* startFake(({ create_request }, respond) => {
          if (!create_request) return
          send = respond
          unanswered.push(String(keys.push(Buffer.from(create_request.key).toString()) - 1))
          mostInFlight = Math.max(mostInFlight, unanswered.length)
          setTimeout(() => respond({ header: header(10), watch_id: unanswered.pop(), created: true }), 20)
        })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const names = ["a", "b", "c"]
        const watches = yield* Effect.forEach(names, (key) => watching(etcd, { key }))
        yield* Effect.forEach(watches, ({ created }) => created)
        names.forEach((key, index) =>
          send({
            header: header(11 + index),
            watch_id: String(keys.indexOf(key)),
            events: [event(key, 11 + index, key)]
          })
        )
        yield* Effect.forEach(watches, (watch) => watch.until(({ _tag }) => _tag === "Events"))
        assert.deepEqual(watches.map(({ events }) => events), names.map((key) => [[key, key]]))
        assert.deepEqual([keys, mostInFlight], [names, 1])
      })
  )

  live(
    "watches fail with Unavailable if a server that kept the id of one gives another id to the next",
    () =>
      Effect.gen(function* () {
        const server = yield* startFake(({ create_request }, send) => {
          const id = create_request?.watch_id
          if (id !== undefined) send({ header: header(10), watch_id: id === "2" ? "7" : id, created: true })
        })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const first = yield* watching(etcd, { key: "a" })
        const second = yield* watching(etcd, { key: "b" })
        const reasons = yield* Effect.forEach(
          [first, second],
          ({ failure }) => Effect.map(failure, ({ reason }) => reason)
        )
        const reason = { _tag: "Unavailable", detail: "the server gave the id 7 to watch 2" }
        assert.deepEqual(reasons.map((reason) => ({ ...reason })), [reason, reason])
      })
  )

  live(
    "a watch whose creation waits for that of an abandoned watch fails within its own progressTimeout",
    () =>
      Effect.gen(function* () {
        let asks = 0
        const server = yield* startFake(() => void asks++)
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const abandoned = Effect.andThen(
          watching(etcd, { key: "a", progressTimeout: "10 minutes" }),
          eventually(Effect.suspend(() => asks === 1 ? Effect.void : Effect.fail(`${asks} requests`)))
        )
        yield* Effect.scoped(abandoned)
        const watch = yield* watching(etcd, { key: "b", progressTimeout: "300 millis" })
        assert.equal((yield* watch.failure).reason.detail, "no answer on the watch stream within 300 ms")
      })
  )

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
          // The watch, one progress request, and the creation that probes the server.
          assert.deepEqual(asks, ["create_request", "progress_request", "create_request"])
        }).pipe(Effect.provide(Logger.layer([logger])))
        assert.deepEqual(lines, [
          `${server.endpoint} is a proxy that answers no progress requests: only reconciliation finds a watch that stopped there`
        ])
      })
  )
})

describe("EtcdGrpc calls of a server that breaks the protocol", () => {
  const { kv } = event("a/1", 9)
  const page = { header: header(10), kvs: [kv], more: false, count: "1" }
  const none = { header: header(10), more: false, count: "0" }
  const readOfA = (answer: object) => ({ header: header(10), succeeded: true, responses: [answer] })
  const txn = { then: [{ _tag: "Range", request: { key: "a/1" } }] } as const

  const answers: ReadonlyArray<
    readonly [
      title: string,
      server: Parameters<typeof startFake>[1],
      call: (etcd: Etcd) => Effect.Effect<unknown, EtcdError>,
      detail: RegExp
    ]
  > = [
    [
      "a key of another range",
      { range: { ...page, kvs: [event("b/1", 9).kv] } },
      (etcd) => etcd.range({ key: "a/1" }),
      /keys of another range/
    ],
    [
      "a key of another range between two of this one",
      { range: { ...page, kvs: [kv, event("b/1", 9).kv, event("a/2", 9).kv], count: "3" } },
      (etcd) => etcd.range(prefix("a/")),
      /keys out of order/
    ],
    [
      "a key twice",
      { range: { ...page, kvs: [kv, kv], count: "2" } },
      (etcd) => etcd.range(prefix("a/")),
      /keys out of order/
    ],
    [
      "one of two keys as if it were all",
      { range: { ...page, count: "2" } },
      (etcd) => rangeAll(etcd, prefix("a/")),
      /1 of 2 keys and says that this is all/
    ],
    [
      "no keys although there are more",
      { range: { ...none, more: true } },
      (etcd) => rangeAll(etcd, prefix("a/")),
      /no keys and says that there are more/
    ],
    [
      "a key from the future",
      { range: { ...page, kvs: [event("a/1", 11).kv] } },
      (etcd) => etcd.range({ key: "a/1" }),
      /a key of revision 11 as of 10/
    ],
    [
      "a read without a header",
      { range: { more: false, count: "0" } },
      (etcd) => etcd.range({ key: "a" }),
      /no revision/
    ],
    ["a put without a header", { answers: { put: {} } }, (etcd) => etcd.put({ key: "a", value: "" }), /no revision/],
    [
      "a deletion without a header",
      { answers: { deleteRange: {} } },
      (etcd) => etcd.deleteRange({ key: "a" }),
      /no revision/
    ],
    ["a Txn without a header", { answers: { txn: {} } }, (etcd) => etcd.txn({}), /no revision/],
    [
      "a Txn without its responses",
      { answers: { txn: { header: header(10), succeeded: true } } },
      (etcd) => etcd.txn(txn),
      /answered 0 of 1 operations/
    ],
    [
      "a Txn with the response to another operation",
      { answers: { txn: readOfA({ response_put: {} }) } },
      (etcd) => etcd.txn(txn),
      /answered a Range with another response/
    ],
    [
      "a Txn with keys of another range",
      { answers: { txn: readOfA({ response_range: { kvs: [event("b/1", 9).kv], count: "1" } }) } },
      (etcd) => etcd.txn(txn),
      /keys of another range/
    ],
    [
      "another lease than requested",
      { answers: { leaseGrant: { header: header(10), ID: "8", TTL: "10" } } },
      (etcd) => etcd.leaseGrant({ id: 7n, ttl: 10 }),
      /another lease than requested/
    ],
    [
      "a lease without time to live",
      { answers: { leaseGrant: { header: header(10), ID: "7", TTL: "0" } } },
      (etcd) => etcd.leaseGrant({ id: 7n, ttl: 10 }),
      /without time to live/
    ],
    [
      "the time to live of another lease",
      { answers: { leaseTimeToLive: { header: header(10), ID: "8", TTL: "10", grantedTTL: "10" } } },
      (etcd) => etcd.leaseTimeToLive({ id: 7n }),
      /another lease than requested/
    ]
  ]
  for (const [title, server, call, detail] of answers) {
    live(`a call fails with Unavailable if the server sends ${title}`, () =>
      Effect.gen(function* () {
        const { endpoint } = yield* startFake(() => {}, server)
        const etcd = yield* EtcdGrpc.make({ endpoints: [endpoint] })
        const { reason, retryable } = yield* Effect.flip(call(etcd))
        assert.deepEqual([reason._tag, retryable], ["Unavailable", true], reason.detail)
        assert.match(reason.detail, detail)
      }))
  }

  live(
    "leaseKeepAlive fails with Unavailable if the server answers another heartbeat twice",
    () =>
      Effect.gen(function* () {
        const server = yield* startFake(() => {}, {
          onHeartbeat: ({ ID }, send) => {
            if (ID !== "7") return
            const answer = { header: header(10), ID, TTL: "10" }
            send(answer)
            send(answer)
          }
        })
        const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] })
        const unanswered = yield* Effect.forkChild(Effect.flip(etcd.leaseKeepAlive({ id: 8n, timeout: "1 minute" })), {
          startImmediately: true
        })
        assert.equal((yield* etcd.leaseKeepAlive({ id: 7n, timeout: "1 minute" })).ttl, 10)
        const { endpoint, reason } = yield* Fiber.join(unanswered)
        assert.deepEqual({ ...reason, endpoint }, {
          _tag: "Unavailable",
          detail: "the server answered a heartbeat that was never sent",
          endpoint: server.endpoint
        })
      })
  )

  live(
    "a watch stream whose answer arrives at the deadline stays open while the next creation waits for its own",
    () =>
      Effect.gen(function* () {
        const attempt = Effect.gen(function* () {
          let answerFirst = () => {}
          const server = yield* startFake(({ create_request }, send) => {
            if (!create_request) return
            const { watch_id } = create_request
            const answer = () => send({ header: header(10), watch_id, created: true })
            if (watch_id !== "1") return setTimeout(answer, 100)
            answerFirst = () => {
              answerFirst = () => {}
              answer()
            }
          })
          const clock = yield* Clock.Clock
          const answering = clockWith(clock, {
            sleep: (duration) => Effect.andThen(clock.sleep(duration), Effect.sync(() => answerFirst()))
          })
          const etcd = yield* EtcdGrpc.make({ endpoints: [server.endpoint] }).pipe(
            Effect.provideService(Clock.Clock, answering)
          )
          const first = yield* Effect.option(Stream.runHead(etcd.watch({ key: "a", progressTimeout: "200 millis" })))
          if (Option.isNone(first)) return undefined
          return yield* Effect.result(Stream.runHead(etcd.watch({ key: "b", progressTimeout: "30 seconds" })))
        })
        // On a busy machine the answer may come after the time for pending input.
        for (let attempts = 0; attempts < 20; attempts++) {
          const second = yield* Effect.scoped(attempt)
          if (second !== undefined) return assert.ok(Result.isSuccess(second), String(second))
        }
        assert.fail("no answer arrived in time")
      })
  )

  live("a call after an invalid response goes to the next endpoint", () =>
    Effect.gen(function* () {
      const liar = yield* startFake(() => {}, { range: { ...page, header: header(0) } })
      const honest = yield* startFake(() => {}, { range: page })
      const etcd = yield* EtcdGrpc.make({ endpoints: [liar.endpoint, honest.endpoint] })
      const { endpoint, reason } = yield* Effect.flip(etcd.range(prefix("a/")))
      assert.deepEqual([reason.detail, endpoint], ["the server sent no revision", liar.endpoint])
      assert.equal((yield* etcd.range(prefix("a/"))).kvs.length, 1)
      assert.deepEqual([liar.reads(), honest.reads()], [1, 1])
    }))

  live("EtcdGrpc calls accept valid responses", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* startFake(() => {}, {
        range: { ...page, more: true, count: "2" },
        answers: { txn: readOfA({ response_range: page }), leaseGrant: { header: header(10), ID: "7", TTL: "10" } }
      })
      const etcd = yield* EtcdGrpc.make({ endpoints: [endpoint] })
      assert.equal((yield* etcd.range({ ...prefix("a/"), limit: 1 })).kvs.length, 1)
      assert.equal((yield* etcd.txn(txn)).responses.length, 1)
      assert.equal((yield* etcd.leaseGrant({ ttl: 10 })).id, 7n)
    }))
})

describe("EtcdGrpc authentication", () => {
  const readAs = (password: Effect.Effect<Redacted.Redacted, unknown>, token: string) =>
    Effect.gen(function* () {
      const { endpoint } = yield* startFake(() => {}, { answers: { authenticate: { header: header(10), token } } })
      const etcd = yield* EtcdGrpc.make({ endpoints: [endpoint], username: "app", password })
      const first = yield* Effect.exit(etcd.range({ key: "a" }))
      return { first, second: yield* Effect.exit(etcd.range({ key: "a" })) }
    })

  const broken: ReadonlyArray<readonly [title: string, password: Effect.Effect<Redacted.Redacted, unknown>]> = [
    [
      "throws",
      Effect.sync(() => {
        throw new Error("no such file")
      })
    ],
    ["interrupts itself", Effect.interrupt],
    ["returns a plain text", Effect.succeed("secret" as never)],
    ["returns nothing", Effect.succeed(undefined as never)],
    ["returns a Redacted number", Effect.succeed(Redacted.make(7) as never)]
  ]
  for (const [title, password] of broken) {
    live(
      `a call fails with Unavailable if the effect of the password ${title}, and the next call reads it again`,
      () =>
        Effect.gen(function* () {
          let reads = 0
          const once = Effect.suspend(() => ++reads === 1 ? password : Effect.succeed(Redacted.make("secret")))
          const { first, second } = yield* readAs(once, "token")
          const error = Exit.isFailure(first) ? Cause.squash(first.cause) : undefined
          assert.match(String(error), /Unavailable: cannot read the password of "app"/)
          assert.doesNotMatch(String(error), /secret/)
          assert.ok(Exit.isSuccess(second))
        })
    )
  }

  live(
    "a call fails with Unavailable if the server sends an auth token with a line break, which is not shown",
    () =>
      Effect.gen(function* () {
        const { first } = yield* readAs(Effect.succeed(Redacted.make("secret")), "tok\nen")
        const error = Exit.isFailure(first) ? Cause.squash(first.cause) : undefined
        assert.match(String(error), /Unavailable: the server sent an auth token that no header can carry/)
        assert.doesNotMatch(String(error), /tok\nen/)
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

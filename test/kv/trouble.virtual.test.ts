import { Effect, Option, Result, Schedule, Schema, SchemaGetter, Stream } from "effect"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdError, TooLarge } from "../../src/etcd/EtcdError.ts"
import { Kv, Lease, Op, Txn } from "../../src/kv/mod.ts"
import { standard } from "../../src/etcd/Backoff.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { overflow } from "../harness/overflow.ts"
import { describe } from "../harness/it.ts"
import { collect, elapse, failureOf, settle, start, verify, withDraw, world } from "../harness/virtual.ts"

/** An operator with direct access to etcd, and a program that reaches it through faults. */
const setUp = Effect.gen(function* () {
  const { operator, replace } = yield* world
  const { etcd, faults } = yield* FaultyEtcd.make(operator)
  return {
    faults,
    operator,
    replace: Effect.andThen(replace(), faults.breakWatches()),
    other: Effect.provideService(Etcd, operator),
    mine: Effect.provideService(Etcd, etcd),
    watched: (target: Parameters<typeof Kv.watch>[0], options?: Parameters<typeof Kv.watch>[1]) =>
      collect(Stream.provideService(Kv.watch(target, options), Etcd, etcd)),
    pulled: (target: Parameters<typeof Kv.watch>[0]) =>
      Effect.map(
        Stream.toPull(Stream.provideService(Kv.watch(target), Etcd, etcd)),
        (pull) => Effect.map(pull, (events) => events.map(show))
      ),
    /** Writes `k0` to `k99` at one revision. */
    hundred: (value: number) =>
      Effect.provideService(
        Kv.txn(Txn.make({ then: [...Array.from({ length: 100 }, (_, index) => Op.put(`k${index}`, String(value)))] })),
        Etcd,
        operator
      ).pipe(Effect.andThen(settle)),
    compact: Effect.flatMap(operator.status, ({ header }) => operator.compact({ revision: header.revision }))
  }
})

const show = (event: Kv.Event<unknown>): string => {
  const { _tag, revision } = event
  switch (_tag) {
    case "Listed":
      return `${event.relisted ? "Relisted" : _tag} ${event.entries.map(({ key, value }) => `${key}=${value}`)}`
    case "Put":
      return `${event.entry.key}=${event.entry.value} @${revision}`
    case "Deleted":
      return `-${event.key} @${revision}`
    case "Rejected":
      return `!${event.key} @${revision}`
  }
}

const all = Kv.prefix("")

describe("Kv.watch", () => {
  verify(
    "Kv.watch emits each change once over broken, silent and refused connections",
    () =>
      Effect.gen(function* () {
        const { faults, other, watched } = yield* setUp
        yield* other(Kv.put("a", "1"))
        const { exit, seen } = yield* watched(all)
        yield* faults.breakWatches()
        yield* other(Kv.put("a", "2"))
        yield* elapse("10 seconds")
        yield* faults.silenceWatches
        yield* other(Kv.put("a", "3"))
        yield* elapse("1 minute")
        yield* faults.outage
        yield* other(Kv.delete("a"))
        yield* elapse("1 hour")
        yield* faults.clear
        yield* elapse("10 seconds")
        yield* other(Kv.put("a", "4"))
        yield* settle
        assert.deepEqual(seen.map(show), ["Listed a=1", "a=2 @3", "a=3 @4", "-a @5", "a=4 @6"])
        assert.equal(exit(), undefined)
      })
  )

  verify("Kv.watch emits the state once etcd is reachable", () =>
    Effect.gen(function* () {
      const { faults, other, watched } = yield* setUp
      yield* faults.outage
      const { seen } = yield* watched(all)
      yield* elapse("1 hour")
      assert.deepEqual(seen, [])
      yield* other(Kv.put("a", "1"))
      yield* faults.clear
      yield* elapse("10 seconds")
      assert.deepEqual(seen.map(show), ["Listed a=1"])
    }))

  verify("Kv.watch from a revision starts as soon as etcd is back (D12)", () =>
    Effect.gen(function* () {
      const { faults, other, watched } = yield* setUp
      yield* other(Kv.put("a", "1"))
      yield* faults.outage
      const { seen } = yield* watched(all, { revision: 2n })
      yield* elapse("1 hour")
      yield* faults.clear
      yield* settle
      assert.deepEqual(seen.map(show), ["a=1 @2"])
    }).pipe(withDraw(1)))

  verify("Kv.watch relists if history was compacted during an outage", () =>
    Effect.gen(function* () {
      const { compact, faults, other, watched } = yield* setUp
      yield* other(Kv.put("a", "1"))
      const { seen } = yield* watched(all)
      yield* faults.outage
      yield* other(Kv.put("a", "2"))
      yield* other(Kv.put("b", "1"))
      yield* other(Kv.delete("a"))
      yield* compact
      yield* faults.clear
      yield* elapse("10 seconds")
      yield* other(Kv.put("b", "2"))
      yield* settle
      assert.deepEqual(seen.map(show), ["Listed a=1", "Relisted b=1", "b=2 @6"])
    }))

  verify("Kv.watch relists if another history replaced the one it knew", () =>
    Effect.gen(function* () {
      const { other, replace, watched } = yield* setUp
      yield* other(Kv.put("a", "1"))
      yield* other(Kv.put("a", "2"))
      const { seen } = yield* watched(all)
      yield* replace
      yield* other(Kv.put("b", "1"))
      yield* elapse("10 seconds")
      assert.deepEqual(seen.map(show), ["Listed a=2", "Relisted b=1"])
    }))

  verify(
    "Kv.watch closes its watch while the reader is behind and then resumes without a gap",
    () =>
      Effect.gen(function* () {
        const { faults, hundred, pulled } = yield* setUp
        const pull = yield* pulled(all)
        assert.deepEqual(yield* pull, ["Listed "])
        for (let n = 0; n < 10; n++) yield* hundred(n)
        assert.equal((yield* faults.openWatches).length, 1)
        yield* hundred(10)
        assert.equal((yield* faults.openWatches).length, 0)
        for (let n = 11; n < 30; n++) yield* hundred(n)
        yield* elapse("1 hour")
        const first = yield* pull
        assert.deepEqual([first.length, first[0], first.at(-1)], [1100, "k0=0 @2", "k99=10 @12"])
        // The number of waiting events stays bounded while the reader catches up.
        const later: Array<ReadonlyArray<string>> = []
        while (later.flat().length < 1900) later.push(yield* Effect.tap(pull, settle))
        const expected = Array.from(
          { length: 1900 },
          (_, index) => `k${index % 100}=${11 + Math.floor(index / 100)} @${13 + Math.floor(index / 100)}`
        )
        assert.deepEqual(later.flat(), expected)
        assert.ok(later.every((events) => events.length <= 1100), String(later.map((events) => events.length)))
        assert.equal((yield* faults.openWatches).length, 1)
      })
  )

  verify(
    "Kv.watch buffers a bounded number of events from a long history",
    () =>
      Effect.gen(function* () {
        const { hundred, operator } = yield* setUp
        for (let n = 0; n < 40; n++) yield* hundred(n)
        // Without `FaultyEtcd`, which would pass on one response at a time.
        const pull = yield* Stream.toPull(Stream.provideService(Kv.watch(all, { revision: 2n }), Etcd, operator))
        const sizes: Array<number> = []
        while (sizes.reduce((sum, size) => sum + size, 0) < 4000) {
          const events = yield* pull
          sizes.push(events.length)
          yield* settle
        }
        assert.ok(Math.max(...sizes) === 1100, String(sizes))
      })
  )

  verify(
    "Kv.watch relists if the reader was behind for so long that its history was compacted",
    () =>
      Effect.gen(function* () {
        const { compact, hundred, pulled } = yield* setUp
        const pull = yield* pulled(Kv.prefix("k1"))
        yield* pull
        for (let n = 0; n < 96; n++) yield* hundred(n)
        yield* compact
        const [first, ...more] = [yield* pull, yield* pull]
        assert.deepEqual([first.length, first.at(-1)], [1034, "k19=93 @95"])
        const keys = [1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
        assert.deepEqual(more, [[`Relisted ${keys.map((key) => `k${key}=95`)}`]])
      })
  )

  verify(
    "Kv.watch from a future revision relists if history was replaced after its first event",
    () =>
      Effect.gen(function* () {
        const { other, replace, watched } = yield* setUp
        const { seen } = yield* watched(all, { revision: 4n })
        for (const value of ["2", "3", "4", "5"]) yield* other(Kv.put("a", value))
        yield* settle
        yield* replace
        yield* other(Kv.put("b", "1"))
        yield* elapse("10 seconds")
        assert.deepEqual(seen.map(show), ["a=4 @4", "a=5 @5", "Relisted b=1"])
      })
  )

  verify("Kv.watch rejects a value whose codec throws and continues with the next one", () =>
    Effect.gen(function* () {
      const { other, watched } = yield* setUp
      const BigIntText = Schema.String.pipe(Schema.decodeTo(Schema.BigInt, {
        decode: SchemaGetter.transform((text: string) => BigInt(text)),
        encode: SchemaGetter.transform((value: bigint) => String(value))
      }))
      const Later = Schema.String.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transformEffect((text: string) =>
          text === "slow" ? Effect.delay(Effect.succeed(text), 1) : Effect.succeed(text)
        ),
        encode: SchemaGetter.passthrough()
      }))
      const Lists = Schema.Array(Schema.Unknown)
      const Short = Lists.pipe(Schema.decodeTo(Schema.toType(Lists), {
        decode: SchemaGetter.transform((value: ReadonlyArray<unknown>) => value.length > 1 ? [overflow()] : value),
        encode: SchemaGetter.passthrough()
      }))
      const big = yield* watched(Kv.key("a", BigIntText))
      const later = yield* watched(Kv.key("a", Later))
      const short = yield* watched(Kv.key("a", Short))
      for (const value of [`"none"`, `"slow"`, "[[],[]]", `"7"`, "[[]]"]) {
        yield* other(Kv.put("a", value))
        yield* settle
      }
      assert.deepEqual(big.seen.map(show), ["Listed ", "!a @2", "!a @3", "!a @4", "a=7 @5", "!a @6"])
      assert.deepEqual(later.seen.map(show), ["Listed ", "a=none @2", "!a @3", "!a @4", "a=7 @5", "!a @6"])
      assert.deepEqual(short.seen.map(show), ["Listed ", "!a @2", "!a @3", "!a @4", "!a @5", "a= @6"])
      const [, rejected] = big.seen
      assert.ok(rejected?._tag === "Rejected" && rejected.error.cause instanceof Error)
      assert.match(rejected.error.message, /the codec threw SyntaxError/)
    }))

  verify("InvalidValue is written by JSON.stringify, with its revision as text", () =>
    Effect.gen(function* () {
      const { mine } = yield* setUp
      yield* mine(Kv.put("a", "x"))
      const error = yield* Effect.flip(mine(Kv.get(Kv.key("a", Schema.Int))))
      const { _tag, key, revision } = JSON.parse(JSON.stringify(error))
      assert.deepEqual([_tag, key, revision], ["InvalidValue", "a", "2"])
    }))

  for (
    const [title, result] of [
      ["nothing", undefined],
      ["a promise", Promise.resolve(Result.succeed("x"))],
      ["a failure that is a text", Result.fail("no")],
      ["a failure of nothing", Result.fail(undefined)]
    ] as const
  ) {
    verify(
      `Kv rejects a value, and refuses to write one, if the codec returns ${title}`,
      () =>
        Effect.gen(function* () {
          const { mine, other, watched } = yield* setUp
          const key = Kv.key<string>("a", { encode: () => result as never, decode: () => result as never })
          const { exit, seen } = yield* watched(key)
          yield* other(Kv.put("a", "1"))
          yield* settle
          assert.deepEqual([seen.map(({ _tag }) => _tag), exit()], [["Listed", "Rejected"], undefined])
          assert.equal((yield* Effect.flip(mine(Kv.get(key))))._tag, "InvalidValue")
          assert.equal((yield* Effect.flip(mine(Kv.put(key, "2"))))._tag, "InvalidValue")
        })
    )
  }

  verify(
    "Kv.put fails with InvalidValue if the codec returns a number instead of bytes",
    () =>
      Effect.gen(function* () {
        const { mine } = yield* setUp
        const key = Kv.key<string>("a", { ...Kv.text, encode: () => Result.succeed(7 as never) })
        assert.equal((yield* Effect.flip(mine(Kv.put(key, "2"))))._tag, "InvalidValue")
      })
  )

  verify("Kv.put fails with InvalidValue if the codec throws", () =>
    Effect.gen(function* () {
      const { faults, mine } = yield* setUp
      const codec = {
        encode: () => {
          throw new Error("unlucky")
        },
        decode: () => {
          throw new Error("unlucky")
        }
      }
      const error = yield* Effect.flip(mine(Kv.put(Kv.key<string>("a", codec), "x")))
      assert.equal(error.message, `cannot write "a": the codec threw Error: unlucky; nothing was sent`)
      assert.deepEqual(yield* faults.calls(), [])
    }))

  verify("Kv.watch leaves no watch and no fiber when its reader ends", () =>
    Effect.gen(function* () {
      const { faults, other, watched } = yield* setUp
      const watching = yield* watched(all)
      assert.equal((yield* faults.openWatches).length, 1)
      yield* watching.interrupt
      assert.equal((yield* faults.openWatches).length, 0)
      yield* faults.outage
      const trying = yield* watched(all)
      yield* elapse("1 second")
      yield* trying.interrupt
      const calls = (yield* faults.calls()).length
      yield* other(Kv.put("a", "1"))
      yield* elapse("1 hour")
      assert.equal((yield* faults.calls()).length, calls)
    }))

  verify("Kv.watch fails with an error that retrying cannot fix", () =>
    Effect.gen(function* () {
      const { faults, watched } = yield* setUp
      yield* faults.set([{ fault: FaultyEtcd.permissionDenied }])
      const error = failureOf(yield* watched("secret"))
      assert.ok(error instanceof EtcdError)
      assert.deepEqual([error.reason._tag, error.key], ["PermissionDenied", "secret"])
    }))
})

describe("Kv.update", () => {
  const counter = Kv.key("n", Schema.Int)
  const increment = Kv.update(counter, (before) => Option.getOrElse(before, () => 0) + 1)
  const rival = FaultyEtcd.meanwhile((etcd) => Effect.provideService(Kv.put("n", "100"), Etcd, etcd).pipe(Effect.orDie))

  verify("Kv.update retries after a conflict with the value of the winner", () =>
    Effect.gen(function* () {
      const { faults, mine } = yield* setUp
      yield* faults.set([{ method: "txn", nth: 1, times: 3, fault: rival }])
      const { exit } = yield* start(mine(increment))
      yield* elapse("1 second")
      const ended = exit()
      assert.ok(ended?._tag === "Success")
      assert.deepEqual([ended.value.value, ended.value.version], [101, 4n])
    }))

  verify("Kv.update fails after 20 retries by default", () =>
    Effect.gen(function* () {
      const { faults, mine } = yield* setUp
      yield* faults.set([{ method: "txn", fault: rival }])
      const updating = yield* start(mine(increment))
      yield* elapse("1 minute").pipe(withDraw(1))
      const error = failureOf(updating)
      assert.ok(error?._tag === "UpdateConflict")
      assert.deepEqual([error.key, error.attempts, (yield* faults.calls("txn")).length], ["n", 21, 21])
    }))

  verify("Kv.update does not retry after an answer was lost", () =>
    Effect.gen(function* () {
      const { faults, mine, other } = yield* setUp
      yield* faults.set([{ method: "txn", fault: FaultyEtcd.answerLost }])
      const updating = yield* start(mine(increment))
      yield* elapse("1 hour")
      const error = failureOf(updating)
      assert.ok(error?._tag === "EtcdError" && error.reason._tag === "DeadlineExceeded")
      assert.deepEqual(Option.map(yield* other(Kv.get(counter)), ({ value }) => value), Option.some(1))
      assert.equal((yield* faults.calls("txn")).length, 1)
    }))
})

describe("Kv.atomically", () => {
  const [a, b] = [Kv.key("a", Schema.Int), Kv.key("b", Schema.Int)]
  const sum = Kv.atomically((txn) =>
    Effect.gen(function* () {
      const [x, y] = [yield* txn.get(a), yield* txn.get(b)].map(Option.getOrElse(() => 0))
      yield* txn.put(a, x! + y!)
      return x! + y!
    })
  )
  const rival = FaultyEtcd.meanwhile((etcd) => Effect.provideService(Kv.put(b, 100), Etcd, etcd).pipe(Effect.orDie))

  verify("Kv.atomically runs again after a conflict with the values of the winner", () =>
    Effect.gen(function* () {
      const { faults, mine, other } = yield* setUp
      yield* other(Kv.put(a, 1))
      yield* faults.set([{ method: "txn", nth: 1, times: 2, fault: rival }])
      const { exit } = yield* start(mine(sum))
      yield* elapse("1 second")
      const ended = exit()
      assert.ok(ended?._tag === "Success")
      assert.deepEqual([ended.value, (yield* faults.calls("txn")).length], [101, 3])
    }))

  verify(
    "Kv.atomically waits 10 ms doubling up to 1 s between attempts and fails after 20 retries",
    () =>
      Effect.gen(function* () {
        const { faults, mine } = yield* setUp
        yield* faults.set([{ method: "txn", fault: rival }])
        const summing = yield* start(mine(sum)).pipe(withDraw(1))
        yield* elapse("1 minute").pipe(withDraw(1))
        const error = failureOf(summing)
        assert.ok(error?._tag === "UpdateConflict")
        assert.deepEqual([error.key, error.attempts], ["b", 21])
        const times = (yield* faults.calls("txn")).map(({ at }) => at)
        const waits = times.slice(1).map((at, index) => at - times[index]!)
        assert.deepEqual(waits, [10, 20, 40, 80, 160, 320, 640, ...Array.from({ length: 13 }, () => 1000)])
      })
  )

  verify("Kv.atomically does not retry after the answer to its last request was lost", () =>
    Effect.gen(function* () {
      const { faults, mine, other } = yield* setUp
      yield* other(Kv.put(b, 2))
      yield* faults.set([{ method: "txn", fault: FaultyEtcd.answerLost }])
      const summing = yield* start(mine(sum))
      yield* elapse("1 hour")
      const error = failureOf(summing)
      assert.ok(error?._tag === "EtcdError" && error.reason._tag === "DeadlineExceeded")
      assert.deepEqual(Option.map(yield* other(Kv.get(a)), ({ value }) => value), Option.some(2))
      assert.equal((yield* faults.calls("txn")).length, 1)
    }))

  verify("Kv.atomically does not mistake the conflict of an inner update for its own", () =>
    Effect.gen(function* () {
      const { faults, mine } = yield* setUp
      yield* faults.set([{ method: "txn", fault: rival }])
      const inner = Kv.update(b, () => 1, { retry: Schedule.recurs(1) })
      const outer = yield* start(mine(Kv.atomically(() => inner)))
      yield* elapse("1 minute")
      const error = failureOf(outer)
      assert.ok(error?._tag === "UpdateConflict")
      assert.deepEqual([error.attempts, (yield* faults.calls("txn")).length], [2, 2])
    }))
})

describe("Kv.pages", () => {
  const fill = Kv.txn(Txn.make({ then: [...Array.from({ length: 9 }, (_, index) => Op.put(`k${index}`, ""))] }))
  const sizes = Kv.pages("k", { pageSize: 8 }).pipe(Stream.map(({ entries }) => entries.length))

  verify("Kv.pages requests fewer keys if a page is too large for one response", () =>
    Effect.gen(function* () {
      const { faults, mine, other } = yield* setUp
      yield* other(fill)
      yield* faults.set([{ method: "range", nth: 1, times: 1, fault: FaultyEtcd.fails(new TooLarge({ detail: "" })) }])
      assert.deepEqual(yield* mine(Stream.runCollect(sizes)), [2, 2, 2, 2, 1])
      yield* faults.set([{ method: "range", fault: FaultyEtcd.fails(new TooLarge({ detail: "" })) }])
      const error = yield* Effect.flip(mine(Stream.runCollect(sizes)))
      assert.ok(error instanceof EtcdError)
      assert.equal(error.reason._tag, "TooLarge")
    }))

  verify("Kv.pages fails if its revision is compacted between two pages", () =>
    Effect.gen(function* () {
      const { compact, mine, other } = yield* setUp
      yield* other(fill)
      const seen: Array<number> = []
      const error = yield* sizes.pipe(
        Stream.runForEach((size) =>
          Effect.andThen(Effect.sync(() => seen.push(size)), Effect.andThen(other(Kv.put("k", "")), compact))
        ),
        mine,
        Effect.flip
      )
      assert.ok(error instanceof EtcdError)
      assert.deepEqual([seen, error.reason._tag], [[8], "Compacted"])
    }))
})

describe("Lease", () => {
  verify(
    "Lease.keepAliveOnce fails after the lease of Lease.grant has expired",
    () =>
      Effect.gen(function* () {
        const { mine } = yield* setUp
        const register = Effect.gen(function* () {
          const { id } = yield* Lease.grant("2 seconds")
          yield* Kv.put("a", "here", { lease: id })
          return id
        }).pipe(mine)
        const first = yield* register
        yield* elapse(1999)
        assert.equal(yield* mine(Kv.exists("a")), true)
        yield* elapse(1001)
        assert.equal(yield* mine(Kv.exists("a")), false)
        const error = yield* Effect.flip(mine(Lease.keepAliveOnce(first)))
        assert.equal(error.reason._tag, "LeaseNotFound")
        const second = yield* register
        yield* elapse("1 second")
        assert.deepEqual(yield* mine(Lease.keepAliveOnce(second)), (yield* mine(Lease.grant("2 seconds"))).ttl)
        yield* elapse(1999)
        assert.deepEqual(Option.map(yield* mine(Kv.get("a")), ({ lease }) => lease), Option.some(second))
      })
  )

  verify(
    "Lease.make keeps the lease alive and reports its loss one time to live after the last answer",
    () =>
      Effect.gen(function* () {
        const { faults, mine, other } = yield* setUp
        const held: Array<bigint> = []
        const announce = Effect.gen(function* () {
          const lease = yield* Lease.make("9 seconds", { retry: standard })
          yield* Kv.put("a", "here", { lease })
          held.push(lease.id)
          return yield* lease.lost
        }).pipe(Effect.scoped, Effect.retry(standard), Effect.forever)
        yield* start(mine(announce))
        yield* elapse("1 hour")
        assert.deepEqual(Option.map(yield* other(Kv.get("a")), ({ lease }) => [lease]), Option.some(held))
        yield* faults.blackhole
        yield* elapse("1 minute")
        assert.deepEqual([yield* other(Kv.exists("a")), held.length], [false, 1])
        yield* faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(Option.map(yield* other(Kv.get("a")), ({ lease }) => lease), Option.some(held[1]))
      })
  )

  verify(
    "Lease.make grants once by default and leaves no lease behind when it is interrupted",
    () =>
      Effect.gen(function* () {
        const { faults, mine, other } = yield* setUp
        yield* faults.set([{ method: "leaseGrant", fault: FaultyEtcd.unavailable }])
        const error = yield* Effect.flip(Effect.scoped(mine(Lease.make("9 seconds"))))
        assert.ok(error instanceof EtcdError)
        assert.deepEqual([error.reason._tag, (yield* faults.calls("leaseGrant")).length], ["Unavailable", 1])
        yield* faults.set([{ method: "leaseGrant", fault: FaultyEtcd.answerLost }])
        const granting = yield* start(Effect.scoped(mine(Lease.make("9 seconds", { retry: standard }))))
        yield* elapse("10 seconds")
        assert.equal((yield* other(Lease.leases)).length, 1)
        const interrupted = yield* start(granting.interrupt)
        yield* elapse("1 minute")
        assert.ok(interrupted.exit() !== undefined)
        assert.deepEqual(yield* other(Lease.leases), [])
      })
  )
})

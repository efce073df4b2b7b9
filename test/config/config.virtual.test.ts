import {
  Cause,
  Config,
  ConfigProvider,
  Deferred,
  Effect,
  Logger,
  Option,
  Schedule,
  Schema,
  SchemaGetter,
  Stream
} from "effect"
import assert from "node:assert/strict"
import { ConfigRef, type ConfigState, EtcdConfigProvider, type InvalidOption } from "../../src/config/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix } from "../../src/etcd/KeyRange.ts"
import { PermissionDenied } from "../../src/etcd/EtcdError.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { overflow } from "../harness/overflow.ts"
import { describe } from "../harness/it.ts"
import { collect, counted, elapse, failureOf, settle, start, verify, world } from "../harness/virtual.ts"

const key = "/config/limits"
const Limits = Schema.Struct({ rate: Schema.Int, owner: Schema.optionalKey(Schema.String) })

/** An operator with direct access to etcd, and a reader of configuration that reaches it through faults. */
const setUp = Effect.gen(function* () {
  const { operator, replace } = yield* world
  const { etcd, faults } = yield* FaultyEtcd.make(operator)
  return {
    operator,
    /** Replaces etcd by an empty one. */
    replace: replace(),
    faults,
    put: (value: string | Uint8Array, at = key) =>
      Effect.andThen(Effect.orDie(operator.put({ key: at, value })), settle),
    remove: Effect.andThen(Effect.orDie(operator.deleteRange({ key })), settle),
    reader: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Etcd>> =>
      Effect.provideService(effect, Etcd, etcd),
    watched: <A, E>(stream: Stream.Stream<A, E, Etcd>) => collect(Stream.provideService(stream, Etcd, etcd))
  }
})

/** A state in one line, such as `7@3` or `absent@4 rejected@5 Stale`. */
const show = (state: ConfigState.ConfigState<unknown>): string => {
  const value = state._tag === "Present" ? JSON.stringify(state.value) : "absent"
  const rejected = state.rejected === undefined ? "" : ` rejected@${state.rejected.revision}`
  return `${value}@${state.revision}${rejected}${state.freshness._tag === "Live" ? "" : " Stale"}`
}

describe("ConfigRef.stream", () => {
  verify(
    "ConfigRef.stream emits nothing before etcd answers, then Absent, then each change",
    () =>
      Effect.gen(function* () {
        const { faults, put, remove, watched } = yield* setUp
        yield* faults.outage
        const { seen } = yield* watched(ConfigRef.stream(key, Schema.Int))
        yield* elapse("1 minute")
        assert.deepEqual(seen, [])
        yield* faults.clear
        yield* elapse("5 seconds")
        yield* put("7")
        yield* put("8")
        yield* remove
        assert.deepEqual(seen.map(show), ["absent@1", "7@2", "8@3", "absent@4"])
      })
  )

  verify(
    "ConfigRef.stream keeps the last good value and reports a bad one once without its content",
    (log) =>
      Effect.gen(function* () {
        const { faults, put, watched } = yield* setUp
        yield* put(`{ "rate": 7 }`)
        const { seen } = yield* watched(ConfigRef.stream(key, Limits))
        yield* settle
        yield* put(`{ "rate": "hunter2", "owner": 1 }`)
        yield* put(`hunter2`)
        yield* put(new Uint8Array([0xff]))
        yield* faults.breakWatches()
        yield* elapse("5 seconds")
        yield* put(`{ "rate": 9 }`)
        assert.deepEqual(seen.map(show), [
          `{"rate":7}@2`,
          `{"rate":7}@2 rejected@3`,
          `{"rate":7}@2 rejected@4`,
          `{"rate":7}@2 rejected@5`,
          `{"rate":7}@2 rejected@5 Stale`,
          `{"rate":7}@2 rejected@5`,
          `{"rate":9}@6`
        ])
        assert.deepEqual(log.filter((line) => line.includes("not used")), [
          `Warn "/config/limits" at revision 3 is not used: rate: Expected number; owner: Expected string`,
          `Warn "/config/limits" at revision 4 is not used: it is not JSON`,
          `Warn "/config/limits" at revision 5 is not used: it is not UTF-8`
        ])
        assert.equal(yield* counted("etcd_discovery_config_rejected_total"), 3)
      })
  )

  verify(
    "ConfigRef.stream emits Absent with rejected if the key has had no good value",
    () =>
      Effect.gen(function* () {
        const { faults, put, remove, watched } = yield* setUp
        yield* put("bad")
        const { seen } = yield* watched(ConfigRef.stream(key, Schema.Int))
        yield* settle
        yield* put("7")
        yield* remove
        yield* put("bad")
        // The list and one read of history. The watch delivers the rest.
        assert.equal((yield* faults.calls("range")).length, 2)
        assert.deepEqual(seen.map(show), ["absent@2 rejected@2", "7@3", "absent@4", "absent@5 rejected@5"])
      })
  )

  verify(
    "ConfigRef.stream emits Absent for a value that was deleted during an outage with a compaction",
    (log) =>
      Effect.gen(function* () {
        const { faults, operator, put, remove, watched } = yield* setUp
        yield* put("7")
        yield* put("bad")
        const { seen } = yield* watched(ConfigRef.stream(key, Schema.Int))
        yield* settle
        const broken = <E>(meanwhile: Effect.Effect<unknown, E>) =>
          Effect.gen(function* () {
            yield* faults.outage
            yield* meanwhile
            const { header } = yield* operator.status
            yield* operator.compact({ revision: header.revision })
            yield* faults.clear
            yield* elapse("10 seconds")
          })
        yield* put("8")
        yield* put("worse")
        yield* broken(Effect.andThen(put("elsewhere", "/other"), put("elsewhere", "/other")))
        yield* broken(Effect.andThen(remove, put("bad")))
        yield* broken(put("9"))
        assert.deepEqual(seen.map(show), [
          "7@2 rejected@3",
          "8@4",
          "8@4 rejected@5",
          "8@4 rejected@5 Stale",
          "8@4 rejected@5",
          "8@4 rejected@5 Stale",
          "absent@9 rejected@9",
          "absent@9 rejected@9 Stale",
          "9@10"
        ])
        assert.equal(log.filter((line) => line.includes("not used")).length, 3)
      })
  )

  verify(
    "ConfigRef.make reads the last good value from history if the first value is bad",
    (log) =>
      Effect.gen(function* () {
        const { faults, operator, put, remove, reader } = yield* setUp
        const now = Effect.gen(function* () {
          const ref = yield* reader(ConfigRef.make(key, Schema.Int))
          return show(yield* ref.get)
        }).pipe(Effect.scoped)
        for (const value of ["6", "7", "bad"]) yield* put(value)
        for (let n = 0; n < 20; n++) yield* put("", "/other")
        yield* put("worse")
        assert.equal(yield* now, "7@3 rejected@25")
        assert.equal((yield* faults.calls("range")).length, 3)
        assert.equal(log.length, 1)
        yield* operator.compact({ revision: 4n })
        assert.equal(yield* now, "absent@2 rejected@25")
        yield* put("8")
        yield* remove
        for (const value of ["bad", "worse"]) yield* put(value)
        assert.equal(yield* now, "absent@28 rejected@29")
        yield* put("9")
        for (let n = 0; n < 17; n++) yield* put("bad")
        assert.equal(yield* now, "absent@28 rejected@47")
      })
  )

  verify(
    "ConfigRef.stream reads a good value written during an outage from history if a bad one followed",
    () =>
      Effect.gen(function* () {
        const { faults, operator, put, watched } = yield* setUp
        yield* put("7")
        const { seen } = yield* watched(ConfigRef.stream(key, Schema.Int))
        yield* settle
        const broken = Effect.fnUntraced(function* (values: ReadonlyArray<string>, compactAt: bigint) {
          yield* faults.outage
          for (const value of values) yield* put(value)
          yield* operator.compact({ revision: compactAt })
          yield* faults.clear
          yield* elapse("10 seconds")
        })
        yield* broken(["bad", "8", "bad", "9", "worse", "worst"], 5n)
        yield* broken(["bad", "bad", "bad"], 11n)
        assert.deepEqual(seen.map(show), [
          "7@2",
          "7@2 Stale",
          "9@6 rejected@8",
          "9@6 rejected@8 Stale",
          "9@6 rejected@11"
        ])
      })
  )

  verify(
    "ConfigRef.stream emits a value again if etcd is restored from a snapshot before its deletion",
    () =>
      Effect.gen(function* () {
        const { faults, put, remove, replace, watched } = yield* setUp
        yield* put("7")
        const { seen } = yield* watched(ConfigRef.stream(key, Schema.Int))
        yield* settle
        yield* remove
        yield* replace
        yield* put("7")
        yield* faults.breakWatches()
        yield* elapse("10 seconds")
        assert.deepEqual(seen.map(show), ["7@2", "absent@3", "absent@3 Stale", "7@2"])
      })
  )

  verify("ConfigRef decodes JSON, YAML, TOML and plain text", () =>
    Effect.gen(function* () {
      const { put, reader, remove } = yield* setUp
      const Since = Schema.Struct({ since: Schema.Date, tags: Schema.Array(Schema.String) })
      const read = <A>(schema: Schema.Codec<A, unknown>, format: "json" | "yaml" | "toml" | "text", text: string) =>
        Effect.gen(function* () {
          yield* remove
          yield* put(text)
          const state = yield* reader(
            Effect.scoped(Effect.flatMap(ConfigRef.make(key, schema, { format }), (r) => r.get))
          )
          return state._tag === "Present" ? state.value : state.rejected?.problems
        })
      const since = new Date("2026-01-01T00:00:00Z")
      const expected = { since, tags: ["a", "b"] }
      assert.deepEqual(yield* read(Since, "json", `{"since":"2026-01-01T00:00:00.000Z","tags":["a","b"]}`), expected)
      assert.deepEqual(yield* read(Since, "yaml", `since: 2026-01-01T00:00:00.000Z\ntags: [a, b] # c`), expected)
      assert.deepEqual(yield* read(Since, "toml", `since = 2026-01-01T00:00:00Z\ntags = ["a", "b"]`), expected)
      assert.deepEqual(yield* read(Schema.NumberFromString, "text", "7"), 7)
      assert.deepEqual(yield* read(Since, "yaml", `since: *hunter2`), [{
        path: "",
        rule: "it is not YAML: Unknown YAML alias"
      }])
      assert.deepEqual(yield* read(Since, "toml", `since = hunter2`), [{
        path: "",
        rule: "it is not TOML: Invalid value"
      }])
    }))

  verify(
    "ConfigRef.stream rejects a value whose schema throws and continues with the next one",
    () =>
      Effect.gen(function* () {
        const { put, watched } = yield* setUp
        const Throwing = Schema.Int.pipe(Schema.decodeTo(Schema.Int, {
          decode: SchemaGetter.transform((n: number) => {
            if (n === 13) throw new Error("unlucky")
            return n
          }),
          encode: SchemaGetter.passthrough()
        }))
        const { seen } = yield* watched(ConfigRef.stream(key, Throwing))
        yield* put("13")
        yield* put("14")
        assert.deepEqual(seen.map(show), ["absent@1", "absent@2 rejected@2", "14@3"])
      })
  )

  verify("ConfigRef.stream logs at most 20 rejected values a minute, and counts all", (log) =>
    Effect.gen(function* () {
      const { put, watched } = yield* setUp
      yield* watched(ConfigRef.stream(key, Schema.Int))
      for (let index = 0; index < 500; index++) yield* put(`"${index}"`)
      assert.equal(log.length, 21)
      assert.equal(yield* counted("etcd_discovery_config_rejected_total"), 500)
      yield* elapse("1 minute")
      yield* put('"again"')
      assert.deepEqual(log.length, 23)
      assert.equal(log[21], "Warn 480 more rejected values were not logged")
    }))

  verify(
    "ConfigRef.stream rejects values whose schema is asynchronous or overflows the stack",
    () =>
      Effect.gen(function* () {
        const { put, watched } = yield* setUp
        const Lists = Schema.Array(Schema.Unknown)
        const Later = Lists.pipe(Schema.decodeTo(Schema.toType(Lists), {
          decode: SchemaGetter.transformEffect((value: ReadonlyArray<unknown>) =>
            value.length === 3 ?
              Effect.succeed([overflow()]) :
              value.length === 2 ?
              Effect.delay(Effect.succeed(value), "1 second") :
              Effect.succeed(value)
          ),
          encode: SchemaGetter.passthrough()
        }))
        const { seen } = yield* watched(ConfigRef.stream(key, Later))
        yield* put("[[],[]]")
        yield* put("[[],[],[]]")
        yield* put("[[]]")
        assert.deepEqual(seen.map(show), ["absent@1", "absent@2 rejected@2", "absent@2 rejected@3", "[[]]@4"])
      })
  )

  verify(
    "ConfigRef.stream ignores a value of another key that a confused watch delivers",
    () =>
      Effect.gen(function* () {
        const { operator, put } = yield* setUp
        // As behind `etcd grpc-proxy`, which numbers watches anew: the reader gets the events of the whole prefix.
        const confused: Etcd = {
          ...operator,
          watch: (request) => operator.watch({ ...request, ...prefix("/config/") })
        }
        const { seen } = yield* collect(
          Stream.provideService(ConfigRef.stream("/config/timeout", Schema.Int), Etcd, confused)
        )
        yield* put("5", "/config/timeout")
        yield* put("64", "/config/replicas")
        yield* put("6", "/config/timeout")
        yield* settle
        assert.ok(!seen.some((state) => state._tag === "Present" && state.value === 64))
        assert.deepEqual(seen.map(show).at(-1), "6@4")
      })
  )

  verify(
    "ConfigRef ends with the defect of a retry schedule and keeps its last state as Stale",
    (log) =>
      Effect.gen(function* () {
        const { faults, put, reader } = yield* setUp
        yield* put("7")
        const retry = Schedule.spaced("1 second").pipe(Schedule.modifyDelay(() => Effect.die(new Error("unlucky"))))
        const ref = yield* reader(ConfigRef.make(key, Schema.Int, { retry }))
        const { exit } = yield* collect(ref.changes)
        yield* faults.outage
        yield* elapse("10 seconds")
        const ended = exit()
        assert.ok(ended?._tag === "Failure")
        assert.match(Cause.pretty(ended.cause), /unlucky/)
        assert.equal(show(yield* ref.get), "7@2 Stale")
        assert.ok(log.some((line) => line.startsWith("Error") && line.includes("unlucky")), String(log))
      })
  )

  verify("ConfigRef.stream continues if the logger throws", () =>
    Effect.gen(function* () {
      const { put, watched } = yield* setUp
      const throwing = Logger.make(() => {
        throw new Error("no log")
      })
      const { seen } = yield* Effect.provide(watched(ConfigRef.stream(key, Schema.Int)), Logger.layer([throwing]))
      yield* put("bad")
      yield* put("7")
      assert.deepEqual(seen.map(show), ["absent@1", "absent@2 rejected@2", "7@3"])
    }))

  verify(
    "ConfigRef.stream fails if etcd refuses, and before anything is sent for an invalid option",
    () =>
      Effect.gen(function* () {
        const { faults, watched } = yield* setUp
        const fieldOf = Effect.fnUntraced(function* (stream: Stream.Stream<unknown, { readonly _tag: string }, Etcd>) {
          const error = failureOf(yield* watched(stream)) as InvalidOption
          return [error._tag, error.option]
        })
        assert.deepEqual(yield* fieldOf(ConfigRef.stream("", Schema.Int)), ["InvalidOption", "key"])
        assert.deepEqual(yield* fieldOf(ConfigRef.stream(key, Schema.Int, { progressEvery: 0 })), [
          "InvalidOption",
          "progressEvery"
        ])
        assert.deepEqual(
          yield* fieldOf(Stream.unwrap(Effect.as(EtcdConfigProvider.make({ prefix: "" }), Stream.empty))),
          [
            "InvalidOption",
            "prefix"
          ]
        )
        assert.deepEqual(yield* faults.calls(), [])
        yield* faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
        const refused = failureOf(yield* watched(ConfigRef.stream(key, Schema.Int)))
        assert.match(
          String(refused),
          /^ConfigRefused: cannot follow configuration "\/config\/limits": etcd range .*PermissionDenied/
        )
      })
  )

  verify("ConfigRef.stream starts one watch, which ends with the stream", () =>
    Effect.gen(function* () {
      const { faults, watched } = yield* setUp
      const { interrupt } = yield* watched(ConfigRef.stream(key, Schema.Int))
      yield* settle
      assert.equal((yield* faults.openWatches).length, 1)
      yield* interrupt
      assert.equal((yield* faults.openWatches).length, 0)
    }))
})

describe("ConfigRef", () => {
  verify(
    "ConfigRef.get keeps the newest state as Stale while etcd refuses, and is Live again afterwards (D7)",
    () =>
      Effect.gen(function* () {
        const { faults, put, reader } = yield* setUp
        yield* put("7")
        const ref = yield* reader(ConfigRef.make(key, Schema.Int))
        const { exit } = yield* collect(ref.changes)
        assert.equal(show(yield* ref.get), "7@2")
        yield* put("8")
        assert.equal(show(yield* ref.get), "8@3")
        yield* faults.breakWatches(new PermissionDenied({ detail: "injected" }))
        yield* settle
        assert.equal(show(yield* ref.get), "8@3 Stale")
        yield* elapse("10 seconds")
        assert.equal(show(yield* ref.get), "8@3")
        assert.equal(exit(), undefined)
      })
  )

  verify("ConfigRef.changes emits only the newest state to a late reader", () =>
    Effect.gen(function* () {
      const { put, reader } = yield* setUp
      const ref = yield* reader(ConfigRef.make(key, Schema.Int))
      for (const value of [1, 2, 3]) yield* put(String(value))
      const { seen } = yield* collect(ref.changes)
      yield* settle
      assert.deepEqual(seen.map(show), ["3@4"])
    }))
})

describe("ConfigRef.apply", () => {
  /** Effects that end on request and take a second to be interrupted. */
  const applying = (options: { readonly whenNewer?: "interrupt" | "finish" }) =>
    Effect.gen(function* () {
      const { put, reader, remove } = yield* setUp
      const log: Array<string> = []
      const say = (line: string) => Effect.sync(() => void log.push(line))
      const ends = new Map<number, Deferred.Deferred<void>>()
      const apply = (value: number) =>
        Effect.gen(function* () {
          yield* say(`begin ${value}`)
          const end = yield* Deferred.make<void>()
          ends.set(value, end)
          yield* Deferred.await(end).pipe(
            Effect.onInterrupt(() => Effect.andThen(Effect.sleep("1 second"), say(`interrupted ${value}`)))
          )
          yield* say(`end ${value}`)
        })
      const end = (value: number) =>
        Effect.andThen(Deferred.succeed(ends.get(value) ?? assert.fail(`${value} was not begun`), undefined), settle)
      yield* start(reader(ConfigRef.apply(key, Schema.Int, apply, options)))
      return { put, remove, log, end }
    })

  verify(
    "ConfigRef.apply interrupts the effect for a newer value and waits for its end",
    () =>
      Effect.gen(function* () {
        const { end, log, put, remove } = yield* applying({})
        yield* put("1")
        yield* put("bad")
        yield* remove
        yield* elapse("10 seconds")
        assert.deepEqual(log.splice(0), ["begin 1"])
        yield* put("2")
        yield* put("3")
        yield* put("4")
        assert.deepEqual(log.splice(0), [])
        yield* elapse("1 second")
        assert.deepEqual(log.splice(0), ["interrupted 1", "begin 4"])
        yield* end(4)
        yield* put("bad")
        yield* put("5")
        assert.deepEqual(log, ["end 4", "begin 5"])
      })
  )

  verify(
    `ConfigRef.apply with whenNewer: "finish" lets the effect end and then applies the newest value`,
    () =>
      Effect.gen(function* () {
        const { end, log, put } = yield* applying({ whenNewer: "finish" })
        for (const value of ["1", "2", "bad", "3", "worse"]) yield* put(value)
        yield* elapse("1 minute")
        assert.deepEqual(log.splice(0), ["begin 1"])
        yield* end(1)
        assert.deepEqual(log.splice(0), ["end 1", "begin 3"])
        yield* end(3)
        yield* put("3")
        assert.deepEqual(log, ["end 3", "begin 3"])
      })
  )

  verify("ConfigRef.apply runs whenAbsent without a value and ignores lost connections", () =>
    Effect.gen(function* () {
      const { faults, put, reader, remove } = yield* setUp
      const log: Array<string> = []
      const say = (line: string) => Effect.sync(() => void log.push(line))
      yield* start(
        reader(ConfigRef.apply(key, Schema.Int, (value) => say(`use ${value}`), { whenAbsent: say("use none") }))
      )
      yield* put("1")
      yield* faults.breakWatches()
      yield* elapse("5 seconds")
      yield* put("bad")
      yield* remove
      yield* put("bad")
      yield* put("2")
      assert.deepEqual(log, ["use none", "use 1", "use none", "use 2"])
    }))

  verify(
    "ConfigRef.apply ends with the defect of a function that throws, and closes its watch",
    () =>
      Effect.gen(function* () {
        const { faults, put, reader } = yield* setUp
        const applying = yield* start(reader(ConfigRef.apply(key, Schema.Int, (value) => {
          if (value === 13) throw new Error("unlucky")
          return Effect.never
        })))
        yield* put("7")
        assert.equal(applying.exit(), undefined)
        yield* put("13")
        const ended = applying.exit()
        assert.ok(ended?._tag === "Failure")
        assert.match(Cause.pretty(ended.cause), /unlucky/)
        assert.equal((yield* faults.openWatches).length, 0)
      })
  )

  verify(
    "ConfigRef.apply fails as its effect does, is interrupted with it, and lets it run while etcd refuses (D7)",
    () =>
      Effect.gen(function* () {
        const { faults, put, reader } = yield* setUp
        yield* put("1")
        const failing = yield* start(reader(ConfigRef.apply(key, Schema.Int, (value) => Effect.fail(`no ${value}`))))
        assert.equal(failureOf(failing), "no 1")
        let interrupted = 0
        const endless = ConfigRef.apply(key, Schema.Int, () =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => interrupted++)))
        const one = yield* start(reader(endless))
        const other = yield* start(reader(endless))
        yield* one.interrupt
        assert.equal(interrupted, 1)
        yield* faults.breakWatches(new PermissionDenied({ detail: "injected" }))
        yield* elapse("10 seconds")
        assert.deepEqual([interrupted, other.exit()], [1, undefined])
      })
  )
})

describe("EtcdConfigProvider", () => {
  const provide = (puts: Readonly<Record<string, string | Uint8Array>>, preserveEmptyStrings = false) =>
    Effect.gen(function* () {
      const world = yield* setUp
      for (const [at, value] of Object.entries(puts)) yield* world.put(value, at)
      return {
        ...world,
        provider: yield* world.reader(EtcdConfigProvider.make({ prefix: "/config/app", preserveEmptyStrings }))
      }
    })

  verify(
    "EtcdConfigProvider maps the keys below the prefix to paths and numbers to lists",
    () =>
      Effect.gen(function* () {
        const { provider } = yield* provide({
          "/config/app/db/port": "5432",
          "/config/app/db": "postgres",
          "/config/app/hosts/0": "a",
          "/config/app/hosts/1": "b",
          "/config/app/empty": "",
          "/config/application/db": "no",
          "/config/app": "no",
          "/config/app/": "no"
        })
        const App = Schema.Struct({
          db: Schema.Struct({ port: Schema.NumberFromString }),
          hosts: Schema.Array(Schema.String)
        })
        assert.deepEqual(yield* Config.schema(App).parse(provider), { db: { port: 5432 }, hosts: ["a", "b"] })
        assert.equal(yield* Config.String("db").parse(provider), "postgres")
        assert.deepEqual(yield* Config.option(Config.String("empty")).parse(provider), Option.none())
        const nodes = yield* Effect.forEach([[], ["hosts"], ["db"], ["nothing"]], (path) => provider.load(path))
        assert.deepEqual(nodes, [
          { _tag: "Record", keys: new Set(["db", "hosts", "empty"]), value: undefined },
          { _tag: "Array", length: 2, value: undefined },
          { _tag: "Record", keys: new Set(["port"]), value: "postgres" },
          undefined
        ])
      })
  )

  verify(
    "EtcdConfigProvider reads the newest state and emits a consistent snapshot for each change",
    () =>
      Effect.gen(function* () {
        const { faults, operator, provider, put } = yield* provide({ "/config/app/a": "1", "/config/app/b/c": "1" })
        const both = Config.all([
          Config.String("a"),
          Config.String("c").pipe(Config.nested("b"), Config.withDefault("none"))
        ])
        const before = yield* Effect.flatMap(Stream.runHead(provider.changes), Effect.fromOption)
        const { seen } = yield* collect(Stream.mapEffect(provider.changes, (snapshot) => both.parse(snapshot)))
        yield* settle
        yield* operator.txn({
          then: ["a", "b/c"].map((at) => ({ _tag: "Put", request: { key: `/config/app/${at}`, value: "2" } }))
        })
        yield* settle
        assert.deepEqual(yield* both.parse(provider), ["2", "2"])
        assert.deepEqual(yield* both.parse(before), ["1", "1"])
        yield* operator.deleteRange({ key: "/config/app/b/c" })
        yield* settle
        assert.deepEqual(yield* provider.load(["b"]), undefined)
        yield* put("2", "/config/app/b/c")
        yield* faults.outage
        yield* operator.deleteRange({ key: "/config/app/b/c" })
        yield* put("3", "/config/app/a")
        yield* elapse("10 seconds")
        assert.deepEqual(yield* both.parse(provider), ["2", "2"])
        yield* operator.compact({ revision: (yield* operator.status).header.revision })
        yield* faults.clear
        yield* elapse("10 seconds")
        assert.deepEqual(seen, [["1", "1"], ["2", "2"], ["2", "none"], ["2", "2"], ["3", "none"]])
      })
  )

  verify(
    "EtcdConfigProvider keeps empty values with the option, and fails to read a value that is not UTF-8",
    () =>
      Effect.gen(function* () {
        const { provider } = yield* provide(
          { "/config/app/empty": "", "/config/app/bytes": new Uint8Array([0xff]) },
          true
        )
        assert.equal(yield* Config.String("empty").parse(provider), "")
        const error = yield* Effect.flip(provider.load(["bytes"]))
        assert.equal(error.message, `"/config/app/bytes" is not UTF-8`)
      })
  )

  verify(
    "EtcdConfigProvider bounds lists and trees whatever the keys are",
    () =>
      Effect.gen(function* () {
        const { provider } = yield* provide({
          "/config/app/hosts/0": "a",
          "/config/app/hosts/999999999": "b",
          [`/config/app/${"a/".repeat(50_000)}`]: "deep"
        })
        const nodes = yield* Effect.forEach([[], ["hosts"]], (path) => provider.load(path))
        assert.deepEqual(nodes, [
          { _tag: "Record", keys: new Set(["hosts"]), value: undefined },
          { _tag: "Record", keys: new Set(["0", "999999999"]), value: undefined }
        ])
      })
  )

  verify("EtcdConfigProvider.layer serves values without one line break at their end", () =>
    Effect.gen(function* () {
      const { put, reader } = yield* setUp
      yield* put("secret\n", "/config/app/password")
      yield* put("two\n\n", "/config/app/lines")
      yield* put("\n", "/config/app/empty")
      const values = Effect.all([
        Effect.flatMap(ConfigProvider.ConfigProvider, (provider) => Config.String("password").parse(provider)),
        Effect.flatMap(ConfigProvider.ConfigProvider, (provider) => Config.String("lines").parse(provider)),
        Effect.flatMap(
          ConfigProvider.ConfigProvider,
          (provider) => Config.option(Config.String("empty")).parse(provider)
        )
      ])
      assert.deepEqual(
        yield* reader(Effect.provide(values, EtcdConfigProvider.layer({ prefix: "/config/app" }))),
        ["secret", "two\n", Option.none()]
      )
    }))
})

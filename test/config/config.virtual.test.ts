import { Config, Deferred, Effect, Option, Schema, SchemaGetter, Stream } from "effect"
import assert from "node:assert/strict"
import {
  ConfigRef,
  type ConfigState,
  etcdConfigProvider,
  type InvalidConfigOption,
  onConfigChange,
  watchConfig
} from "../../src/config/mod.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { PermissionDenied } from "../../src/etcd/EtcdError.ts"
import { FaultyEtcd } from "../../src/testing/mod.ts"
import { describe } from "../harness/it.ts"
import { collect, counted, elapse, failureOf, settle, start, verify, world } from "../harness/virtual.ts"

const key = "/config/limits"
const Limits = Schema.Struct({ rate: Schema.Int, owner: Schema.optionalKey(Schema.String) })

/** An etcd as an operator sees it, and as the reader of configuration reaches it. */
const setUp = Effect.gen(function* () {
  const { operator, replace } = yield* world
  const { etcd, faults } = yield* FaultyEtcd.make(operator)
  return {
    operator,
    /** Another, empty etcd takes the place of this one. */
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
const show = (state: ConfigState<unknown>): string => {
  const value = state._tag === "Present" ? JSON.stringify(state.value) : "absent"
  const rejected = state.rejected === undefined ? "" : ` rejected@${state.rejected.revision}`
  return `${value}@${state.revision}${rejected}${state.freshness._tag === "Live" ? "" : " Stale"}`
}

describe("watchConfig", () => {
  verify(
    "tells nothing before etcd has answered, then that the key is absent, then each change",
    () =>
      Effect.gen(function* () {
        const { faults, put, remove, watched } = yield* setUp
        yield* faults.outage
        const { seen } = yield* watched(watchConfig(key, Schema.Int))
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
    "keeps the last good value when a bad one comes, and tells, logs and counts it once, without its content",
    (log) =>
      Effect.gen(function* () {
        const { faults, put, watched } = yield* setUp
        yield* put(`{ "rate": 7 }`)
        const { seen } = yield* watched(watchConfig(key, Limits))
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
        assert.equal(yield* counted("etcd_config_rejected"), 3)
      })
  )

  verify(
    "is absent with what was rejected while there was no good value since the key was made",
    () =>
      Effect.gen(function* () {
        const { faults, put, remove, watched } = yield* setUp
        yield* put("bad")
        const { seen } = yield* watched(watchConfig(key, Schema.Int))
        yield* settle
        yield* put("7")
        yield* remove
        yield* put("bad")
        // The list, and one look at what was there before; the rest comes by itself.
        assert.equal((yield* faults.calls("range")).length, 2)
        assert.deepEqual(seen.map(show), ["absent@2 rejected@2", "7@3", "absent@4", "absent@5 rejected@5"])
      })
  )

  verify(
    "is the same value after a compaction during a break, and not a value that was deleted meanwhile",
    (log) =>
      Effect.gen(function* () {
        const { faults, operator, put, remove, watched } = yield* setUp
        yield* put("7")
        yield* put("bad")
        const { seen } = yield* watched(watchConfig(key, Schema.Int))
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
    "finds the last good value in history when it lists a bad one, unless that is compacted or older than the key",
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

  verify("finds a good value that came during a break, though a bad one came after it", () =>
    Effect.gen(function* () {
      const { faults, operator, put, watched } = yield* setUp
      yield* put("7")
      const { seen } = yield* watched(watchConfig(key, Schema.Int))
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
    }))

  verify("is there again when etcd is restored from before it was deleted", () =>
    Effect.gen(function* () {
      const { faults, put, remove, replace, watched } = yield* setUp
      yield* put("7")
      const { seen } = yield* watched(watchConfig(key, Schema.Int))
      yield* settle
      yield* remove
      yield* replace
      yield* put("7")
      yield* faults.breakWatches()
      yield* elapse("10 seconds")
      assert.deepEqual(seen.map(show), ["7@2", "absent@3", "absent@3 Stale", "7@2"])
    }))

  verify("reads JSON, YAML, TOML and plain text, with what the schema makes of it", () =>
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

  verify("takes a schema that throws for one that refuses", () =>
    Effect.gen(function* () {
      const { put, watched } = yield* setUp
      const Throwing = Schema.Int.pipe(Schema.decodeTo(Schema.Int, {
        decode: SchemaGetter.transform((n: number) => {
          if (n === 13) throw new Error("unlucky")
          return n
        }),
        encode: SchemaGetter.passthrough()
      }))
      const { seen } = yield* watched(watchConfig(key, Throwing))
      yield* put("13")
      yield* put("14")
      assert.deepEqual(seen.map(show), ["absent@1", "absent@2 rejected@2", "14@3"])
    }))

  verify(
    "fails when etcd refuses, and before anything is sent when an option cannot be",
    () =>
      Effect.gen(function* () {
        const { faults, watched } = yield* setUp
        const fieldOf = Effect.fnUntraced(function* (stream: Stream.Stream<unknown, { readonly _tag: string }, Etcd>) {
          const error = failureOf(yield* watched(stream)) as InvalidConfigOption
          return [error._tag, error.field]
        })
        assert.deepEqual(yield* fieldOf(watchConfig("", Schema.Int)), ["InvalidConfigOption", "key"])
        assert.deepEqual(yield* fieldOf(watchConfig(key, Schema.Int, { progressEvery: 0 })), [
          "InvalidConfigOption",
          "progressEvery"
        ])
        assert.deepEqual(yield* fieldOf(Stream.unwrap(Effect.as(etcdConfigProvider({ prefix: "" }), Stream.empty))), [
          "InvalidConfigOption",
          "prefix"
        ])
        assert.deepEqual(yield* faults.calls(), [])
        yield* faults.set([{ method: "range", fault: FaultyEtcd.permissionDenied }])
        const refused = failureOf(yield* watched(watchConfig(key, Schema.Int)))
        assert.match(
          String(refused),
          /^ConfigRefused: cannot follow configuration "\/config\/limits": etcd range .*PermissionDenied/
        )
      })
  )

  verify("costs one watch, which ends with it", () =>
    Effect.gen(function* () {
      const { faults, watched } = yield* setUp
      const { interrupt } = yield* watched(watchConfig(key, Schema.Int))
      yield* settle
      assert.equal((yield* faults.openWatches).length, 1)
      yield* interrupt
      assert.equal((yield* faults.openWatches).length, 0)
    }))
})

describe("ConfigRef", () => {
  verify("has the newest state at hand, and keeps it when etcd refuses", () =>
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
      assert.equal(failureOf({ exit })?._tag, "ConfigRefused")
    }))

  verify("gives a late reader the newest state only", () =>
    Effect.gen(function* () {
      const { put, reader } = yield* setUp
      const ref = yield* reader(ConfigRef.make(key, Schema.Int))
      for (const value of [1, 2, 3]) yield* put(String(value))
      const { seen } = yield* collect(ref.changes)
      yield* settle
      assert.deepEqual(seen.map(show), ["3@4"])
    }))
})

describe("onConfigChange", () => {
  /** Applies that end when they are told to, and take a second to be interrupted. */
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
      yield* start(reader(onConfigChange(key, Schema.Int, apply, options)))
      return { put, remove, log, end }
    })

  verify(
    "interrupts an apply for a newer value, waits for its end, and then applies the newest",
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

  verify(`with whenNewer: "finish" lets an apply end, and then applies the newest`, () =>
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
    }))

  verify("applies whenAbsent when there is no value, and is not disturbed by breaks", () =>
    Effect.gen(function* () {
      const { faults, put, reader, remove } = yield* setUp
      const log: Array<string> = []
      const say = (line: string) => Effect.sync(() => void log.push(line))
      yield* start(
        reader(onConfigChange(key, Schema.Int, (value) => say(`use ${value}`), { whenAbsent: say("use none") }))
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
    "fails as the apply does, and interrupts the apply when it is interrupted or etcd refuses",
    () =>
      Effect.gen(function* () {
        const { faults, put, reader } = yield* setUp
        yield* put("1")
        const failing = yield* start(reader(onConfigChange(key, Schema.Int, (value) => Effect.fail(`no ${value}`))))
        assert.equal(failureOf(failing), "no 1")
        let interrupted = 0
        const endless = onConfigChange(key, Schema.Int, () =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => interrupted++)))
        const one = yield* start(reader(endless))
        const other = yield* start(reader(endless))
        yield* one.interrupt
        assert.equal(interrupted, 1)
        yield* faults.breakWatches(new PermissionDenied({ detail: "injected" }))
        yield* settle
        assert.equal((failureOf(other) as { readonly _tag: string })._tag, "ConfigRefused")
        assert.equal(interrupted, 2)
      })
  )
})

describe("etcdConfigProvider", () => {
  const provide = (puts: Readonly<Record<string, string | Uint8Array>>, preserveEmptyStrings = false) =>
    Effect.gen(function* () {
      const world = yield* setUp
      for (const [at, value] of Object.entries(puts)) yield* world.put(value, at)
      return {
        ...world,
        provider: yield* world.reader(etcdConfigProvider({ prefix: "/config/app", preserveEmptyStrings }))
      }
    })

  verify(
    "maps the keys below the prefix to paths, numbers to lists, and sees nothing beside it",
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
    "reads what was loaded last, and tells of each change with all that is there at one revision",
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

  verify("keeps empty values if it is told to, and fails where a value is no text", () =>
    Effect.gen(function* () {
      const { provider } = yield* provide(
        { "/config/app/empty": "", "/config/app/bytes": new Uint8Array([0xff]) },
        true
      )
      assert.equal(yield* Config.String("empty").parse(provider), "")
      const error = yield* Effect.flip(provider.load(["bytes"]))
      assert.equal(error.message, `"/config/app/bytes" is not UTF-8`)
    }))
})

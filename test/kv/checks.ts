/**
 * The checks of `./kv` that need neither time nor faults. They run on the engine and on each etcd.
 *
 * Each check has its own part of the keyspace and compares revisions relative to the first one. No two run at the same
 * time.
 *
 * @module
 */
import { type Cause, Effect, Exit, Option, Queue, Schedule, Schema, type Scope, Stream } from "effect"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { EtcdError } from "../../src/etcd/EtcdError.ts"
import { Compare, InvalidOption, InvalidValue, Kv, Lease, Op, Txn } from "../../src/kv/mod.ts"

/** One check. */
export interface Check {
  /** Stands alone in a log. */
  readonly title: string
  readonly body: (root: string) => Effect.Effect<void, unknown, Etcd | Scope.Scope>
}

/** The newest revision. */
export const revisionNow: Effect.Effect<bigint, EtcdError, Etcd> = Effect.map(
  Effect.flatMap(Etcd, (etcd) => etcd.range({ key: "/revision" })),
  ({ header }) => header.revision
)

/** The elements of a stream, one after the other, for the lifetime of the scope. */
export const reader = Effect.fnUntraced(function* <A, E, R>(stream: Stream.Stream<A, E, R>) {
  const queue = yield* Queue.unbounded<A, E | Cause.Done>()
  yield* stream.pipe(
    Stream.runForEach((value) => Queue.offer(queue, value)),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Queue.end(queue) : Queue.failCause(queue, exit.cause)),
    Effect.forkScoped({ startImmediately: true })
  )
  return Queue.take(queue)
})

/** The failure of an operation in a form that tests can compare. */
const failure = <A, E, R>(operation: Effect.Effect<A, E, R>): Effect.Effect<unknown, A, R> =>
  Effect.map(Effect.flip(operation), (error) => {
    if (error instanceof EtcdError) return [error.reason._tag, error.key]
    if (error instanceof InvalidValue) return [error._tag, error.key, error.revision, error.detail]
    if (error instanceof InvalidOption) return [error._tag, error.option]
    return error
  })

const entry = <A>(key: string, value: A, revision: bigint, more: object = {}) => ({
  key,
  value,
  revision,
  createRevision: revision,
  version: 1n,
  lease: 0n,
  ...more
})

const User = Schema.Struct({ name: Schema.String, since: Schema.Date })
const since = new Date("2026-01-01T00:00:00Z")

const grant = Effect.acquireRelease(Lease.grant("600 seconds"), (lease) => Effect.ignore(Lease.revoke(lease)))

/** All of them. */
export const checks: ReadonlyArray<Check> = [
  {
    title: "Kv.put and Kv.get write and read text, JSON and bytes, with the place in history",
    body: (root) =>
      Effect.gen(function* () {
        const at = yield* revisionNow
        const user = Kv.key(`${root}user`, User)
        const blob = Kv.key(`${root}blob`, Kv.bytes)
        assert.deepEqual(yield* Kv.get(`${root}text`), Option.none())
        assert.equal(yield* Kv.put(`${root}text`, "höhe"), at + 1n)
        yield* Kv.put(user, { name: "alice", since })
        yield* Kv.put(user, { name: "bob", since })
        yield* Kv.put(blob, new Uint8Array([0xff, 0]))
        assert.deepEqual(yield* Kv.get(`${root}text`), Option.some(entry(`${root}text`, "höhe", at + 1n)))
        assert.deepEqual(
          yield* Kv.get(user),
          Option.some(
            entry(`${root}user`, { name: "bob", since }, at + 3n, { createRevision: at + 2n, version: 2n })
          )
        )
        assert.deepEqual(
          Option.map(yield* Kv.get(user, { revision: at + 2n }), ({ value }) => value.name),
          Option.some("alice")
        )
        assert.deepEqual(
          Option.map(yield* Kv.get(blob, { serializable: true }), ({ value }) => [...value]),
          Option.some([0xff, 0])
        )
        // Other clients read plain JSON.
        assert.deepEqual(
          Option.map(yield* Kv.get(`${root}user`), ({ value }) => value),
          Option.some(`{"name":"bob","since":"2026-01-01T00:00:00.000Z"}`)
        )
      })
  },
  {
    title: "Kv.get fails with the key, the revision and the message of the schema if a value does not decode",
    body: (root) =>
      Effect.gen(function* () {
        const limit = Kv.key(`${root}limit`, Schema.Int)
        const revision = yield* Kv.put(`${root}limit`, "1.5")
        const error = yield* Effect.flip(Kv.get(limit))
        assert.ok(error instanceof InvalidValue)
        assert.deepEqual(
          [error.key, error.revision, error.message],
          [
            limit.name,
            revision,
            `cannot read "${limit.name}" as of revision ${revision}: Expected an integer; correct the value or the schema`
          ]
        )
        yield* Kv.put(`${root}limit`, "many")
        assert.match((yield* Effect.flip(Kv.get(limit))).message, /the value is not JSON/)
        yield* Kv.put(Kv.key(`${root}limit`, Kv.bytes), new Uint8Array([0xff]))
        assert.deepEqual(yield* failure(Kv.get(`${root}limit`)), [
          "InvalidValue",
          limit.name,
          revision + 2n,
          "the value is not UTF-8"
        ])
      })
  },
  {
    title: "Kv and Lease refuse invalid input before anything is sent",
    body: (root) =>
      Effect.gen(function* () {
        const limit = Kv.key(`${root}limit`, Schema.Int)
        const nothing = new Proxy({}, {
          get: (_, name) => assert.fail(`${String(name)} was called`)
        }) as Etcd
        const empty = ["InvalidArgument", ""]
        const refusals = {
          get: Kv.get(""),
          put: Kv.put("", "x"),
          half: Kv.get("\ud800"),
          delete: Kv.delete(""),
          deletePrefix: Kv.deletePrefix(""),
          exists: Kv.exists(Kv.key("", Schema.Int)),
          compareAndSet: Kv.compareAndSet("", { revision: 1n }, "x"),
          update: Kv.update("", () => "x"),
          inTxn: Kv.txn(Txn.make({ then: [Op.get("a"), Txn.make({ then: [Op.put("", "x")] })] })),
          compare: Kv.txn(Txn.make({ if: [Compare.value("").equals("x")] })),
          watch: Stream.runDrain(Kv.watch("")),
          revision: Kv.get("a", { revision: 0n }),
          version: Kv.txn(Txn.make({ if: [Compare.version("a").equals(1.5)] })),
          pageSize: Stream.runDrain(Kv.pages("a", { pageSize: 0 })),
          watchRevision: Stream.runDrain(Kv.watch("a", { revision: 0n })),
          progress: Stream.runDrain(Kv.watch("a", { progressEvery: 0 })),
          value: Kv.put(limit, 1.5),
          text: Kv.put("a", "\ud800"),
          valueInTxn: Kv.txn(Txn.make({ then: [Op.put(limit, 1.5)] })),
          compared: Kv.txn(Txn.make({ if: [Compare.value(limit).equals(1.5)] })),
          ttl: Lease.grant(5),
          session: Effect.scoped(Lease.make("1 second")),
          heartbeat: Effect.scoped(Lease.make("4 seconds", { heartbeat: "3 seconds" })),
          releaseTimeout: Effect.scoped(Lease.make("4 seconds", { releaseTimeout: "soon" as "1 second" }))
        }
        const invalid = ["InvalidValue", limit.name, undefined, "Expected an integer"]
        assert.deepEqual(
          yield* Effect.all(Object.fromEntries(
            Object.entries<Effect.Effect<unknown, unknown, Etcd>>(refusals).map(([name, effect]) => [
              name,
              failure(effect).pipe(Effect.provideService(Etcd, nothing))
            ])
          )),
          {
            get: empty,
            put: empty,
            half: ["InvalidArgument", "\ud800"],
            delete: empty,
            deletePrefix: empty,
            exists: empty,
            compareAndSet: empty,
            update: empty,
            inTxn: empty,
            compare: empty,
            watch: empty,
            revision: ["InvalidArgument", "a"],
            version: ["InvalidArgument", "a"],
            pageSize: ["InvalidOption", "pageSize"],
            watchRevision: ["InvalidOption", "revision"],
            progress: ["InvalidOption", "progressEvery"],
            value: invalid,
            text: ["InvalidValue", "a", undefined, "the value is not well-formed Unicode"],
            valueInTxn: invalid,
            compared: invalid,
            ttl: ["InvalidOption", "ttl"],
            session: ["InvalidOption", "ttl"],
            heartbeat: ["InvalidOption", "heartbeat"],
            releaseTimeout: ["InvalidOption", "releaseTimeout"]
          }
        )
      })
  },
  {
    title: "Kv.getPrefix and Kv.pages read one revision in order and reject only the values that do not decode",
    body: (root) =>
      Effect.gen(function* () {
        const at = yield* revisionNow
        const limits = Kv.prefix(`${root}limits/`, Schema.Int)
        for (const [index, name] of ["a", "b", "c", "d"].entries()) yield* Kv.put(limits.key(name), index)
        yield* Kv.put(`${root}limits/bad`, "?")
        yield* Kv.put(`${root}limits`, "beside it")
        yield* Effect.flatMap(Etcd, (etcd) =>
          etcd.put({ key: new Uint8Array([...new TextEncoder().encode(`${root}limits/`), 0xff]), value: "1" }))
        const { entries, rejected, revision } = yield* Kv.getPrefix(limits)
        assert.equal(revision, at + 7n)
        assert.deepEqual(entries, [
          entry(`${root}limits/a`, 0, at + 1n),
          entry(`${root}limits/b`, 1, at + 2n),
          entry(`${root}limits/c`, 2, at + 3n),
          entry(`${root}limits/d`, 3, at + 4n)
        ])
        assert.deepEqual(
          rejected.map(({ detail, key, revision }) => [key, revision, /JSON|UTF-8/.exec(detail)?.[0]]),
          [[`${root}limits/bad`, at + 5n, "JSON"], [`${root}limits/\ufffd`, at + 7n, "UTF-8"]]
        )
        assert.deepEqual((yield* Kv.getPrefix(limits, { revision: at + 2n })).entries.length, 2)
        assert.equal((yield* Kv.getPrefix(`${root}none/`)).entries.length, 0)

        // A write between two pages is not in the second one.
        const pages = yield* Kv.pages(limits, { pageSize: 3 }).pipe(
          Stream.tap(() =>
            Kv.put(limits.key("z"), 9)
          ),
          Stream.map((
            { entries, rejected, revision }
          ) => [entries.map(({ value }) => value), rejected.length, revision]),
          Stream.runCollect
        )
        assert.deepEqual(pages, [[[0, 1], 1, at + 7n], [[2, 3], 1, at + 7n]])
        assert.deepEqual(
          (yield* Stream.runCollect(Kv.pages(`${root}none/`))).map(({ entries }) => entries),
          [[]]
        )
      })
  },
  {
    title: "Kv.delete, deletePrefix, count and exists return what they found under exactly the prefix",
    body: (root) =>
      Effect.gen(function* () {
        for (const name of ["a/1", "a/2", "a/3", "ab"]) yield* Kv.put(root + name, "x")
        const before = yield* revisionNow
        assert.deepEqual(
          [yield* Kv.exists(`${root}a/1`), yield* Kv.exists(`${root}a`), yield* Kv.count(`${root}a/`)],
          [true, false, 3]
        )
        assert.deepEqual([yield* Kv.delete(`${root}a/1`), yield* Kv.delete(`${root}a/1`)], [true, false])
        assert.equal(yield* Kv.deletePrefix(`${root}a/`), 2)
        assert.equal(yield* Kv.deletePrefix(`${root}a/`), 0)
        assert.deepEqual(
          [yield* Kv.count(root), yield* Kv.count(root, { revision: before }), yield* Kv.exists(`${root}ab`)],
          [1, 4, true]
        )
        assert.equal(yield* Kv.exists(`${root}a/1`, { revision: before }), true)
      })
  },
  {
    title: "Kv.putIfAbsent writes once and then returns the existing entry",
    body: (root) =>
      Effect.gen(function* () {
        const limit = Kv.key(`${root}limit`, Schema.Int)
        const lease = yield* grant
        const first = yield* Kv.putIfAbsent(limit, 1, { lease })
        assert.ok(first.succeeded)
        assert.deepEqual(yield* Kv.putIfAbsent(limit, 2), {
          succeeded: false,
          current: entry(limit.name, 1, first.revision, { lease: lease.id })
        })
      })
  },
  {
    title: "Kv.compareAndSet writes only on the expected revision and keeps the lease",
    body: (root) =>
      Effect.gen(function* () {
        const limit = Kv.key(`${root}limit`, Schema.Int)
        const lease = yield* grant
        const revision = yield* Kv.put(limit, 1, { lease })
        const seen = Option.getOrThrow(yield* Kv.get(limit))
        assert.deepEqual(yield* Kv.compareAndSet(limit, seen, 2), { succeeded: true, revision: revision + 1n })
        const current = entry(limit.name, 2, revision + 1n, { createRevision: revision, version: 2n, lease: lease.id })
        assert.deepEqual(yield* Kv.compareAndSet(limit, seen, 3), { succeeded: false, current: Option.some(current) })
        assert.ok((yield* Kv.compareAndSet(limit, current, 4, { lease: 0n })).succeeded)
        assert.deepEqual(Option.map(yield* Kv.get(limit), ({ lease }) => lease), Option.some(0n))
        yield* Kv.delete(limit)
        assert.deepEqual(yield* Kv.compareAndSet(limit, current, 5), { succeeded: false, current: Option.none() })
        assert.ok((yield* Kv.compareAndSet(limit, { revision: 0n }, 6)).succeeded)
      })
  },
  {
    title: "Kv.update loses none of ten concurrent updates and returns the entry that etcd has",
    body: (root) =>
      Effect.gen(function* () {
        const visits = Kv.key(`${root}visits`, Schema.Int)
        const visit = Kv.update(visits, (before) => Option.getOrElse(before, () => 0) + 1, {
          retry: Schedule.spaced("1 millis")
        })
        const entries = yield* Effect.all(Array.from({ length: 10 }, () => visit), { concurrency: "unbounded" })
        assert.deepEqual(entries.map(({ value }) => value).sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        assert.deepEqual(
          entries.find(({ value }) => value === 10),
          Option.getOrUndefined(yield* Kv.get(visits))
        )
      })
  },
  {
    title: "Kv.update keeps the lease by default and writes nothing if its function fails",
    body: (root) =>
      Effect.gen(function* () {
        const limit = Kv.key(`${root}limit`, Schema.Int)
        const [lease, other] = [yield* grant, yield* grant]
        yield* Kv.put(limit, 1, { lease })
        const double = (before: Option.Option<number>) => Option.getOrElse(before, () => 0) * 2
        assert.equal((yield* Kv.update(limit, double)).lease, lease.id)
        const moved = yield* Kv.update(limit, double, { lease: other })
        assert.deepEqual(Option.some(moved), yield* Kv.get(limit))
        assert.deepEqual([moved.lease, moved.value], [other.id, 4])
        const refused = yield* Effect.flip(Kv.updateEffect(limit, () => Effect.fail("no" as const)))
        assert.equal(refused, "no")
        assert.deepEqual(yield* Kv.get(limit), Option.some(moved))
      })
  },
  {
    title: "Kv.atomically loses no transfer between accounts among ten concurrent ones",
    body: (root) =>
      Effect.gen(function* () {
        const accounts = Kv.prefix(`${root}accounts/`, Schema.Int)
        const names = ["a", "b", "c"]
        for (const name of names) yield* Kv.put(accounts.key(name), 100)
        const transfer = (from: string, to: string) =>
          Kv.atomically((txn) =>
            Effect.gen(function* () {
              const [source, target] = yield* Effect.all([txn.get(accounts.key(from)), txn.get(accounts.key(to))], {
                concurrency: "unbounded"
              })
              yield* txn.put(accounts.key(from), Option.getOrThrow(source) - 1)
              yield* txn.put(accounts.key(to), Option.getOrThrow(target) + 1)
            }), { retry: Schedule.spaced("1 millis") })
        const pairs = Array.from({ length: 10 }, (_, index) => [names[index % 3]!, names[(index + 1) % 3]!] as const)
        yield* Effect.all(pairs.map(([from, to]) => transfer(from, to)), { concurrency: "unbounded" })
        const { entries } = yield* Kv.getPrefix(accounts)
        assert.equal(entries.reduce((sum, { value }) => sum + value, 0), 300)
        assert.equal(entries.reduce((sum, { version }) => sum + Number(version) - 1, 0), 20)
      })
  },
  {
    title: "Kv.atomically prevents write skew: a key that was only read must not change",
    body: (root) =>
      Effect.gen(function* () {
        const onCall = Kv.prefix(`${root}on-call/`, Schema.Boolean)
        const [alice, bob] = [onCall.key("alice"), onCall.key("bob")]
        yield* Kv.put(alice, true)
        yield* Kv.put(bob, true)
        // Each is away while the other one is on call.
        const leave = (own: typeof alice, other: typeof bob) =>
          Kv.atomically((txn) =>
            Effect.gen(function* () {
              if (Option.contains(yield* txn.get(other), true)) yield* txn.put(own, false)
            }), { retry: Schedule.spaced("1 millis") })
        yield* Effect.all([leave(alice, bob), leave(bob, alice)], { concurrency: "unbounded" })
        const { entries } = yield* Kv.getPrefix(onCall)
        assert.equal(entries.filter(({ value }) => value).length, 1)
      })
  },
  {
    title: "Kv.atomically reads one revision and its own writes, and keeps the lease of a key that it read",
    body: (root) =>
      Effect.gen(function* () {
        const [a, b, c] = [Kv.key(`${root}a`, Schema.Int), Kv.key(`${root}b`, Schema.Int), `${root}c`]
        const lease = yield* grant
        yield* Kv.put(a, 1, { lease })
        yield* Kv.put(b, 1)
        yield* Kv.put(c, "old", { lease })
        const before = yield* revisionNow
        const read = yield* Kv.atomically((txn) =>
          Effect.gen(function* () {
            const first = yield* txn.get(a)
            yield* Kv.put(b, 2)
            return [first, yield* txn.get(b), yield* txn.get(a)]
          })
        )
        assert.deepEqual(read, [Option.some(1), Option.some(1), Option.some(1)])
        assert.equal(yield* revisionNow, before + 1n)
        const written = yield* Kv.atomically((txn) =>
          Effect.gen(function* () {
            yield* txn.get(a)
            yield* txn.put(a, 5)
            yield* txn.put(c, "new")
            yield* txn.delete(b)
            return [yield* txn.get(a), yield* txn.get(b), yield* txn.get(`${root}none`)]
          })
        )
        assert.deepEqual(written, [Option.some(5), Option.none(), Option.none()])
        const { entries } = yield* Kv.getPrefix(root)
        assert.deepEqual(entries.map(({ lease, value }) => [value, lease]), [["5", lease.id], ["new", 0n]])
        assert.equal(yield* revisionNow, before + 2n)
        assert.equal(yield* Effect.flip(Kv.atomically((txn) => Effect.andThen(txn.put(a, 9), Effect.fail("no")))), "no")
        assert.deepEqual(yield* failure(Kv.atomically((txn) => txn.put(a, 1.5))), [
          "InvalidValue",
          a.name,
          undefined,
          "Expected an integer"
        ])
        assert.deepEqual(yield* failure(Kv.atomically((txn) => txn.get(""))), ["InvalidArgument", ""])
        // A session in place of its lease id, for example.
        for (const lease of [{}, null, "5", 5, { leaseId: 5n }] as ReadonlyArray<unknown> as ReadonlyArray<bigint>) {
          const puts = [
            Kv.put(a, 1, { lease }),
            Kv.update(a, () => 1, { lease }),
            Kv.atomically((txn) => txn.put(a, 1, { lease }))
          ]
          for (const put of puts) assert.match(String(yield* failure(put)), /^InvalidArgument/, String(lease))
        }
        assert.equal(yield* revisionNow, before + 2n)
      })
  },
  {
    title: "Kv.txn returns the results of the applied branch at one revision",
    body: (root) =>
      Effect.gen(function* () {
        const limits = Kv.prefix(`${root}limits/`, Schema.Int)
        const [a, b] = [limits.key("a"), limits.key("b")]
        yield* Kv.put(a, 1)
        const at = yield* Kv.put(a, 2)
        const txn = Txn.make({
          if: [Compare.version(a).equals(2), Compare.absent(b)],
          then: [Op.put(b, 3), Op.get(b), Op.get(`${root}none`), Op.getPrefix(limits), Op.delete(a), Op.exists(a)],
          else: [Op.count(limits), Op.deletePrefix(limits)]
        })
        assert.deepEqual(yield* Kv.txn(txn), {
          succeeded: true,
          revision: at + 1n,
          results: [
            at + 1n,
            Option.some(entry(b.name, 3, at + 1n)),
            Option.none(),
            {
              revision: at + 1n,
              entries: [
                entry(a.name, 2, at, { createRevision: at - 1n, version: 2n }),
                entry(b.name, 3, at + 1n)
              ],
              rejected: []
            },
            true,
            false
          ]
        })
        assert.deepEqual(yield* Kv.txn(txn), { succeeded: false, revision: at + 2n, results: [1, 1] })
        const before = yield* Kv.txn(Txn.make({ then: [Op.getPrefix(limits, { revision: at })] }))
        assert.ok(before.succeeded)
        assert.deepEqual(
          [before.revision, before.results[0].revision, before.results[0].entries.map(({ value }) => value)],
          [at + 2n, at, [2]]
        )
        assert.deepEqual(
          yield* Kv.txn(Txn.make({ if: [Compare.exists(b)], then: [Op.put(b, 1)] })),
          { succeeded: false, revision: at + 2n, results: [] }
        )
      })
  },
  {
    title: "Txn.make nests transactions",
    body: (root) =>
      Effect.gen(function* () {
        const inner = Txn.make({
          if: [Compare.value(`${root}a`).equals("1")],
          then: [Op.get(`${root}a`)],
          else: [Op.put(`${root}a`, "1")]
        })
        const outer = Txn.make({ then: [inner, Op.count(root)] })
        const first = yield* Kv.txn(outer)
        assert.deepEqual(first, {
          succeeded: true,
          revision: first.revision,
          results: [{ succeeded: false, revision: first.revision, results: [first.revision] }, 1]
        })
        const second = yield* Kv.txn(outer)
        assert.deepEqual(second, {
          succeeded: true,
          revision: first.revision,
          results: [{
            succeeded: true,
            revision: first.revision,
            results: [Option.some(entry(`${root}a`, "1", first.revision))]
          }, 1]
        })
      })
  },
  {
    title: "Compare supports every operator on every target",
    body: (root) =>
      Effect.gen(function* () {
        const key = `${root}k`
        const lease = yield* grant
        const create = yield* Kv.put(key, "m")
        const mod = yield* Kv.put(key, "m", { lease })
        const typed = Kv.key(`${root}typed`, Schema.Int)
        yield* Kv.put(typed, 10)
        const holds = (comparison: Compare.Comparison<InvalidValue>) =>
          Effect.map(Kv.txn(Txn.make({ if: [comparison] })), ({ succeeded }) => succeeded)
        /** The four operators against a smaller, an equal and a larger operand. */
        const all = <V, E extends InvalidValue>(compare: Compare.Ordered<V, E>, values: readonly [V, V, V]) =>
          Effect.forEach(values, (value) =>
            Effect.all([
              holds(compare.equals(value)),
              holds(compare.notEquals(value)),
              holds(compare.greaterThan(value)),
              holds(compare.lessThan(value))
            ]))
        const [less, same, more] = [[false, true, true, false], [true, false, false, false], [false, true, false, true]]
        const expected = [less, same, more]
        assert.deepEqual(yield* all(Compare.value(key), ["a", "m", "z"]), expected)
        assert.deepEqual(yield* all(Compare.version(key), [1, 2n, 3]), expected)
        assert.deepEqual(yield* all(Compare.createRevision(key), [create - 1n, create, create + 1n]), expected)
        assert.deepEqual(yield* all(Compare.modRevision(key), [mod - 1n, mod, mod + 1n]), expected)
        assert.deepEqual(yield* all(Compare.lease(key), [lease.id - 1n, lease.id, lease.id + 1n]), expected)
        assert.deepEqual(
          yield* Effect.all([
            holds(Compare.value(typed).equals(10)),
            holds(Compare.value(typed).notEquals(10)),
            holds(Compare.value(`${root}none`).notEquals("x")),
            holds(Compare.version(`${root}none`).equals(0)),
            holds(Compare.exists(key)),
            holds(Compare.absent(key)),
            holds(Compare.exists(`${root}none`)),
            holds(Compare.absent(`${root}none`)),
            // On each key of a prefix.
            holds(Compare.version(Kv.prefix(root)).greaterThan(0)),
            holds(Compare.version(Kv.prefix(root)).greaterThan(1)),
            holds(Compare.absent(Kv.prefix(root))),
            holds(Compare.absent(Kv.prefix(`${root}none/`)))
          ]),
          [true, false, false, true, true, false, false, true, true, false, false, true]
        )
      })
  },
  {
    title: "Kv.watch emits the state, then every change with its revision, and previous entries on request",
    body: (root) =>
      Effect.gen(function* () {
        const limits = Kv.prefix(`${root}limits/`, Schema.Int)
        const [a, b] = [limits.key("a"), limits.key("b")]
        const at = yield* Kv.put(a, 1)
        const next = yield* reader(Kv.watch(limits, { previous: true }))
        assert.deepEqual(yield* next, {
          _tag: "Listed",
          relisted: false,
          revision: at,
          entries: [entry(a.name, 1, at)],
          rejected: []
        })
        yield* Kv.put(`${root}limits`, "not below the prefix")
        yield* Kv.txn(Txn.make({ then: [Op.put(a, 2), Op.put(b, 3)] }))
        const second = entry(a.name, 2, at + 2n, { createRevision: at, version: 2n })
        assert.deepEqual([yield* next, yield* next], [
          { _tag: "Put", revision: at + 2n, entry: second, previous: Option.some(entry(a.name, 1, at)) },
          { _tag: "Put", revision: at + 2n, entry: entry(b.name, 3, at + 2n), previous: Option.none() }
        ])
        yield* Kv.put(b.name, "?")
        const rejected = yield* next
        assert.ok(rejected._tag === "Rejected" && rejected.error instanceof InvalidValue)
        assert.deepEqual([rejected.key, rejected.revision, rejected.error.revision], [b.name, at + 3n, at + 3n])
        yield* Kv.deletePrefix(limits)
        assert.deepEqual([yield* next, yield* next], [
          { _tag: "Deleted", revision: at + 4n, key: a.name, previous: Option.some(second) },
          { _tag: "Deleted", revision: at + 4n, key: b.name, previous: Option.none() }
        ])
      })
  },
  {
    title: "Kv.watch emits only the changes from a past revision on",
    body: (root) =>
      Effect.gen(function* () {
        const key = `${root}k`
        const at = yield* Kv.put(key, "1")
        yield* Kv.put(`${key}2`, "beside it")
        yield* Kv.put(key, "2")
        yield* Kv.delete(key)
        const next = yield* reader(Kv.watch(key, { revision: at + 1n }))
        assert.deepEqual([yield* next, yield* next], [
          {
            _tag: "Put",
            revision: at + 2n,
            entry: entry(key, "2", at + 2n, { createRevision: at, version: 2n }),
            previous: Option.none()
          },
          { _tag: "Deleted", revision: at + 3n, key, previous: Option.none() }
        ])
      })
  },
  {
    title: "Kv.watch from a future revision emits neither the state nor earlier changes",
    body: (root) =>
      Effect.gen(function* () {
        const key = Kv.prefix(`${root}k`)
        const at = yield* Kv.put(`${root}k`, "0")
        const next = yield* reader(Kv.watch(key, { revision: at + 3n }))
        yield* Kv.put(`${root}k`, "1")
        yield* Kv.txn(Txn.make({ then: [Op.put(`${root}k`, "2"), Op.put(`${root}k2`, "2")] }))
        yield* Kv.put(`${root}k2`, "3")
        yield* Kv.put(`${root}k`, "4")
        const shown = Effect.map(next, (event) => [event._tag, event.revision - at])
        assert.deepEqual([yield* shown, yield* shown], [["Put", 3n], ["Put", 4n]])
      })
  },
  {
    title: "Kv.watch relists if its revision is compacted",
    body: (root) =>
      Effect.gen(function* () {
        const key = `${root}k`
        const at = yield* Kv.put(key, "1")
        const revision = yield* Kv.put(key, "2")
        yield* Effect.flatMap(Etcd, (etcd) => etcd.compact({ revision }))
        const next = yield* reader(Kv.watch(key, { revision: at }))
        assert.deepEqual(yield* next, {
          _tag: "Listed",
          relisted: true,
          revision,
          entries: [entry(key, "2", revision, { createRevision: at, version: 2n })],
          rejected: []
        })
        yield* Kv.delete(key)
        assert.equal((yield* next)._tag, "Deleted")
      })
  },
  {
    title: "Kv.watch keeps a bounded number of 5,000 changes for a slow reader and loses none",
    body: (root) =>
      Effect.gen(function* () {
        const numbers = Kv.prefix(root, Schema.Int)
        const pull = yield* Stream.toPull(Kv.watch(numbers))
        assert.deepEqual((yield* pull).map(({ _tag }) => _tag), ["Listed"])
        // Once the watch is open, each Txn is a response. What a new watch has missed may come in one response.
        yield* Kv.put(numbers.key("open"), 0)
        assert.deepEqual((yield* pull).map(({ _tag }) => _tag), ["Put"])
        const keys = Array.from({ length: 100 }, (_, index) => numbers.key(String(index)))
        const written = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, batch) => batch),
          (batch) => Kv.txn(Txn.make({ then: [...keys.map((key) => Op.put(key, batch))] }))
        )
        const sizes: Array<number> = []
        const taken: Array<readonly [bigint, number]> = []
        while (taken.length < 5000) {
          const events = yield* pull
          sizes.push(events.length)
          for (const event of events) {
            assert.ok(event._tag === "Put")
            taken.push([event.revision, event.entry.value])
          }
        }
        assert.deepEqual(
          taken,
          written.flatMap(({ revision }, batch) => Array.from({ length: 100 }, () => [revision, batch]))
        )
        assert.ok((sizes[0] ?? 0) < 2500, String(sizes))
      })
  },
  {
    title: "Lease.grant, timeToLive, keepAliveOnce, leases and revoke work on one lease",
    body: (root) =>
      Effect.gen(function* () {
        const lease = yield* grant
        yield* Kv.put(`${root}a`, "1", { lease })
        yield* Kv.put(`${root}b`, "1", { lease: lease.id })
        const { granted, keys, remaining } = Option.getOrThrow(yield* Lease.timeToLive(lease))
        assert.deepEqual([granted, [...keys].sort()], [lease.ttl, [`${root}a`, `${root}b`]])
        assert.ok(Number(remaining) !== 0)
        assert.deepEqual(yield* Lease.keepAliveOnce(lease), lease.ttl)
        assert.ok((yield* Lease.leases).includes(lease.id))
        yield* Lease.revoke(lease)
        assert.equal(yield* Kv.count(root), 0)
        assert.deepEqual(yield* Lease.timeToLive(lease.id), Option.none())
        const gone = ["LeaseNotFound", lease.id.toString(16)]
        assert.deepEqual(
          [yield* failure(Lease.keepAliveOnce(lease)), yield* failure(Lease.revoke(lease))],
          [gone, gone]
        )
        assert.deepEqual(
          yield* Effect.map(failure(Kv.put(`${root}a`, "1", { lease })), (error) => String(error).split(",")[0]),
          "LeaseNotFound"
        )
        assert.ok(!(yield* Lease.leases).includes(lease.id))
        const chosen = yield* Lease.grant("600 seconds", { id: lease.id })
        assert.deepEqual([chosen.id, yield* failure(Lease.grant("600 seconds", { id: lease.id }))], [
          lease.id,
          ["LeaseExists", lease.id.toString(16)]
        ])
        yield* Lease.revoke(chosen)
      })
  },
  {
    title: "Lease.make keeps keys until the scope closes",
    body: (root) =>
      Effect.gen(function* () {
        const id = yield* Effect.scoped(Effect.gen(function* () {
          const lease = yield* Lease.make("10 seconds")
          yield* Kv.put(`${root}a`, "1", { lease })
          const { granted, keys } = Option.getOrThrow(yield* lease.timeToLive)
          assert.deepEqual([granted, keys], [yield* lease.keepAliveOnce, [`${root}a`]])
          assert.ok(yield* Kv.exists(`${root}a`))
          return lease.id
        }))
        assert.deepEqual([yield* Kv.exists(`${root}a`), yield* Lease.timeToLive(id)], [false, Option.none()])
      })
  }
]

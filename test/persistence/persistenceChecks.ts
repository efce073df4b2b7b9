/**
 * The checks of upstream's suites of `Persistence` and `PersistedCache`, and of further promises.
 *
 * @module
 */
import { Context, Duration, Effect, Exit, Layer, Schema } from "effect"
import { Persistable, PersistedCache, Persistence } from "effect/persistence"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import { EtcdPersistence } from "../../src/persistence/mod.ts"
import { randomOf, seed } from "../harness/seed.ts"
import type { Check } from "./Check.ts"

class User extends Schema.Class<User>("User")({ id: Schema.Finite, name: Schema.String }) {}

class GetUser extends Persistable.Class<{ payload: { id: number } }>()("GetUser", {
  primaryKey: ({ id }) => `GetUser:${id}`,
  success: User,
  error: Schema.String
}) {}

class Greeting extends Context.Service<Greeting, { readonly text: string }>()("Greeting") {}

const ada = new User({ id: 1, name: "Ada" })

/** The raw store of an id. */
const storeOf = (prefix: string, storeId: string) =>
  Effect.flatMap(
    Layer.build(EtcdPersistence.layerBacking({ prefix })),
    (context) => Context.get(context, Persistence.BackingPersistence).make(storeId)
  )

const seconds = (n: number) => Duration.seconds(n)

export const checks: ReadonlyArray<Check> = [
  {
    title: "PersistedCache on EtcdPersistence looks a key up once, also from a second cache",
    body: (prefix) =>
      Effect.gen(function* () {
        const persistence = yield* Persistence.Persistence
        let lookups = 0
        const cache = PersistedCache.make(
          ({ id }: GetUser) =>
            Effect.sync(() => {
              lookups++
              return new User({ id, name: "Ada" })
            }),
          { storeId: "users", timeToLive: () => 5000 }
        )
        const [first, second] = yield* Effect.all([cache, cache])
        const request = new GetUser({ id: 1 })
        assert.deepEqual(yield* first.get(request), ada)
        assert.deepEqual(yield* first.get(request), ada)
        assert.deepEqual(yield* second.get(request), ada)
        assert.equal(lookups, 1)

        const store = yield* persistence.make({ storeId: "users" })
        assert.deepEqual(yield* store.get(request), Exit.succeed(ada))
        yield* first.invalidate(request)
        assert.equal(yield* store.get(request), undefined)
        yield* first.get(request)
        assert.equal(lookups, 2)
      }).pipe(Effect.provide(EtcdPersistence.layer({ prefix })))
  },
  {
    title: "Persistence on EtcdPersistence keeps failures and successes in order",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* (yield* Persistence.Persistence).make({ storeId: "users", timeToLive: () => 5000 })
        const [one, two, three] = [new GetUser({ id: 1 }), new GetUser({ id: 2 }), new GetUser({ id: 3 })]
        yield* store.setMany([[one, Exit.fail("not found")], [three, Exit.succeed(ada)]])
        assert.deepEqual(
          yield* store.getMany([three, two, one]),
          [Exit.succeed(ada), undefined, Exit.fail("not found")]
        )
        yield* TestClock.adjust(5000)
        assert.deepEqual(yield* store.getMany([one, three]), [undefined, undefined])
      }).pipe(Effect.provide(EtcdPersistence.layer({ prefix })))
  },
  {
    title: "PersistedCache on EtcdPersistence takes the services of a lookup when it runs",
    body: (prefix) =>
      Effect.gen(function* () {
        const cache = yield* PersistedCache.make(
          ({ id }: GetUser) => Effect.map(Greeting, ({ text }) => new User({ id, name: text })),
          { storeId: "greetings", timeToLive: () => 5000, requireServicesAt: "lookup" }
        )
        const get = (id: number, text: string) =>
          Effect.map(Effect.provideService(cache.get(new GetUser({ id })), Greeting, { text }), ({ name }) => name)
        assert.deepEqual([yield* get(1, "a"), yield* get(2, "b"), yield* get(1, "c")], ["a", "b", "a"])
      }).pipe(Effect.provide(EtcdPersistence.layer({ prefix })))
  },
  {
    title: "EtcdPersistence returns what Effect's persistence in memory returns, over 120 random operations",
    body: (prefix) =>
      Effect.gen(function* () {
        const random = randomOf(seed)
        const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(random() * list.length)] as A
        const backing = Context.get(
          yield* Layer.build(Persistence.layerBackingMemory),
          Persistence.BackingPersistence
        )
        const ids = ["users", "users/a", "users%2Fa", "ü"]
        const stores = yield* Effect.forEach(ids, (id) => Effect.all([storeOf(prefix, id), backing.make(id)]))
        const keys: [string, ...Array<string>] = ["", "a", "a/b", "b"]
        // On etcd the leases are real: none may expire while the clock of the store stands still.
        const ttls = [undefined, undefined, seconds(60), seconds(700), seconds(3000), seconds(90_000)]
        for (let index = 0; index < 120; index++) {
          const [ours, model] = pick(stores)
          const both = (run: (store: Persistence.BackingPersistenceStore) => Effect.Effect<unknown, unknown>) =>
            Effect.all([run(ours), run(model)])
          const [key, ttl, value] = [pick(keys), pick(ttls), { index, text: '\\u0000\\ "' }]
          const kind = Math.floor(random() * 6)
          if (kind === 0) yield* both((store) => store.set(key, value, ttl))
          if (kind === 1) yield* both((store) => store.setMany([[key, value, ttl], ["b", [index], undefined]]))
          if (kind === 2) yield* both((store) => store.setMany([[key, [0], ttl], [key, value, ttl]]))
          if (kind === 3) yield* both((store) => store.remove(key))
          if (kind === 4) yield* TestClock.adjust(seconds(pick([1, 500, 1500, 60_000])))
          if (kind === 5 && random() < 0.3) yield* both((store) => store.clear)
          const where = `seed ${seed}, operation ${index}`
          assert.deepEqual(yield* ours.getMany(keys), yield* model.getMany(keys), where)
          assert.deepEqual(yield* ours.get(key), yield* model.get(key), where)
        }
        for (const [ours, model] of stores) assert.deepEqual(yield* ours.getMany(keys), yield* model.getMany(keys))
      })
  },
  {
    title: "EtcdPersistence ignores an entry from its expiry on, to the millisecond",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* storeOf(prefix, "users")
        yield* store.set("a", { n: 1 }, Duration.millis(2500))
        yield* TestClock.adjust(2499)
        assert.deepEqual(yield* store.get("a"), { n: 1 })
        yield* TestClock.adjust(1)
        assert.equal(yield* store.get("a"), undefined)
      })
  },
  {
    title: "EtcdPersistence gives entries with a time to live a lease that outlives them, and others none",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* storeOf(prefix, "users")
        const leaseOf = (key: string) =>
          Effect.flatMap(etcd.range({ key: `${prefix}users/${key}` }), ({ kvs: [kv] }) =>
            Effect.map(etcd.leaseTimeToLive({ id: kv?.lease ?? 0n }), ({ grantedTtl }) => ({
              id: kv?.lease ?? 0n,
              grantedTtl
            })))
        yield* Effect.forEach([1, 5, 60, 3600], (ttl) =>
          store.set(String(ttl), {}, seconds(ttl)))
        for (const ttl of [1, 5, 60, 3600]) {
          const { grantedTtl } = yield* leaseOf(String(ttl))
          assert.ok(grantedTtl >= ttl && grantedTtl <= 1.57 * ttl + 2, `a lease of ${grantedTtl} s for ${ttl} s`)
        }
        yield* store.set("5", {}, undefined)
        assert.equal((yield* leaseOf("5")).id, 0n)
      })
  },
  {
    title: "EtcdPersistence shares one lease among entries of a similar time to live",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* storeOf(prefix, "users")
        const leases = Effect.map(
          etcd.range(prefixRange(prefix)),
          ({ kvs }) => new Set(kvs.map(({ lease }) => lease)).size
        )
        for (let index = 0; index < 20; index++) {
          yield* store.set(String(index), {}, seconds(100))
          yield* TestClock.adjust("1 second")
        }
        assert.equal(yield* leases, 1)
        yield* TestClock.adjust("30 seconds")
        yield* store.set("later", {}, seconds(100))
        assert.equal(yield* leases, 2)
      })
  },
  {
    title: "EtcdPersistence grants another lease if an operator revoked the one at hand",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* storeOf(prefix, "users")
        yield* store.set("a", { n: 1 }, seconds(60))
        const { kvs: [kv] } = yield* etcd.range({ key: `${prefix}users/a` })
        yield* etcd.leaseRevoke(kv?.lease ?? 0n)
        assert.equal(yield* store.get("a"), undefined)
        yield* store.set("a", { n: 2 }, seconds(60))
        assert.deepEqual(yield* store.get("a"), { n: 2 })
      })
  },
  {
    title: "EtcdPersistence.setMany writes 250 entries, and large ones in several transactions",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* storeOf(prefix, "users")
        const entries = Array.from({ length: 250 }, (_, index) => [`k${index}`, { index }, seconds(60)] as const)
        yield* store.setMany([["first", { text: "x".repeat(900_000) }, seconds(60)], ...entries, [
          "last",
          { text: "y".repeat(900_000) },
          undefined
        ]])
        const found = yield* store.getMany(["k0", "k249", "first", "last"])
        assert.deepEqual(found.slice(0, 2), [{ index: 0 }, { index: 249 }])
        assert.deepEqual(found.map((value) => value !== undefined), [true, true, true, true])
      })
  },
  {
    title: "EtcdPersistence fails with PersistenceError for what it can neither read nor write",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* storeOf(prefix, "users")
        for (const value of ["no JSON", "null", "5", "[1]", "{}"]) {
          yield* etcd.put({ key: `${prefix}users/foreign`, value })
          assert.match((yield* Effect.flip(store.get("foreign"))).message, /cannot read entry "foreign"/)
          assert.deepEqual(yield* store.getMany(["foreign"]), [undefined])
        }
        const cyclic: Record<string, unknown> = {}
        cyclic["self"] = cyclic
        assert.match((yield* Effect.flip(store.set("a", cyclic, undefined))).message, /cannot write entry "a"/)
        const large = { text: "x".repeat(2_000_000) }
        assert.match((yield* Effect.flip(store.setMany([["a", large, undefined]]))).message, /TooLarge/)
      })
  },
  {
    title: "EtcdPersistence refuses a prefix without a name before it sends anything",
    body: () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(EtcdPersistence.layer({ prefix: "/" })))
        assert.equal(error.option, "prefix")
      })
  }
]

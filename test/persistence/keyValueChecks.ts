/**
 * The checks of upstream's suite of `KeyValueStore`, and of further promises.
 *
 * @module
 */
import { Effect, Schema } from "effect"
import * as Base64 from "effect/encoding/Base64"
import { KeyValueStore } from "effect/persistence"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { Etcd } from "../../src/etcd/Etcd.ts"
import { prefix as prefixRange } from "../../src/etcd/KeyRange.ts"
import { EtcdError } from "../../src/etcd/EtcdError.ts"
import { EtcdKeyValueStore } from "../../src/persistence/mod.ts"
import { randomOf, seed } from "../harness/seed.ts"
import type { Check } from "./Check.ts"

const bytes = new Uint8Array([0, 42, 255, 128])
const utf8 = (text: string) => new TextEncoder().encode(text)

/** The result of a store in a form that can be compared between two stores. */
const look = (store: KeyValueStore.KeyValueStore, key: string) =>
  Effect.all({
    text: store.get(key),
    bytes: Effect.map(store.getUint8Array(key), (bytes) => bytes && Base64.encode(bytes)),
    has: store.has(key),
    size: store.size,
    isEmpty: store.isEmpty,
    keys: Effect.map(store.keys, (keys) => keys.toSorted())
  })

type Operation = readonly [
  key: string,
  title: string,
  run: (store: KeyValueStore.KeyValueStore) => Effect.Effect<unknown, unknown>
]

const keys = ["", "a", "a/b", "ab", "b", "ü/💡"]
const values = [
  "",
  "text",
  "Zm9v",
  "\ufeffmark",
  "héllo 👋",
  new Uint8Array(),
  bytes,
  new Uint8Array([255]),
  utf8("text")
]

const operation = (random: () => number): Operation => {
  const pick = <A>(list: ReadonlyArray<A>): A => list[Math.floor(random() * list.length)] as A
  const key = pick(keys)
  const value = pick(values)
  return pick<Operation>([
    [key, `set ${value}`, (store) => Effect.asVoid(store.set(key, value))],
    [key, `set ${value}`, (store) => Effect.asVoid(store.set(key, value))],
    [key, "remove", (store) => Effect.asVoid(store.remove(key))],
    [key, "modify", (store) => store.modify(key, (text) => `${text}+`)],
    [
      key,
      "modifyUint8Array",
      (store) =>
        Effect.map(store.modifyUint8Array(key, (bytes) => bytes.toReversed()), (bytes) => bytes && Base64.encode(bytes))
    ],
    [key, "clearPrefix", (store) => store.clearPrefix(key)]
  ])
}

export const checks: ReadonlyArray<Check> = [
  {
    title: "EtcdKeyValueStore returns bytes as they were set, and as base64 when read as text",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdKeyValueStore.make({ prefix })
        yield* store.set("binary", bytes)
        assert.equal(yield* store.get("binary"), Base64.encode(bytes))
        assert.deepEqual(yield* store.getUint8Array("binary"), bytes)
      })
  },
  {
    title: "EtcdKeyValueStore does not decode text as base64",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdKeyValueStore.make({ prefix })
        yield* store.set("text", "Zm9v")
        assert.equal(yield* store.get("text"), "Zm9v")
        assert.deepEqual(yield* store.getUint8Array("text"), utf8("Zm9v"))
      })
  },
  {
    title: "EtcdKeyValueStore returns what Effect's store in memory returns, over 150 random operations",
    body: (prefix) =>
      Effect.gen(function* () {
        const random = randomOf(seed)
        const store = yield* EtcdKeyValueStore.make({ prefix })
        yield* Effect.gen(function* () {
          const model = yield* KeyValueStore.KeyValueStore
          for (let index = 0; index < 150; index++) {
            const [key, title, run] = operation(random)
            const where = `seed ${seed}, operation ${index}: ${title} ${key}`
            assert.deepEqual(yield* run(store), yield* run(model), where)
            assert.deepEqual(yield* look(store, key), yield* look(model, key), where)
          }
          for (const key of keys) assert.deepEqual(yield* look(store, key), yield* look(model, key), `seed ${seed}`)
        }).pipe(Effect.provide(KeyValueStore.layerMemory))
      })
  },
  {
    title: "EtcdKeyValueStore.modify applies each of 20 concurrent updates once",
    body: (prefix) =>
      Effect.gen(function* () {
        const stores = yield* Effect.all([EtcdKeyValueStore.make({ prefix }), EtcdKeyValueStore.make({ prefix })])
        yield* stores[0].set("count", "0")
        const add = (store: KeyValueStore.KeyValueStore) => store.modify("count", (text) => String(Number(text) + 1))
        for (let round = 0; round < 10; round++) {
          // Both read before either writes: one of them has to read again.
          yield* TestClock.withLive(Effect.all(stores.map(add), { concurrency: 2 }))
        }
        assert.equal(yield* stores[0].get("count"), "20")
      })
  },
  {
    title: "EtcdKeyValueStore.modify keeps the lease of the key",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* EtcdKeyValueStore.make({ prefix })
        const { id } = yield* etcd.leaseGrant({ ttl: 1000 })
        yield* etcd.put({ key: `${prefix}a`, value: "1", lease: id })
        assert.equal(yield* store.modify("a", (text) => `${text}2`), "12")
        assert.equal((yield* etcd.range({ key: `${prefix}a` })).kvs[0]?.lease, id)
        yield* etcd.leaseRevoke(id)
      })
  },
  {
    title: "EtcdKeyValueStore stores text as it is, so that etcdctl can read and write it",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* EtcdKeyValueStore.make({ prefix })
        yield* store.set("a", "héllo")
        assert.deepEqual((yield* etcd.range({ key: `${prefix}a` })).kvs[0]?.value, utf8("héllo"))
        yield* etcd.put({ key: `${prefix}b`, value: "from outside" })
        yield* etcd.put({ key: `${prefix}c`, value: new Uint8Array([0xc3, 0x28]) })
        assert.equal(yield* store.get("b"), "from outside")
        assert.equal(yield* store.get("c"), Base64.encode(new Uint8Array([0xc3, 0x28])), "not UTF-8, so bytes")
      })
  },
  {
    title: "EtcdKeyValueStore touches no key outside of its prefix",
    body: (prefix) =>
      Effect.gen(function* () {
        const etcd = yield* Etcd
        const store = yield* EtcdKeyValueStore.make({ prefix: `${prefix}one` })
        yield* etcd.put({ key: `${prefix}one`, value: "" })
        yield* etcd.put({ key: `${prefix}oneness/a`, value: "" })
        yield* store.set("a", "1")
        assert.deepEqual(yield* store.keys, ["a"])
        assert.equal(yield* store.size, 1)
        yield* store.clear
        yield* store.clearPrefix("")
        assert.equal((yield* etcd.range(prefixRange(prefix))).count, 2n)
      })
  },
  {
    title: "EtcdKeyValueStore works with KeyValueStore.prefix and KeyValueStore.toSchemaStore",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdKeyValueStore.make({ prefix })
        const users = KeyValueStore.toSchemaStore(
          KeyValueStore.prefix(store, "users/"),
          Schema.Struct({ name: Schema.String, since: Schema.Date })
        )
        const user = { name: "Ada", since: new Date(0) }
        yield* users.set("1", user)
        yield* users.modify("1", (user) => ({ ...user, name: "Grace" }))
        const found = yield* users.get("1")
        assert.deepEqual(found._tag === "Some" && found.value, { ...user, name: "Grace" })
        assert.deepEqual(yield* store.keys, ["users/1"])
      })
  },
  {
    title: "EtcdKeyValueStore fails with etcd's refusal of a value above 1.5 MiB, and refuses lone surrogates itself",
    body: (prefix) =>
      Effect.gen(function* () {
        const store = yield* EtcdKeyValueStore.make({ prefix })
        const large = yield* Effect.flip(store.set("large", "x".repeat(2 * 1024 * 1024)))
        assert.equal(large.method, "set")
        assert.equal(large.key, "large")
        assert.ok(large.cause instanceof EtcdError && large.cause.reason._tag === "TooLarge")
        yield* store.set("a", "1")
        const failures = yield* Effect.forEach([
          store.get("\ud800"),
          store.set("\ud800", ""),
          store.set("a", "\ud800"),
          store.modify("a", () => "\ud800"),
          store.remove("\ud800"),
          store.has("\ud800"),
          store.clearPrefix("\ud800")
        ], (operation) => Effect.flip<unknown, KeyValueStore.KeyValueStoreError, never>(operation))
        for (const { message } of failures) assert.match(message, /lone surrogate/)
        assert.equal(yield* store.get("a"), "1")
      })
  },
  {
    title: "EtcdKeyValueStore refuses a prefix without a name before it sends anything",
    body: () =>
      Effect.gen(function* () {
        for (const prefix of ["", "/", "//", "\ud800"]) {
          const error = yield* Effect.flip(EtcdKeyValueStore.make({ prefix }))
          assert.equal(error.option, "prefix")
        }
      })
  }
]

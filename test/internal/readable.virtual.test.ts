/** Every value and error of every entry point as JSON and through `console.log`. */
import { Effect, Option, Redacted, Schema, Stream } from "effect"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import {
  discover,
  discoverAll,
  getInstances,
  InstanceSet,
  listServices,
  registerService,
  Registry,
  Service
} from "../../mod.ts"
import { ServiceClient } from "../../src/balancing/mod.ts"
import { ConfigRef } from "../../src/config/mod.ts"
import {
  Barrier,
  DistributedSemaphore,
  Election,
  Lock,
  LockLost,
  LockTimeout,
  PermitsMismatch,
  Session
} from "../../src/coordination/mod.ts"
import { EtcdMemory } from "../../src/etcd/mod.ts"
import { Kv, Lease, Op, Txn } from "../../src/kv/mod.ts"
import { ClientError, connect } from "../../src/promise/mod.ts"
import { describe, effect, live } from "../harness/it.ts"

const secret = "hunter2"
const endpoints = ["http://10.0.0.1:80"]

/** The value as JSON, parsed. `JSON.stringify` and `inspect` must not throw, and must not show the secret. */
const jsonOf = (value: unknown): unknown => {
  const text = JSON.stringify(value)
  assert.doesNotMatch(text, /hunter2/)
  assert.doesNotMatch(inspect(value, { depth: 10 }), /hunter2/)
  return JSON.parse(text)
}

const json = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(effect, jsonOf)
const first = <A, E, R>(stream: Stream.Stream<A, E, R>) => Effect.map(Stream.runHead(stream), Option.getOrThrow)

describe("values and errors as text", () => {
  effect(
    "JSON.stringify writes the revisions and lease ids of ./kv and ./coordination as text",
    () =>
      Effect.gen(function* () {
        yield* Kv.put("/k", "v")
        assert.deepEqual(yield* json(Effect.map(Kv.get("/k"), Option.getOrThrow)), {
          key: "/k",
          value: "v",
          revision: "2",
          createRevision: "2",
          version: "1",
          lease: "0"
        })
        assert.deepEqual(Object.keys(Object(yield* json(Kv.getPrefix("/k")))), ["revision", "entries", "rejected"])
        const lease = yield* Lease.make("10 seconds")
        assert.equal(Object(jsonOf(lease)).id, String(lease.id))
        assert.equal(Object(jsonOf(yield* Lease.grant("10 seconds", { id: 7n }))).id, "7")
        const held = yield* Lock.acquire("/l")
        assert.equal(Object(jsonOf(held)).leaseId, String(held.leaseId))
        const leadership = yield* Election.campaign("/e", "me")
        assert.equal(Object(jsonOf(leadership)).revision, String(leadership.revision))
        assert.equal(
          Object(jsonOf(Option.getOrThrow(yield* first(Election.observe("/e"))))).revision,
          String(leadership.revision)
        )
        const session = yield* Session.make()
        assert.equal(Object(jsonOf(session)).leaseId, String(session.leaseId))
        jsonOf(yield* DistributedSemaphore.make("/s", { permits: 2 }))
        jsonOf(yield* Barrier.make("/b"))
        assert.equal(Object(yield* json(Kv.update("/k", () => "w"))).lease, "0")
        assert.equal(typeof Object(yield* json(Kv.txn(Txn.make({ then: [Op.put("/k", "x")] })))).revision, "string")
        assert.equal(typeof Object(yield* json(Kv.compareAndSet("/new", { revision: 0n }, "x"))).revision, "string")
        yield* Kv.put("/c", '"x"')
        const config = yield* ConfigRef.make("/c", Schema.String)
        jsonOf(config)
        assert.equal(typeof Object(yield* json(config.get)).revision, "string")
      }).pipe(Effect.provide(EtcdMemory.layer()))
  )

  effect("JSON.stringify writes the events of Kv.watch", () =>
    Effect.gen(function* () {
      yield* Kv.put("/k", "v")
      yield* Kv.put(Kv.key("/k"), "w")
      const events = yield* Stream.runCollect(Stream.take(Kv.watch("/k", { revision: 2n }), 2))
      assert.deepEqual(Object(jsonOf([...events])).map(({ revision }: { revision: string }) => revision), ["2", "3"])
    }).pipe(Effect.scoped, Effect.provide(EtcdMemory.layer())))

  effect("JSON.stringify writes what the registry returns", () =>
    Effect.gen(function* () {
      const registration = yield* registerService("a", { id: "a1", endpoints })
      jsonOf(registration)
      assert.equal(Object(yield* json(registration.status.get)).revision, "2")
      const set = yield* getInstances("a")
      assert.equal(Object(jsonOf(set)).revision, "2")
      jsonOf(InstanceSet.diff(InstanceSet.fromInstances([]), set))
      yield* json(first(discover("a")))
      yield* json(first(discoverAll()))
      yield* json(listServices())
      jsonOf(Service.make("a", { metadata: Schema.Struct({ x: Schema.Int }) }))
      const client = yield* ServiceClient.make({ service: "a", connect: () => Effect.succeed(1) })
      jsonOf(client)
      yield* json(client.state)
    }).pipe(Effect.scoped, Effect.provide(Registry.layerMemory())))

  effect("the errors of ./coordination keep their class as their name", () =>
    Effect.sync(() => {
      for (
        const error of [
          new LockLost({ target: "/l", key: "/l/1", detail: "its key was deleted" }),
          new LockTimeout({ target: "/l", after: 10 as never }),
          new PermitsMismatch({ target: "/l", permits: 1, found: "2" })
        ]
      ) {
        assert.equal(error.name, error._tag)
        assert.equal(Object(jsonOf(error)).message, error.message)
        assert.equal(Object(jsonOf(error)).target, "/l")
      }
    }))

  live("JSON.stringify writes what ./promise returns, and an error with its message", () =>
    Effect.promise(async () => {
      const client = await connect({ memory: true })
      const registration = await client.register("a", { id: "a1", endpoints })
      const set = await client.instances("a")
      assert.deepEqual(jsonOf(set), {
        revision: String(set.revision),
        isStale: false,
        instances: [registration.instance],
        available: [registration.instance],
        endpoints,
        rejected: []
      })
      const error = await client.instances("a/b").catch((error: unknown) => error)
      assert.ok(error instanceof ClientError)
      assert.deepEqual(jsonOf(error), { name: "ClientError", code: "INVALID_OPTION", message: error.message })
      await client.close()
    }))

  live("connect shows no password of a URL in place of its options", () =>
    Effect.promise(async () => {
      const error = await connect(`http://u:${secret}@127.0.0.1:1` as never).catch((error: unknown) => error)
      assert.ok(error instanceof ClientError && error.code === "INVALID_OPTION")
      jsonOf(error)
    }))

  effect("no error shows a password or a key that was given for etcd", () =>
    Effect.forEach([
      { endpoints: [`http://u:${secret}@127.0.0.1:1`] },
      { endpoints: `http://a:1,http://u:${secret}@127.0.0.1:1` as never },
      { endpoints: { url: `http://u:${secret}@127.0.0.1:1` } as never },
      { endpoints: [{ url: `http://u:${secret}@127.0.0.1:1` } as never] },
      { endpoints: ["http://127.0.0.1:1"], username: { password: secret } as never },
      { endpoints: ["https://127.0.0.1:1"], tls: secret as never },
      { endpoints: ["http://127.0.0.1:1"], username: "u", password: secret as never },
      { endpoints: ["http://127.0.0.1:1"], password: Redacted.make(secret) },
      { endpoints: ["https://127.0.0.1:1"], tls: { cert: secret, key: secret } },
      { endpoints: ["https://127.0.0.1:1"], tls: { key: Redacted.make(secret), passphrase: Redacted.make(secret) } }
    ], (options) =>
      Effect.map(
        Effect.flip(Effect.provide(getInstances("a"), Registry.layerEtcd(options))),
        (error) => {
          assert.equal(error._tag, "InvalidOption")
          jsonOf(error)
        }
      ), { discard: true }))
})

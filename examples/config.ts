// A configuration that reloads itself: a server restarts with the newest limits, and requests read the newest value.
// The program also acts as the operator, who would run `etcdctl put /config/limits …`.
//
//     deno run -A examples/config.ts
//
import { Console, Effect, Queue, Schema, Stream } from "effect"
import process from "node:process"
import { runMain } from "../mod.ts"
import { Etcd, EtcdGrpc } from "../src/etcd/mod.ts"
import { ConfigRef } from "../src/config/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

const key = "/config/limits"
const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })

/** A server that runs with its configuration and is stopped when a newer one arrives. */
const serve = (started: Queue.Enqueue<number>) => (limits: typeof Limits.Type) =>
  Console.log(`server: ${limits.requestsPerSecond} requests per second`).pipe(
    Effect.andThen(Queue.offer(started, limits.requestsPerSecond)),
    Effect.andThen(Effect.never),
    Effect.onInterrupt(() => Console.log("server: stopped"))
  )

const main = Effect.gen(function* () {
  const etcd = yield* Etcd
  yield* Effect.addFinalizer(() => Effect.ignore(etcd.deleteRange({ key })))

  // One server at a time. A value that the schema rejects is logged and changes nothing.
  const started = yield* Queue.unbounded<number>()
  yield* Effect.forkScoped(ConfigRef.apply(key, Limits, serve(started)))

  // For frequent reads: the newest state, from memory.
  const limits = yield* ConfigRef.make(key, Limits)
  const request = Effect.gen(function* () {
    const state = yield* limits.get
    yield* Console.log(`request: ${state._tag === "Present" ? `limit ${state.value.requestsPerSecond}` : "no limits"}`)
  })

  const change = (value: string) =>
    Effect.gen(function* () {
      const { header } = yield* etcd.put({ key, value })
      // Wait until this process has received the value, and used or rejected it.
      yield* limits.changes.pipe(
        Stream.takeUntil(({ rejected, revision }) => (rejected?.revision ?? revision) >= header.revision),
        Stream.runDrain
      )
      yield* request
    })

  yield* request
  yield* change(`{ "requestsPerSecond": 100 }`)
  yield* change(`{ "requestsPerSecond": 200 }`)
  yield* change(`{ "requestsPerSecond": "many" }`)
  // The server has its own watch, which may lag behind that of the requests.
  yield* Effect.repeat(Queue.take(started), { until: (limit) => limit === 200 })
})

runMain(main.pipe(Effect.scoped, Effect.provide(EtcdGrpc.layer({ endpoints }))))

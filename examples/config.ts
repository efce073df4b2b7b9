// A configuration that reloads itself: a server is restarted with the newest limits, and requests read them as they are.
// The program plays the operator, too, who changes them; outside of an example that is `etcdctl put /config/limits …`.
//
//     deno run -A examples/config.ts
//
import { Console, Effect, Queue, Schema, Stream } from "effect"
import process from "node:process"
import { runMain } from "../mod.ts"
import { Etcd, EtcdGrpc } from "../src/etcd/mod.ts"
import { ConfigRef, onConfigChange } from "../src/config/mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

const key = "/config/limits"
const Limits = Schema.Struct({ requestsPerSecond: Schema.Int })

/** A server that is started with its configuration, and stopped when a newer one comes. */
const serve = (started: Queue.Enqueue<number>) => (limits: typeof Limits.Type) =>
  Console.log(`server: ${limits.requestsPerSecond} requests per second`).pipe(
    Effect.andThen(Queue.offer(started, limits.requestsPerSecond)),
    Effect.andThen(Effect.never),
    Effect.onInterrupt(() => Console.log("server: stopped"))
  )

const main = Effect.gen(function* () {
  const etcd = yield* Etcd
  yield* Effect.addFinalizer(() => Effect.ignore(etcd.deleteRange({ key })))

  // One apply at a time; a value that the schema refuses is logged and changes nothing.
  const started = yield* Queue.unbounded<number>()
  yield* Effect.forkScoped(onConfigChange(key, Limits, serve(started)))

  // For those who read often: the newest state, without asking etcd.
  const limits = yield* ConfigRef.make(key, Limits)
  const request = Effect.gen(function* () {
    const state = yield* limits.get
    yield* Console.log(`request: ${state._tag === "Present" ? `limit ${state.value.requestsPerSecond}` : "no limits"}`)
  })

  const change = (value: string) =>
    Effect.gen(function* () {
      const { header } = yield* etcd.put({ key, value })
      // Wait until this process has seen it, used or not.
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
  // The server has a watch of its own, which may be behind that of the requests.
  yield* Effect.repeat(Queue.take(started), { until: (limit) => limit === 200 })
})

runMain(main.pipe(Effect.scoped, Effect.provide(EtcdGrpc.layer({ endpoints }))))

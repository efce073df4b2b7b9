// A program for the tests of `EtcdGrpc`: uses a client, closes it, and must end by itself.
import { Effect, Stream } from "effect"
import process from "node:process"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"

const [endpoints = "", work = ""] = process.argv.slice(2)

/** Keeps the process alive while it works; Effect does not. */
const awake = setInterval(() => {}, 1000)

await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
  const etcd = yield* EtcdGrpc.make({ endpoints: endpoints.split(",") })
  if (work === "idle") return
  yield* Effect.exit(etcd.put({ key: "a", value: "1" }))
  if (work === "calls") return
  yield* etcd.watch({ key: "a" }).pipe(Stream.runDrain, Effect.ignore, Effect.forkScoped({ startImmediately: true }))
  const { id } = yield* etcd.leaseGrant({ ttl: 60 })
  yield* etcd.leaseKeepAlive({ id })
  yield* Effect.forkScoped(Effect.ignore(etcd.leaseKeepAlive({ id })), { startImmediately: true })
  yield* Effect.sleep("200 millis")
  if (work === "hang") {
    console.log("ready")
    yield* Effect.sleep("1 second")
  }
})))
clearInterval(awake)
console.log("closed")

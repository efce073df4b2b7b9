// Registers one instance of "orders" and keeps it registered until the process gets SIGINT (Ctrl-C) or SIGTERM.
//
//     deno run -A examples/register.ts        ETCD_ENDPOINTS names another etcd than the one on this machine
//
import { Effect } from "effect"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

const main = Effect.gen(function* () {
  const registration = yield* registerService("orders", {
    // Where the instance can be reached by others. Nothing listens there in this example.
    endpoints: ["http://127.0.0.1:8080"],
    version: "1.0.0",
    zone: "eu-1"
  })
  // From here on everybody who reads etcd sees the key.
  yield* Effect.log(`registered ${registration.key}`)

  // Heartbeats, and the way back after a loss, run in fibers of the scope. The main fiber has only to stay; it ends with
  // an error if the registration can no longer be kept.
  yield* registration.awaitFailure
})

// The scope is the lifetime of the registration. `runMain` turns a signal into an interruption, so the scope closes and
// the key is gone before the process ends. (`Effect.runPromise` knows no signals: the key would stay until its lease
// runs out.)
runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

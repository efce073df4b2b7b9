// Registers one instance of "orders" until SIGINT (Ctrl-C) or SIGTERM.
//
//     deno run -A examples/register.ts        set ETCD_ENDPOINTS to use another etcd than http://127.0.0.1:2379
//
import { Effect } from "effect"
import process from "node:process"
import { registerService, Registry, runMain } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")

const main = Effect.gen(function* () {
  const registration = yield* registerService("orders", {
    // The URL that consumers call. Nothing listens there in this example.
    endpoints: ["http://127.0.0.1:8080"],
    version: "1.0.0",
    zone: "eu-1"
  })
  // From here on, every read of etcd returns the key.
  yield* Effect.log(`registered ${registration.key}`)

  // Heartbeats and recovery run in fibers of the scope. The main fiber only waits, and fails if the registration ends.
  yield* registration.awaitFailure
})

// `runMain` interrupts the program on a signal. Its scope closes, and the key is gone before the process exits.
// `Effect.runPromise` does not handle signals: the key would stay until its lease expires.
runMain(main.pipe(Effect.scoped, Effect.provide(Registry.layerEtcd({ endpoints }))))

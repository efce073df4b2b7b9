// Registers and discovers the services in declared.yaml, until SIGINT (Ctrl-C) or SIGTERM.
//
//     deno run -A examples/declared.ts        set ETCD_ENDPOINTS to use another etcd than http://127.0.0.1:2379
//
import { Console, Effect, Stream } from "effect"
import { discover, runMain } from "../mod.ts"
import { Declared } from "../src/declared/mod.ts"

// An invalid file fails with all its problems and their lines, before any I/O.
const registry = Declared.layer(new URL("declared.yaml", import.meta.url), { advertise: "127.0.0.1" })

// When the layer is built, the instance is in etcd and the first set of each discovered service is known.
const main = discover("orders").pipe(
  Stream.runForEach((set) => Console.log(`orders: ${set.endpoints.join(", ")}`))
)

runMain(main.pipe(Effect.provide(registry)))

// A process whose registrations and watches are declared in a file, declared.yaml, until SIGINT (Ctrl-C) or SIGTERM.
//
//     deno run -A examples/declared.ts        ETCD_ENDPOINTS names another etcd than the one on this machine
//
import { Console, Effect, Stream } from "effect"
import { discover, runMain } from "../mod.ts"
import { Declared } from "../src/declared/mod.ts"

// Everything that is wrong with the file is told at once, with its line, before anything is sent.
const registry = Declared.layer(new URL("declared.yaml", import.meta.url), { advertise: "127.0.0.1" })

// Once the layer is built, the instance is in etcd and the first set of each discovered service is known.
const main = discover("orders").pipe(
  Stream.runForEach((set) => Console.log(`orders: ${set.endpoints.join(", ")}`))
)

runMain(main.pipe(Effect.provide(registry)))

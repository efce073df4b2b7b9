// Prints the instances of a service, by default "orders", each time they change. Ends on SIGINT (Ctrl-C) or SIGTERM.
//
//     deno run -A examples/discover.ts [service]
//
import { Console, Effect, Stream } from "effect"
import process from "node:process"
import { discover, Freshness, type InstanceSet, Registry, runMain } from "../mod.ts"

const endpoints = (process.env["ETCD_ENDPOINTS"] ?? "http://127.0.0.1:2379").split(",")
const service = process.argv[2] ?? "orders"

const describe = (set: InstanceSet.InstanceSet): string => {
  const instances = Array.from(set, ({ endpoints, id, status }) => `  ${id} ${status} ${endpoints.join(" ")}`)
  // While etcd cannot be reached, the last set stays and says that it may be old.
  const freshness = Freshness.$is("Stale")(set.freshness) ? ", possibly stale" : ""
  return [`${set.size} of ${service} at revision ${set.revision}${freshness}`, ...instances].join("\n")
}

// Each element is the complete set, not a change to be applied: whoever has the newest element has the truth. The first
// one comes as soon as etcd has answered, also when it is empty.
const main = discover(service).pipe(
  Stream.runForEach((set) => Console.log(describe(set)))
)

runMain(main.pipe(Effect.provide(Registry.layerEtcd({ endpoints }))))

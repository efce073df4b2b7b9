// Prints the instances of a service (default: "orders") after each change, until SIGINT (Ctrl-C) or SIGTERM.
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
  // While etcd does not answer, the last set remains, marked Stale.
  const freshness = Freshness.$is("Stale")(set.freshness) ? ", possibly stale" : ""
  return [`${set.size} of ${service} at revision ${set.revision}${freshness}`, ...instances].join("\n")
}

// Each element is the complete set, not a change to apply. The first one arrives when etcd has answered, even if the set
// is empty.
const main = discover(service).pipe(
  Stream.runForEach((set) => Console.log(describe(set)))
)

runMain(main.pipe(Effect.provide(Registry.layerEtcd({ endpoints }))))

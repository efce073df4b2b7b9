/** Registers one instance: how long a process takes from its start until it is in etcd. */
import { makeClient } from "./client.ts"
import { now, parameter, report } from "./measure.ts"

// A program that uses raw etcd3 beside Effect is what the library competes with.
if (parameter("effect") === 1) await import("effect")
await makeClient().register("i0")
report({ "ms": now() - parameter("startedAt") })

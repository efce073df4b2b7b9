/** Registers one instance. Measures the time from the start of the process until the instance is in etcd. */
import { makeClient } from "./client.ts"
import { now, parameter, report } from "./measure.ts"

// The library competes with a program that uses raw etcd3 and Effect, so raw etcd3 imports Effect as well.
if (parameter("effect") === 1) await import("effect")
await (await makeClient()).register("i0")
report({ "ms": now() - parameter("startedAt") })

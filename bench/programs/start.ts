/** Registers one instance. Measures the time from the start of the process until the instance is in etcd. */
import { makeClient } from "./client.ts"
import { now, parameter, report } from "./measure.ts"

await (await makeClient()).register("i0")
report({ "ms": now() - parameter("startedAt") })

/** Reads the first complete set. The measured time includes opening the connection. */
import { makeClient } from "./client.ts"
import { awaitGo, parameter, peakMegabytes, report, stopwatch } from "./measure.ts"

await awaitGo()
const reading = stopwatch()
const size = await makeClient().firstSet()
const { cpuMillis, millis } = reading()
if (size !== parameter("instances")) throw new Error(`${size} instances instead of ${parameter("instances")}`)
report({ "ms": millis, "CPU ms": cpuMillis, "peak MB": peakMegabytes() })

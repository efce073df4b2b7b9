/**
 * Reads the first complete set. The measured time includes opening the connection. It does not include loading the
 * client, which `start` measures.
 */
import { makeClient } from "./client.ts"
import { awaitGo, parameter, peakMegabytes, report, stopwatch } from "./measure.ts"

const client = await makeClient()
await awaitGo()
const reading = stopwatch()
const size = await client.firstSet()
const { cpuMillis, millis } = reading()
if (size !== parameter("instances")) throw new Error(`${size} instances instead of ${parameter("instances")}`)
report({ "ms": millis, "CPU ms": cpuMillis, "peak MB": peakMegabytes() })

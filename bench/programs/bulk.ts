/**
 * Registers many instances at once, then releases them. The measured time includes opening the connection. It does not
 * include loading the client, which `start` measures.
 */
import { makeClient } from "./client.ts"
import { awaitGo, parameter, peakMegabytes, print, report, stopwatch } from "./measure.ts"

const ids = Array.from({ length: parameter("count") }, (_, index) => `i${index}`)
const client = await makeClient()

await awaitGo()
const registering = stopwatch()
await client.registerAll(ids)
const registered = registering()
print("registered")
// Wait a second, so that work which registering started, such as a watch of the own keys, does not count as release.
await new Promise((resolve) => setTimeout(resolve, 1000))
const peak = peakMegabytes()
const releasing = stopwatch()
await client.releaseAll()
const released = releasing()
report({
  "ms to register": registered.millis,
  "CPU ms to register": registered.cpuMillis,
  "peak MB": peak,
  "ms to release": released.millis,
  "CPU ms to release": released.cpuMillis
})

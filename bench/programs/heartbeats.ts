/** Keeps many registrations without any other work. */
import { makeClient } from "./client.ts"
import { parameter, print, report, stopwatch } from "./measure.ts"

const client = await makeClient()
await client.registerAll(Array.from({ length: parameter("count") }, (_, index) => `i${index}`))
const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
await pause(parameter("settleMillis"))
print("settled")
const keeping = stopwatch()
await pause(parameter("millis"))
report({ "CPU ms": keeping().cpuMillis })

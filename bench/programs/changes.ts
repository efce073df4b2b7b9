/**
 * Follows a service while the benchmark changes one of its instances. Measures the latency and the cost of each change.
 */
import { makeClient } from "./client.ts"
import { now, parameter, print, quantile, report, stopwatch } from "./measure.ts"

const latencies: Array<number> = []
let measured: ReturnType<typeof stopwatch> | undefined
let isReady = false

await (await makeClient()).follow((mark) => {
  if (!isReady) {
    isReady = true
    return print("ready")
  }
  if (mark === "start") {
    print("started")
    measured = stopwatch()
  } else if (mark !== "end") latencies.push(now() - Number(mark))
  else if (measured !== undefined) {
    report({
      "p50 ms": quantile(latencies, 0.5),
      "p99 ms": quantile(latencies, 0.99),
      "CPU ms per 1,000 changes": measured().cpuMillis * 1000 / parameter("changes"),
      "changes missed": parameter("changes") - latencies.length
    })
  }
})

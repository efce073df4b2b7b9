/** Registers instances one after the other. */
import { makeClient } from "./client.ts"
import { parameter, quantile, report } from "./measure.ts"

const client = await makeClient()
const times: Array<number> = []
for (let index = 0; index < parameter("count"); index++) {
  const startedAt = performance.now()
  await client.register(`i${index}`)
  times.push(performance.now() - startedAt)
}
report({ "p50 ms": quantile(times, 0.5), "p99 ms": quantile(times, 0.99) })

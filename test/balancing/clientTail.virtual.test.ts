import { Effect, Random } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import { Balancer, ServiceClient } from "../../src/balancing/mod.ts"
import { describe } from "../harness/it.ts"
import { settle, verify } from "../harness/virtual.ts"
import { fake, now } from "./clientSupport.ts"

const ids = Array.from({ length: 10 }, (_, index) => `i${index}`)
const calls = 1000
/** Milliseconds between two calls: 200 a second. */
const every = 5

/** Latencies of calls, on virtual time, when an instance takes 5 to 15 ms, and `slow` 20 times as long. */
const latencies = (strategy: Balancer.Strategy, slow: string | undefined) =>
  Effect.gen(function* () {
    const registry = yield* fake
    yield* registry.set(...ids)
    return yield* Effect.gen(function* () {
      const endpoints = yield* ServiceClient.make({
        service: "orders",
        connect: ({ id }) => Effect.succeed(id),
        strategy
      })
      yield* settle
      const took: Array<number> = []
      const call = Effect.gen(function* () {
        const begun = yield* now
        const work = 5 + 10 * (yield* Random.next)
        yield* endpoints.call((id) => Effect.sleep(id === slow ? work * 20 : work))
        took.push((yield* now) - begun)
      })
      for (let made = 0; made < calls; made++) {
        yield* Effect.forkScoped(call, { startImmediately: true })
        yield* TestClock.adjust(every)
      }
      yield* TestClock.adjust("1 second")
      assert.equal(took.length, calls)
      return took.toSorted((a, b) => a - b)
    }).pipe(Effect.scoped, Effect.provide(registry.layer))
  })

const p99 = (sorted: ReadonlyArray<number>): number => sorted[Math.ceil(sorted.length * 0.99) - 1] ?? Infinity

describe("ServiceClient with one of ten instances 20 times slower", () => {
  verify("peakEwma keeps p99 within twice that of ten equal instances if one is slow, unlike roundRobin", () => {
    const seed = "tail 1"
    return Effect.gen(function* () {
      const measured: Record<string, readonly [equal: number, oneSlow: number]> = {}
      for (const strategy of [Balancer.peakEwma(), Balancer.roundRobin]) {
        measured[strategy.name] = [
          p99(yield* latencies(strategy, undefined)),
          p99(yield* latencies(strategy, ids[3]))
        ]
      }
      for (const [name, [equal, oneSlow]] of Object.entries(measured)) {
        console.log(
          `${name}: p99 ${equal.toFixed(1)} ms, with a slow one ${oneSlow.toFixed(1)} ms: ` +
            `${(oneSlow / equal).toFixed(1)} times (seed "${seed}")`
        )
      }
      const factor = (name: string) => (measured[name]?.[1] ?? 0) / (measured[name]?.[0] ?? 0)
      assert.ok(factor("peakEwma") <= 2, `peakEwma: ${factor("peakEwma")}`)
      assert.ok(factor("roundRobin") > 2, `roundRobin: ${factor("roundRobin")}`)
    }).pipe(Random.withSeed(seed))
  })
})

import { Effect, Fiber } from "effect"
import assert from "node:assert/strict"
import * as Burst from "../../../src/registry/registration/burst.ts"
import { describe } from "../../harness/it.ts"
import { verify } from "../../harness/virtual.ts"

/** Starts callers, each of which begins and then never ends. Returns the numbers of those that have begun. */
const startCallers = Effect.fnUntraced(function* (count: number) {
  const burst = Burst.make(yield* Effect.context<never>())
  const begun: Array<number> = []
  const callers: Array<Fiber.Fiber<never>> = []
  for (let index = 0; index < count; index++) {
    const caller = Effect.andThen(Effect.map(burst, () => begun.push(index)), Effect.never)
    callers.push(yield* Effect.forkScoped(caller, { startImmediately: true }))
  }
  return { begun, callers }
})

describe("Burst", () => {
  verify(
    "Burst lets 50 callers begin in each turn of the event loop, in order, and waits for none of them",
    () =>
      Effect.gen(function* () {
        const { begun } = yield* startCallers(120)
        const turns: Array<number> = []
        while (begun.length < 120) {
          turns.push(begun.length)
          yield* Effect.yieldNow
        }
        assert.deepEqual(turns, [50, 100])
        assert.deepEqual(begun, Array.from({ length: 120 }, (_, index) => index))
      })
  )

  verify(
    "a caller of Burst that is interrupted does not begin, and the next one has its turn",
    () =>
      Effect.gen(function* () {
        const { begun, callers } = yield* startCallers(53)
        assert.equal(begun.length, 50)
        yield* Fiber.interruptAll(callers.slice(50, 51))
        while (begun.length < 52) yield* Effect.yieldNow
        assert.deepEqual(begun.slice(50), [51, 52])
      })
  )
})

import { Effect } from "effect"
import assert from "node:assert/strict"
import { describe, effect, live } from "../harness/it.ts"
import { campaign, campaignOf, type Planned, shrink } from "./chaos.ts"
import { brokenBy, explain, play } from "./Fault.ts"

describe("chaos", () => {
  effect("a seed gives the same campaign again, and another seed another one", () =>
    Effect.sync(() => {
      assert.deepEqual(campaignOf(7, 20), campaignOf(7, 20))
      assert.notDeepEqual(campaignOf(7, 20), campaignOf(8, 20))
      // Every kind of step is drawn.
      const kinds = new Set(
        Array.from({ length: 40 }, (_, seed) => campaignOf(seed, 20)).flat().map(({ step }) => step.kind)
      )
      assert.equal(kinds.size, 32)
    }))

  effect("shrink finds the steps that matter", () =>
    Effect.gen(function* () {
      const items = Array.from({ length: 40 }, (_, index) => index)
      const needs = (...needed: ReadonlyArray<number>) => (left: ReadonlyArray<number>) =>
        Effect.succeed(needed.every((item) => left.includes(item)))
      assert.deepEqual(yield* shrink(items, needs(3, 17, 31), 500), [3, 17, 31])
      assert.deepEqual(yield* shrink(items, needs(5), 500), [5])
      // It respects its number of attempts and returns a list that failed.
      assert.equal((yield* shrink(items, needs(3, 17), 1)).length, 20 + 20)
      assert.ok((yield* shrink(items, needs(3), 3)).includes(3))
    }))

  live(
    "a short campaign finds nothing wrong with the library, and something with the naive client",
    () =>
      Effect.gen(function* () {
        const seed = 25
        // The naive client never checks that its key still exists.
        const plan: ReadonlyArray<Planned> = [
          ...campaignOf(seed, 4),
          { lane: "faults", after: 100, step: { kind: "delete", which: 0 } }
        ]
        const [library, naive] = yield* Effect.all([
          play(campaign(`seed ${seed}`, plan), "library"),
          play(campaign(`seed ${seed}`, plan), "naive")
        ], { concurrency: 2 })
        assert.equal(explain(library), "", `seed ${seed}`)
        assert.ok(brokenBy(naive).includes("back"), brokenBy(naive).join())
      })
  )
})

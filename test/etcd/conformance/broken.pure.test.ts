import { type Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import { describe, live } from "../../harness/it.ts"
import { limitMillis } from "../../harness/real.ts"
import { type Broken, brokenStores } from "./broken.ts"
import { checks } from "./conformance.ts"
import { type Check, run } from "./subject.ts"
import assert from "node:assert/strict"

/** The titles of the checks that fail on the engine behind a wrapper, or take longer than a limit. */
const failures = (wrap: Broken["wrap"], limit: Duration.Input): Effect.Effect<ReadonlyArray<string>> => {
  const passes = (check: Check): Effect.Effect<boolean> =>
    Effect.gen(function* () {
      const engine = yield* EtcdMemory.engine()
      const connect = Effect.map(engine.connect, wrap)
      yield* run(check, { connect, elapse: TestClock.adjust })
    }).pipe(
      Effect.scoped,
      Effect.provide(TestClock.layer({ warningDelay: "1 minute" })),
      Effect.timeout(limit),
      Effect.exit,
      Effect.map((exit) => exit._tag === "Success")
    )
  const failure = (check: Check) => Effect.map(passes(check), (passed) => passed ? [] : [check.title])
  return Effect.map(Effect.forEach(checks, failure, { concurrency: "unbounded" }), (titles) => titles.flat())
}

describe("the conformance suite", () => {
  live(
    "the conformance suite passes on the engine behind a wrapper that changes nothing",
    () => Effect.map(failures((etcd) => ({ ...etcd }), limitMillis), (titles) => assert.deepEqual(titles, []))
  )

  for (const { rule, caughtBy, wrap } of brokenStores) {
    live(
      `the conformance suite detects a store that breaks the rule: ${rule}`,
      () =>
        Effect.map(
          failures(wrap, "3 seconds"),
          (titles) =>
            assert.ok(titles.includes(caughtBy), `expected "${caughtBy}" to fail, but these did: ${titles.join("; ")}`)
        )
    )
  }
})

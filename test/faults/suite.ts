/**
 * Faults as tests of a file. All faults start together, a few at a time, because they mostly wait. Each test awaits its
 * own.
 *
 * @module
 */
import { Effect, Exit, FiberSet, Scope, Semaphore } from "effect"
import { after, before } from "node:test"
import { live } from "../harness/it.ts"
import { type Fault, type Outcome, play } from "./Fault.ts"
import type { SubjectName } from "./Subject.ts"

/** Faults at a time. */
const width = 6

/** Milliseconds that a test may wait for its fault and for the faults before it. */
const patience = 115_000

/** Declares a test for each fault. `judge` throws if the outcome is wrong. */
export const declareFaults = (
  faults: ReadonlyArray<Fault>,
  subject: SubjectName,
  titleOf: (fault: Fault) => string,
  judge: (outcome: Outcome, fault: Fault) => void
): void => {
  const scope = Effect.runSync(Scope.make())
  const outcomes = new Map<Fault, PromiseWithResolvers<Outcome>>(
    faults.map((fault) => [fault, Promise.withResolvers<Outcome>()])
  )
  // Effect does not keep the process alive.
  let alive: ReturnType<typeof setInterval> | undefined
  before(async () => {
    alive = setInterval(() => {}, 1000)
    const places = Semaphore.makeUnsafe(width)
    const playing = Effect.gen(function* () {
      const fibers = yield* FiberSet.make()
      for (const fault of faults) {
        yield* FiberSet.run(
          fibers,
          Semaphore.withPermit(places, play(fault, subject)).pipe(
            Effect.map((outcome) => outcomes.get(fault)?.resolve(outcome))
          )
        )
      }
    })
    await Effect.runPromise(playing.pipe(Scope.provide(scope)))
  })
  after(async () => {
    clearInterval(alive)
    await Effect.runPromise(Scope.close(scope, Exit.void))
  })
  for (const fault of faults) {
    live(
      titleOf(fault),
      () =>
        Effect.gen(function* () {
          const outcome = outcomes.get(fault)
          if (outcome === undefined) return
          judge(yield* Effect.promise(() => outcome.promise), fault)
        }),
      { timeout: patience }
    )
  }
}

/**
 * Tests as Effects, on `node:test`, which Deno, Bun and Node all run.
 *
 * Each test has its own scope, and its own time limit: when it passes, the test's fiber is interrupted, so that its
 * servers and programs are gone even then. The runtimes' own limits are only a backstop (Bun and Deno would leave the
 * fiber running).
 *
 * @module
 */
import { Cause, Effect, Exit, Random, Scheduler, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { it } from "node:test"
import { scheduler } from "./idle.ts"
import { seed } from "./seed.ts"

export { describe } from "node:test"

export type Body<E> = () => Effect.Effect<void, E, Scope.Scope>

export interface Options {
  /** A reason, or `true`. */
  readonly skip?: boolean | string
  /** Milliseconds of real time; default 180,000. */
  readonly timeout?: number
}

const run = async <E>(test: Effect.Effect<void, E>, limit: number): Promise<void> => {
  const controller = new AbortController()
  // The timer also keeps the process alive while the test waits for a Deferred only; Effect itself does not.
  const timer = setTimeout(() => controller.abort(), limit)
  const exit = await Effect.runPromiseExit(Effect.provideService(test, Scheduler.Scheduler, scheduler), {
    signal: controller.signal
  })
  clearTimeout(timer)
  if (Exit.isSuccess(exit)) return
  if (controller.signal.aborted) throw new Error(`the test was interrupted after ${limit} ms`)
  const error = Cause.squash(exit.cause)
  throw error instanceof Error && error.name === "AssertionError" ? error : new Error(Cause.pretty(exit.cause))
}

const declare = <E>(name: string, test: Effect.Effect<void, E>, { skip, timeout = 180_000 }: Options): void => {
  it(name, { skip: skip ?? false, timeout: timeout + 15_000 }, () => run(test, timeout))
}

/** Without the warning after a second of real time: on a slow machine it would be one log line too many. */
const testClock = TestClock.layer({ warningDelay: "10 minutes" })

/** A test on virtual time (`TestClock`), in its own scope. The seed of the run repeats its random draws, such as jitter. */
export const effect = <E>(name: string, body: Body<E>, options: Options = {}): void =>
  declare(
    name,
    Effect.scoped(Effect.suspend(body)).pipe(Effect.provide(testClock), Random.withSeed(`${seed} ${name}`)),
    options
  )

/** A test on the real clock, in its own scope. */
export const live = <E>(name: string, body: Body<E>, options: Options = {}): void =>
  declare(name, Effect.scoped(Effect.suspend(body)), options)

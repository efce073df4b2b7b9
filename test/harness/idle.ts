/**
 * A scheduler that can be waited for: {@link idle} completes when no fiber that it runs can go on by itself.
 *
 * @module
 */
import { Effect, Scheduler } from "effect"
import { clearImmediate, setImmediate } from "node:timers"

/** Dispatches that are scheduled and have not run yet, of all fibers on {@link scheduler}. */
let pendingDispatches = 0

/** Effect's own scheduler, which counts its pending dispatches. */
export const scheduler: Scheduler.Scheduler = new Scheduler.MixedScheduler("async", (dispatch) => {
  pendingDispatches += 1
  const immediate = setImmediate(() => {
    pendingDispatches -= 1
    dispatch()
  })
  return () => {
    pendingDispatches -= 1
    clearImmediate(immediate)
  }
})

/**
 * Waits until every fiber on {@link scheduler} waits for time, for another fiber or for I/O.
 *
 * **Details**
 *
 * Promises that need no I/O count as running: their callbacks run between two turns of the event loop, and two turns in
 * a row have to be idle.
 */
export const idle: Effect.Effect<void> = Effect.callback((resume) => {
  let idleTurns = 0
  const check = (): void => {
    idleTurns = pendingDispatches === 0 ? idleTurns + 1 : 0
    if (idleTurns === 2) resume(Effect.void)
    else immediate = setImmediate(check)
  }
  let immediate = setImmediate(check)
  return Effect.sync(() => clearImmediate(immediate))
})

/**
 * Clocks for tests.
 *
 * @module
 */
import type { Clock } from "effect"

/** A clock that has some members of its own, and otherwise those of another clock. */
export const clockWith = (clock: Clock.Clock, members: Partial<Clock.Clock>): Clock.Clock => ({
  currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
  currentTimeMillis: clock.currentTimeMillis,
  currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
  currentTimeNanos: clock.currentTimeNanos,
  monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
  monotonicTimeNanos: clock.monotonicTimeNanos,
  sleep: (duration) => clock.sleep(duration),
  ...members
})

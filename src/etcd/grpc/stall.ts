/**
 * Deadlines in a process that was busy or asleep.
 *
 * While the event loop is blocked, no request is sent and no answer is read. That time is not the server's silence. So
 * a deadline that passed while the process was held up is set once more.
 *
 * @module
 */
import { Effect } from "effect"
import { clearTimeout, setTimeout } from "node:timers"

/** A timer that runs later than this was held up. */
const maxLatenessMillis = 50

/** Real milliseconds that a received answer needs to pass through the socket, HTTP/2 and grpc-js. */
const graceMillis = 25

/** Whether the process was held up, given a timer that runs `latenessMillis` late. */
export const isStall = (latenessMillis: number): boolean => latenessMillis > maxLatenessMillis

/** Waits until answers that arrived before the timer have been read. */
export const pendingInput: Effect.Effect<void> = Effect.callback((resume) => {
  const timer = setTimeout(() => resume(Effect.void), graceMillis)
  return Effect.sync(() => clearTimeout(timer))
})

/**
 * Deadlines of a process that was busy or asleep.
 *
 * While the event loop stands still, no request leaves and no answer is read. That time proves nothing against a server.
 * So a deadline that passed while the process was held up is set once more.
 *
 * @module
 */
import { Effect } from "effect"
import { clearTimeout, setTimeout } from "node:timers"

/** A timer that is later than this was held up. */
const maxLatenessMillis = 50

/** Real milliseconds in which an answer that has arrived passes through the socket, HTTP/2 and grpc-js. */
const graceMillis = 25

/** Whether a timer that should have run `latenessMillis` ago was held up with the process. */
export const isStall = (latenessMillis: number): boolean => latenessMillis > maxLatenessMillis

/** Lets answers in that have arrived before the timer ran. */
export const pendingInput: Effect.Effect<void> = Effect.callback((resume) => {
  const timer = setTimeout(() => resume(Effect.void), graceMillis)
  return Effect.sync(() => clearTimeout(timer))
})

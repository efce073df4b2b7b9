import { Effect } from "effect"
import { clearImmediate, setImmediate } from "node:timers"

/** Turns of the event loop in which an answer that has arrived passes through the socket, HTTP/2 and grpc-js. */
const turns = 3

const turn: Effect.Effect<void> = Effect.callback((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/**
 * Lets answers in that have arrived while this process was busy or asleep.
 *
 * A timer that falls due meanwhile runs before the sockets are read. A server is silent only if nothing comes then.
 */
export const pendingInput: Effect.Effect<void> = Effect.repeat(turn, { times: turns - 1 })

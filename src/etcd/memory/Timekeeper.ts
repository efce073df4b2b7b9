/**
 * A server with a clock: each request runs at the current time, and deadlines in between run by themselves.
 *
 * @module
 */
import { type Context, Effect } from "effect"
import { Alarm } from "../../internal/time/Alarm.ts"
import { Server, type ServerOptions } from "./Server.ts"

/** A server and its clock. */
export class Timekeeper {
  /** Called when the engine closes. */
  readonly onClose: Set<() => void> = new Set()
  readonly #server: Server
  readonly #alarm: Alarm
  #closed = false

  constructor(options: ServerOptions, context: Context.Context<never>) {
    this.#server = new Server(options)
    this.#alarm = new Alarm(context, (now) => {
      this.#server.advance(now)
      return this.#server.deadlines.earliest ?? Infinity
    })
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Runs one step of the server at the current time. */
  step<A>(body: (server: Server) => A): A {
    this.#server.advance(this.#alarm.now())
    const answer = body(this.#server)
    this.#alarm.set(this.#server.deadlines.earliest ?? Infinity)
    return answer
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = true
      for (const close of this.onClose) close()
      return this.#alarm.close
    })
  }
}

/**
 * What arrives for one reader. One who waits is woken as soon as whoever brings something has finished, and not, as by a
 * `Queue`, a turn of the event loop later.
 *
 * @module
 */
import { Array as Arrays, Effect, Exit } from "effect"

/** See the module's description. */
export class Inbox<A, E = never> {
  readonly #capacity: number
  #messages: Array<A> = []
  #end: Exit.Exit<never, E> | undefined
  #wake: (() => void) | undefined

  /** Refuses what comes while it holds `capacity` messages. */
  constructor(capacity: number = Infinity) {
    this.#capacity = capacity
  }

  /** False when there is no room, or when nothing may follow. */
  offer(message: A): boolean {
    if (this.#end !== undefined || this.#messages.length >= this.#capacity) return false
    this.#messages.push(message)
    this.#notify()
    return true
  }

  /** Nothing follows: the reader takes what is there, and then fails. */
  fail(error: E): void {
    this.#end ??= Exit.fail(error)
    this.#notify()
  }

  /** The next message. */
  get take(): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const messages = this.#messages
      if (!Arrays.isArrayNonEmpty(messages)) return this.#end ?? Effect.flatMap(this.#arrival, () => this.take)
      const [first] = messages
      messages.shift()
      return Effect.succeed(first)
    })
  }

  /** All that is there, at least one. */
  get takeAll(): Effect.Effect<Arrays.NonEmptyReadonlyArray<A>, E> {
    return Effect.suspend(() => {
      const messages = this.#messages
      if (!Arrays.isArrayNonEmpty(messages)) return this.#end ?? Effect.flatMap(this.#arrival, () => this.takeAll)
      this.#messages = []
      return Effect.succeed(messages)
    })
  }

  get #arrival(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.#wake = () => resume(Effect.void)
      return Effect.sync(() => {
        this.#wake = undefined
      })
    })
  }

  #notify(): void {
    if (this.#wake === undefined) return
    queueMicrotask(this.#wake)
    this.#wake = undefined
  }
}

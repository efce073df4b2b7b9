/**
 * A queue for one reader. A waiting reader resumes in a microtask, after the callback that offered the message. A
 * `Queue` of Effect resumes it one turn of the event loop later.
 *
 * @module
 */
import { Array as Arrays, Cause, Effect, Exit } from "effect"
import { unchainedCallback } from "./unchained.ts"

/** A queue for one reader that resumes in a microtask. */
export class Inbox<A, E = never> {
  readonly #capacity: number
  #messages: Array<A> = []
  #end: Exit.Exit<never, E> | undefined
  #wake: (() => void) | undefined

  /** `offer` fails while it holds `capacity` messages. */
  constructor(capacity: number = Infinity) {
    this.#capacity = capacity
  }

  /** False if it is full or closed. */
  offer(message: A): boolean {
    if (this.#end !== undefined || this.#messages.length >= this.#capacity) return false
    this.#messages.push(message)
    this.#notify()
    return true
  }

  get size(): number {
    return this.#messages.length
  }

  /** Closes it: the reader takes the remaining messages, then fails. */
  fail(error: E): void {
    this.end(Cause.fail(error))
  }

  /** Closes it: the reader takes the remaining messages, then fails with the cause. */
  end(cause: Cause.Cause<E>): void {
    this.#end ??= Exit.failCause(cause)
    this.#notify()
  }

  /** The next message. */
  readonly take: Effect.Effect<A, E> = Effect.suspend(() => {
    const messages = this.#messages
    if (!Arrays.isArrayNonEmpty(messages)) return this.#end ?? this.#wait(this.take)
    const [first] = messages
    messages.shift()
    return Effect.succeed(first)
  })

  /** All messages so far, at least one. */
  readonly takeAll: Effect.Effect<Arrays.NonEmptyReadonlyArray<A>, E> = Effect.suspend(() => {
    const messages = this.#messages
    if (!Arrays.isArrayNonEmpty(messages)) return this.#end ?? this.#wait(this.takeAll)
    this.#messages = []
    return Effect.succeed(messages)
  })

  /** Waits for a message or the end, then continues. */
  #wait<B>(take: Effect.Effect<B, E>): Effect.Effect<B, E> {
    return unchainedCallback((resume) => {
      this.#wake = () => resume(take)
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

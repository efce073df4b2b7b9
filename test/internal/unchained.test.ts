import { Effect, Fiber, Queue, Stream } from "effect"
import assert from "node:assert/strict"
import { AsyncLocalStorage } from "node:async_hooks"
import { Inbox } from "../../src/internal/Inbox.ts"
import { Latest } from "../../src/internal/Latest.ts"
import { describe, live } from "../harness/it.ts"

type Store = string | number | undefined

/** The content of the scope in which a reader gets each message. The reader puts a number into each scope. */
const storesOf = (read: (onMessage: Effect.Effect<unknown>) => Effect.Effect<unknown>, send: Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    const storage = new AsyncLocalStorage<Store>()
    const stores = yield* Queue.unbounded<Store>()
    let messages = 0
    const onMessage = Effect.sync(() => {
      Queue.offerUnsafe(stores, storage.getStore())
      storage.enterWith(++messages)
    })
    const reader = storage.run("consumer", () => Effect.runFork(read(onMessage)))
    // The pause lets the reader wait again: it runs this fiber from within `offerUnsafe`.
    const next = Effect.yieldNow.pipe(Effect.andThen(send), Effect.andThen(Queue.take(stores)))
    const found = yield* Effect.forEach([1, 2, 3, 4], () => next)
    yield* Fiber.interrupt(reader)
    return found
  })

/** On Deno, numbers that stay would show a growing chain of scopes. Elsewhere the waits are Effect's own. */
const expected = "Deno" in globalThis ? ["consumer", "consumer", "consumer", "consumer"] : ["consumer", 1, 2, 3]

describe("unchainedCallback", () => {
  live(
    "a reader of Latest resumes each time in its first async scope on Deno",
    () =>
      Effect.gen(function* () {
        const latest = new Latest<number>()
        let value = 0
        const found = yield* storesOf(
          (onMessage) => Stream.runForEach(latest.changes, () => onMessage),
          Effect.sync(() => latest.set(value++))
        )
        assert.deepEqual(found, expected)
      })
  )

  live(
    "a reader of Inbox resumes each time in its first async scope on Deno",
    () =>
      Effect.gen(function* () {
        const inbox = new Inbox<number>()
        const found = yield* storesOf(
          (onMessage) => Effect.forever(Effect.andThen(inbox.take, onMessage)),
          Effect.sync(() => inbox.offer(1))
        )
        assert.deepEqual(found, expected)
      })
  )

  live(
    "a reader that starts a stream for each message resumes in its first async scope on Deno",
    () =>
      Effect.gen(function* () {
        let latest = new Latest<number>()
        const found = yield* storesOf(
          (onMessage) =>
            Effect.forever(Effect.andThen(Stream.runHead(Stream.suspend(() => latest.changes)), onMessage)),
          Effect.sync(() => {
            const before = latest
            latest = new Latest()
            before.set(1)
          })
        )
        assert.deepEqual(found, expected)
      })
  )
})

#!/usr/bin/env node
/**
 * The executable `etcd-discovery`. `cli.ts` has the commands and explains how to add one.
 *
 * @module
 */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import process from "node:process"
import { run } from "./cli.ts"
import { defectOf } from "./failure.ts"
import { processScreen, Screen } from "./output.ts"
import * as Platform from "./platform.ts"
import { type Handler, Signals } from "./signals.ts"

/** Ignores a further signal within this time: a task runner and the terminal both send one signal. */
const duplicateSignalMillis = 1000

/** The signals that end a command, and their numbers. */
const ending = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const
type Ending = keyof typeof ending
const isEnding = (signal: NodeJS.Signals): signal is Ending => Object.hasOwn(ending, signal)

/** Further signals, for commands that run a child. */
const others: ReadonlyArray<NodeJS.Signals> = ["SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"]

const handlers: Array<Handler> = []

const signals: Signals = {
  handle: (handler) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        handlers.push(handler)
        const onOther = (signal: NodeJS.Signals) => handler(signal)
        for (const signal of others) process.on(signal, onOther)
        return onOther
      }),
      (onOther) =>
        Effect.sync(() => {
          handlers.splice(handlers.indexOf(handler), 1)
          for (const signal of others) process.off(signal, onOther)
        })
    )
}

const runMain = Runtime.makeRunMain(({ fiber }) => {
  let first: { readonly signal: Ending; readonly at: number } | undefined
  const onSignal = (signal: NodeJS.Signals) => {
    const handler = handlers.at(-1)
    if (handler !== undefined) return handler(signal)
    if (!isEnding(signal)) return
    if (first === undefined) {
      first = { signal, at: performance.now() }
      fiber.interruptUnsafe(fiber.id)
    } else if (performance.now() - first.at > duplicateSignalMillis) process.exit(128 + ending[signal])
  }
  for (const signal of Object.keys(ending)) process.on(signal, onSignal)
  // A reader such as `head` has closed the pipe.
  process.stdout.on("error", () => fiber.interruptUnsafe(fiber.id))
  fiber.addObserver((exit) => {
    // `run` has set the code.
    if (Exit.isSuccess(exit)) return exitWritten()
    if (Cause.hasInterruptsOnly(exit.cause)) {
      process.exitCode = first === undefined || first.signal === "SIGTERM" ? 0 : 128 + ending[first.signal]
      return exitWritten()
    }
    const { exitCode, message } = defectOf(Cause.squash(exit.cause))
    process.exitCode = exitCode
    streams.error(`etcd-discovery: ${message}`)
    exitWritten()
  })
})

let unwritten = 0
const waiting = new Set<() => void>()

/** Completes when the reader has received everything that was written. */
const flushed: Effect.Effect<void> = Effect.callback((resume) => {
  if (unwritten === 0) return resume(Effect.void)
  const done = () => resume(Effect.void)
  waiting.add(done)
  return Effect.sync(() => waiting.delete(done))
})

/** Writes a line. On every runtime, a closed pipe becomes an error of the stream. */
const write = (stream: NodeJS.WriteStream, parts: ReadonlyArray<unknown>): void => {
  unwritten += 1
  stream.write(`${parts.join(" ")}\n`, () => {
    unwritten -= 1
    if (unwritten > 0) return
    for (const done of waiting) done()
    waiting.clear()
  })
}

const streams: Console.Console = Object.assign(Object.create(console) as typeof console, {
  log: (...parts: ReadonlyArray<unknown>) => write(process.stdout, parts),
  error: (...parts: ReadonlyArray<unknown>) => write(process.stderr, parts)
})

/** Exits once the reader has received everything or closed the pipe: `process.exit` alone would drop the rest. */
const exitWritten = (): void => {
  if (unwritten === 0) process.exit()
  waiting.add(() => process.exit())
}

runMain(
  Effect.suspend(() => run(process.argv.slice(2))).pipe(
    Effect.map((exitCode) => {
      process.exitCode = exitCode
    }),
    Effect.provide(Platform.layer),
    Effect.provideService(Console.Console, streams),
    Effect.provideService(Screen, processScreen(flushed)),
    Effect.provideService(Signals, signals)
  )
)

/**
 * Runs command lines in the process of the test, and records what they print.
 *
 * @module
 */
import { Console, Context, Effect, Layer, Option, Result, type Scope } from "effect"
import { run } from "../../src/cli/cli.ts"
import * as Connection from "../../src/cli/connection.ts"
import { Screen, type Screen as ScreenType } from "../../src/cli/output.ts"
import * as Platform from "../../src/cli/platform.ts"
import { Etcd } from "../../src/etcd/Etcd.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import * as Keyspace from "../../src/registry/model/Keyspace.ts"
import * as Registry from "../../src/registry/Registry.ts"
import { type Handler, Signals } from "../../src/cli/signals.ts"

/** What a command line printed, and how it ended. */
export interface Ran {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** A command line in the background. */
export interface Recording {
  readonly effect: Effect.Effect<number>
  readonly stdout: () => string
  readonly stderr: () => string
  /** Sends a signal to a command that handles signals. */
  readonly signal: (signal: NodeJS.Signals) => void
}

export const plain: ScreenType = {
  isTerminal: false,
  hasColour: false,
  columns: () => 100,
  rows: () => 30,
  flushed: Effect.void
}
export const terminal: ScreenType = { ...plain, isTerminal: true, hasColour: true }

/** How a command line of a test connects: as its flags say, or to an engine of the test. */
export type Connect = typeof Connection.layer

/** An embedded etcd, the registry of a test on it, and how command lines connect to it. */
export const memory: Effect.Effect<
  { readonly etcd: Etcd; readonly registry: Registry.Registry; readonly connect: Connect },
  never,
  Scope.Scope
> = Effect.gen(function* () {
  const keyspace = Result.getOrThrow(Keyspace.make("/services"))
  const context = yield* Effect.orDie(
    Layer.build(Registry.layer().pipe(Layer.provideMerge(EtcdMemory.layer())))
  )
  const connection = Layer.succeed(Connection.Connection, { options: Option.none(), keyspace })
  return {
    etcd: Context.get(context, Etcd),
    registry: Context.get(context, Registry.Registry),
    connect: () => Layer.merge(connection, Layer.succeedContext(context))
  }
})

/** A command line that has not started yet, and what it prints. */
export const recording = (
  args: ReadonlyArray<string>,
  { connect, screen = plain }: { readonly connect?: Connect; readonly screen?: ScreenType } = {}
): Recording => {
  const out: Array<string> = []
  const err: Array<string> = []
  const handlers = new Set<Handler>()
  const recorder: Console.Console = Object.assign(Object.create(console) as typeof console, {
    log: (...parts: ReadonlyArray<unknown>) => void out.push(`${parts.join(" ")}\n`),
    error: (...parts: ReadonlyArray<unknown>) => void err.push(`${parts.join(" ")}\n`)
  })
  return {
    effect: run(args, connect).pipe(
      Effect.provide(Platform.layer),
      Effect.provideService(Console.Console, recorder),
      Effect.provideService(Screen, screen),
      Effect.provideService(Signals, {
        handle: (handler) =>
          Effect.acquireRelease(
            Effect.sync(() => void handlers.add(handler)),
            () => Effect.sync(() => void handlers.delete(handler))
          )
      })
    ),
    stdout: () => out.join(""),
    stderr: () => err.join(""),
    signal: (signal) => handlers.forEach((handler) => handler(signal))
  }
}

/** Runs a command line to its end. */
export const ran = (
  args: ReadonlyArray<string>,
  options?: Parameters<typeof recording>[1]
): Effect.Effect<Ran> =>
  Effect.suspend(() => {
    const { effect, stderr, stdout } = recording(args, options)
    return Effect.map(effect, (exitCode) => ({ exitCode, stdout: stdout(), stderr: stderr() }))
  })

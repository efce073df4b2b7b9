/**
 * The platform services of `effect/cli`, on `node:` modules that Deno, Bun and Node provide.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import { ChildProcessSpawner, make as makeSpawner } from "effect/process/ChildProcessSpawner"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import { readFile } from "node:fs/promises"
import process from "node:process"

const unsupported = (what: string) => Effect.die(new Error(`${what} is not supported by this command line`))

const write = (
  stream: NodeJS.WriteStream,
  text: string | Uint8Array
): Effect.Effect<void, PlatformError.PlatformError> =>
  Effect.callback((resume) => {
    stream.write(text, (cause) =>
      resume(
        cause === undefined || cause === null ?
          Effect.void :
          Effect.fail(PlatformError.systemError({ _tag: "Unknown", module: "Stdio", method: "write", cause }))
      ))
  })

const sinkOf = (stream: () => NodeJS.WriteStream) => () =>
  Sink.forEach((text: string | Uint8Array) => write(stream(), text))

const stdio = Stdio.make({
  args: Effect.sync(() => process.argv.slice(2)),
  stdinIsTerminal: Effect.sync(() => process.stdin.isTTY === true),
  stdoutIsTerminal: Effect.sync(() => process.stdout.isTTY === true),
  stderrIsTerminal: Effect.sync(() => process.stderr.isTTY === true),
  stdout: sinkOf(() => process.stdout),
  stderr: sinkOf(() => process.stderr),
  stdin: Stream.suspend(() =>
    Stream.fromAsyncIterable<Uint8Array, PlatformError.PlatformError>(
      process.stdin,
      (cause) => PlatformError.systemError({ _tag: "Unknown", module: "Stdio", method: "stdin", cause })
    )
  )
})

const terminal = Terminal.make({
  columns: Effect.sync(() => process.stdout.columns ?? 80),
  rows: Effect.sync(() => process.stdout.rows ?? 24),
  size: unsupported("Terminal.size"),
  readInput: unsupported("Terminal.readInput"),
  readLine: unsupported("Terminal.readLine"),
  display: (text) => write(process.stdout, text)
})

/** Reads files for flags. `effect/cli` uses nothing else of a file system. */
const fileSystem = FileSystem.layerNoop({
  readFileString: (path) =>
    Effect.tryPromise({
      try: () => readFile(path, "utf8"),
      catch: (cause) =>
        PlatformError.systemError({
          _tag: "NotFound",
          module: "FileSystem",
          method: "readFileString",
          pathOrDescriptor: path,
          cause
        })
    })
})

/** The platform of `Command.run`. */
export const layer: Layer.Layer<
  FileSystem.FileSystem | Path.Path | Stdio.Stdio | Terminal.Terminal | ChildProcessSpawner
> = Layer.mergeAll(
  Path.layer,
  fileSystem,
  Layer.succeed(Stdio.Stdio, stdio),
  Layer.succeed(Terminal.Terminal, terminal),
  Layer.succeed(ChildProcessSpawner, makeSpawner(() => unsupported("ChildProcessSpawner.spawn")))
)

// A client under test in its own process. It registers, subscribes, and prints its history as lines. Commands on its
// input block its event loop or move its clock; it answers each line. At the end of its input it releases everything.
import { Effect, Logger, Scope } from "effect"
import process from "node:process"
import { createInterface } from "node:readline"
import { Recorder, toLine } from "../History.ts"
import { makeProcess, mended } from "../Process.ts"
import { type ConnectOptions, subjectOf, subjects } from "../Subject.ts"

const read = (name: string): string => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set`)
  return value
}

const recorder = new Recorder()
recorder.listen((entry) => console.log(toLine(entry)))

/** Moves the wall clock of this process. Timers and the monotonic clock do not change. */
const jump = (milliseconds: number): void => {
  const Before = globalThis.Date
  globalThis.Date = class extends Before {
    constructor(...args: ReadonlyArray<unknown>) {
      super(...(args.length === 0 ? [Before.now() + milliseconds] : args) as [number])
    }
    static override now(): number {
      return Before.now() + milliseconds
    }
  } as DateConstructor
}

const block = (milliseconds: number): void => {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

const commands: Readonly<Record<string, (argument: number) => void>> = { block, jump }

const program = Effect.gen(function* () {
  const options: ConnectOptions = JSON.parse(read("CONNECT"))
  const scope = yield* Scope.make()
  const client = yield* subjects[subjectOf(read("SUBJECT"))](options).pipe(Scope.provide(scope))
  const own = makeProcess({
    recorder,
    name: read("NAME"),
    client,
    scope,
    namespace: options.namespace,
    service: read("SERVICE"),
    ttl: Number(read("TTL"))
  })
  yield* Effect.forEach(Array.from({ length: Number(read("REGISTRATIONS")) }), () => own.register(), {
    concurrency: "unbounded"
  })
  yield* own.subscribe()
  yield* own.follow()
  console.log("ready")
  yield* Effect.callback<void>((resume) => {
    createInterface({ input: process.stdin }).on("line", (line) => {
      const [command = "", argument] = line.split(" ")
      commands[command]?.(Number(argument))
      console.log(`${command} done`)
    }).on("close", () => resume(Effect.void))
  })
  yield* own.close
  // The metrics of this process.
  recorder.add({ _tag: "Mended", count: yield* mended })
})

await Effect.runPromise(program.pipe(Effect.provide(Logger.layer([]))))

/**
 * Programs as child processes on a runtime of one's choice: for what only a process of its own can show, such as
 * SIGTERM, SIGKILL and ending by itself.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { current, findRuntime, root, type RuntimeName } from "../../tools/runtimes.ts"
import { limitMillis, toError } from "./real.ts"

export { current as currentRuntime, type RuntimeName } from "../../tools/runtimes.ts"

export interface ProgramOptions {
  /** A `.ts` or `.js` file; with `"native"` an executable. */
  readonly file: string | URL
  /** Default: the runtime that runs the test. */
  readonly runtime?: RuntimeName | "native"
  readonly args?: ReadonlyArray<string>
  /** Added to the environment of the test process. */
  readonly env?: Readonly<Record<string, string>>
  /** The working directory; default: the project's, where each runtime finds its configuration and packages. */
  readonly cwd?: string
  /** Arguments of the runtime itself, before the file; default `["-A"]` for Deno, none for the others. */
  readonly runtimeArgs?: ReadonlyArray<string>
}

export interface Line {
  readonly from: "stdout" | "stderr"
  readonly text: string
}

export interface ProgramExit {
  /** `null` when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Program {
  readonly pid: number
  readonly runtime: RuntimeName | "native"
  /** Calls the listener for each line of both outputs from now on. The result removes it. */
  readonly onLine: (listener: (line: Line) => void) => () => void
  /** What it has printed so far, in the order of arrival. */
  readonly lines: Effect.Effect<ReadonlyArray<Line>>
  /** The standard output so far. */
  readonly stdout: Effect.Effect<string>
  readonly stderr: Effect.Effect<string>
  /**
   * The first line, of both outputs and from the start, that contains the text, matches the expression, or satisfies
   * the predicate (of the line and its index). Fails if the program ends without it, or after `limit` milliseconds
   * (default 45,000).
   */
  readonly awaitLine: (
    wanted: string | RegExp | ((line: string, index: number) => boolean),
    limit?: number
  ) => Effect.Effect<string, Error>
  /** Sends a signal and waits for nothing. */
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for the program's end. */
  readonly exit: Effect.Effect<ProgramExit>
  /** Writes a line to its standard input. */
  readonly send: (line: string) => Effect.Effect<void>
  /** Closes its standard input. */
  readonly endInput: Effect.Effect<void>
}

const executables = new Map<RuntimeName, string>()

/** The executable of a runtime: of the one that runs this test if it is of that kind, else one at hand. */
export const runtime = (name: RuntimeName): string => {
  const path = executables.get(name) ?? findRuntime(name)
  if (path === undefined) throw new Error(`No ${name} at hand: \`deno task test\` prepares all three runtimes`)
  executables.set(name, path)
  return path
}

/**
 * Otherwise each start of Deno locks `node_modules` to check it. Several starts at once wait for each other, and say so on
 * the standard error, which tests read.
 */
const installed = ({ cwd = root }: ProgramOptions): ReadonlyArray<string> =>
  cwd === root ? ["--node-modules-dir=manual"] : []

const running = new Set<number>()
const killPid = (pid: number, signal: NodeJS.Signals) => {
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended by itself
  }
}
process.on("exit", () => running.forEach((pid) => killPid(pid, "SIGKILL")))

/** Runs a program for the lifetime of the scope, whose end kills it. */
export const runProgram = (options: ProgramOptions): Effect.Effect<Program, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Program, Error>((resume) => {
      const name = options.runtime ?? current
      const file = options.file instanceof URL ? fileURLToPath(options.file) : options.file
      const own = options.runtimeArgs ?? (name === "deno" ? ["-A"] : [])
      const [command, ...first] = name === "native" ?
        [file] :
        [runtime(name), ...(name === "deno" ? ["run", ...installed(options)] : []), ...own, file]
      const child = spawn(command ?? file, [...first, ...(options.args ?? [])], {
        cwd: options.cwd ?? root,
        env: { ...process.env, NO_COLOR: "1", ...options.env },
        stdio: ["pipe", "pipe", "pipe"]
      })
      const lines: Array<Line> = []
      const listeners = new Set<() => void>()
      const lineListeners = new Set<(line: Line) => void>()
      const notify = () => [...listeners].forEach((listener) => listener())
      let exit: ProgramExit | undefined

      const collect = (from: Line["from"]) =>
        createInterface({ input: child[from], crlfDelay: Infinity }).on("line", (text) => {
          lines.push({ from, text })
          for (const listener of lineListeners) listener({ from, text })
          notify()
        })
      collect("stdout")
      collect("stderr")
      child.stdin.on("error", () => {}) // the program may end without reading it
      child.once("error", (error) => resume(Effect.fail(toError(error))))
      child.once("exit", () => running.delete(child.pid ?? 0))
      // `close` comes after the last line, `exit` may come before it.
      child.once("close", (code, signal) => {
        exit = { code, signal }
        notify()
      })

      /** Completes with the first value that `look` finds, now or after a line or the end. */
      const when = <A, E>(look: () => Effect.Effect<A, E> | undefined): Effect.Effect<A, E> =>
        Effect.callback((done) => {
          const check = () => {
            const found = look()
            if (found === undefined) return
            listeners.delete(check)
            done(found)
          }
          listeners.add(check)
          check()
          return Effect.sync(() => listeners.delete(check))
        })
      const said = () => lines.map(({ from, text }) => `  ${from}: ${text}`).join("\n")
      const text = (from: Line["from"]) =>
        Effect.sync(() => lines.filter((line) => line.from === from).map((line) => `${line.text}\n`).join(""))

      child.once("spawn", () => {
        const pid = child.pid ?? 0
        running.add(pid)
        resume(Effect.succeed<Program>({
          pid,
          runtime: name,
          onLine: (listener) => {
            lineListeners.add(listener)
            return () => lineListeners.delete(listener)
          },
          lines: Effect.sync(() => [...lines]),
          stdout: text("stdout"),
          stderr: text("stderr"),
          awaitLine: (wanted, limit = limitMillis) =>
            Effect.suspend(() => {
              const matches = typeof wanted === "string" ?
                (line: string) => line.includes(wanted) :
                wanted instanceof RegExp ?
                (line: string) => wanted.test(line) :
                wanted
              let checked = 0
              let late = false
              const timer = setTimeout(() => {
                late = true
                notify()
              }, limit)
              return when<string, Error>(() => {
                // Each line is checked once: a program that prints thousands would be slowed down by its reader.
                for (const { text } of lines.slice(checked)) {
                  if (matches(text, checked++)) return Effect.succeed(text)
                }
                if (exit !== undefined) {
                  return Effect.fail(
                    new Error(`${file} ended (${JSON.stringify(exit)}) without a line like ${wanted}\n${said()}`)
                  )
                }
                return late ? Effect.fail(new Error(`no line like ${wanted} within ${limit} ms\n${said()}`)) : undefined
              }).pipe(Effect.ensuring(Effect.sync(() => clearTimeout(timer))))
            }),
          signal: (signal) =>
            Effect.sync(() => {
              if (running.has(pid)) killPid(pid, signal)
            }),
          exit: when<ProgramExit, never>(() => exit === undefined ? undefined : Effect.succeed(exit)),
          send: (line) => Effect.sync(() => child.stdin.write(`${line}\n`)),
          endInput: Effect.sync(() => child.stdin.end())
        }))
      })
    }),
    (program) => Effect.andThen(program.signal("SIGKILL"), program.exit)
  )

/**
 * A child process as a scoped resource, on `node:child_process`, which Deno, Bun and Node provide.
 *
 * @module
 */
import { Deferred, Duration, Effect, Exit, type Scope } from "effect"
import { spawn } from "node:child_process"
import { constants } from "node:os"
import process from "node:process"
import { checkOptions, type InvalidOption } from "../../internal/options.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

/** The command of a child, and how to end it. */
export interface ChildOptions {
  readonly command: string
  readonly args?: ReadonlyArray<string>
  /** Variables to add to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
  /** How long to wait after SIGTERM before SIGKILL. Default: 10 seconds. */
  readonly killAfter?: Duration.Input
}

/** How a child ended: `code` is `null` if a signal ended it. */
export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running child. It shares the standard streams and the terminal of this process. */
export interface Child {
  readonly pid: number
  /** Sends a signal. Does nothing if the child has ended. */
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits until the child ends. */
  readonly exit: Effect.Effect<ChildExit>
  /** Sends SIGTERM, or another signal, then SIGKILL after `killAfter`. Completes when the child has ended. */
  readonly terminate: (signal?: NodeJS.Signals) => Effect.Effect<ChildExit>
}

const CommandNotStartedBase: TaggedErrorClass<"CommandNotStarted", {
  readonly command: string
  readonly cause: unknown
}> = TaggedErrorClass("CommandNotStarted")

/** A command that could not be started. */
export class CommandNotStarted extends CommandNotStartedBase {
  /** The exit code of shells: 127 if the command does not exist, 126 if it is not executable. */
  get exitCode(): 126 | 127 {
    return codeOf(this.cause) === "ENOENT" ? 127 : 126
  }
  override get message(): string {
    const command = JSON.stringify(this.command)
    switch (codeOf(this.cause)) {
      case "ENOENT":
        return `cannot start ${command}: there is no such command. Check its spelling and PATH.`
      case "EACCES":
        return `cannot start ${command}: it is not executable. Check the file mode.`
      default:
        return `cannot start ${command}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
    }
  }
}

const codeOf = (cause: unknown): unknown => cause instanceof Error && "code" in cause ? cause.code : undefined

/** The exit code of a child: its own, or 128 plus the number of the signal that ended it. */
export const exitCode = ({ code, signal }: ChildExit): number =>
  signal === null ? code ?? 1 : 128 + constants.signals[signal]

const checkedKillAfter = ({ command, killAfter = Duration.seconds(10) }: ChildOptions) =>
  checkOptions("Child.make", (check) => {
    if (command === "") check.refuse("command", command, "it must name a program")
    return check.duration("killAfter", killAfter, { min: Duration.zero })
  })

/**
 * Starts a child for a scope.
 *
 * **Details**
 *
 * Completes once the child runs. Fails with `InvalidOption` before it starts anything, or with `CommandNotStarted`.
 * Closing the scope terminates the child and waits for its end. If this process exits without closing the scope, the
 * child is killed.
 *
 * **Gotchas**
 *
 * If SIGKILL ends this process, the child keeps running: no runtime can prevent that.
 */
export const make = (options: ChildOptions): Effect.Effect<Child, InvalidOption | CommandNotStarted, Scope.Scope> =>
  Effect.flatMap(
    Effect.fromResult(checkedKillAfter(options)),
    (killAfter) => Effect.acquireRelease(start(options, killAfter), (child) => child.terminate())
  )

const start = (
  { args = [], command, env }: ChildOptions,
  killAfter: Duration.Duration
): Effect.Effect<Child, CommandNotStarted> =>
  Effect.callback((resume) => {
    const ended = Deferred.makeUnsafe<ChildExit>()
    const child = spawn(command, args, { stdio: "inherit", ...(env && { env: { ...process.env, ...env } }) })
    let isRunning = child.pid !== undefined
    // `child.kill` is unusable: Deno's reports the child as ended, and sends SIGTERM instead of unknown signals.
    const send = (signal: NodeJS.Signals) => {
      if (!isRunning || child.pid === undefined) return
      try {
        process.kill(child.pid, signal)
      } catch {
        // The child has just ended, or runs as another user.
      }
    }
    const kill = () => send("SIGKILL")
    process.on("exit", kill)
    const onEnd = () => {
      isRunning = false
      process.off("exit", kill)
    }
    child.once("error", (cause) => {
      onEnd()
      resume(Effect.fail(new CommandNotStarted({ command, cause })))
    })
    child.once("exit", (code, signal) => {
      onEnd()
      Deferred.doneUnsafe(ended, Exit.succeed({ code, signal }))
    })
    child.once("spawn", () => {
      const exit = Deferred.await(ended)
      const signal = (signal: NodeJS.Signals) => Effect.sync(() => send(signal))
      resume(Effect.succeed({
        pid: child.pid ?? 0,
        signal,
        exit,
        terminate: (first = "SIGTERM") =>
          signal(first).pipe(
            // Without SIGCONT, a stopped process would not handle the signal.
            Effect.andThen(signal("SIGCONT")),
            Effect.andThen(Effect.timeoutOrElse(exit, {
              duration: killAfter,
              orElse: () => Effect.andThen(signal("SIGKILL"), exit)
            }))
          )
      }))
    })
  })

/** The signals that a terminal sends to the child, too. */
const fromTerminal: ReadonlySet<NodeJS.Signals> = new Set<NodeJS.Signals>(["SIGINT", "SIGQUIT", "SIGWINCH"])

/** Whether the terminal, which both processes share, sends this signal to the child. */
export const isShared = (signal: NodeJS.Signals): boolean => process.stdin.isTTY === true && fromTerminal.has(signal)

/**
 * Commands that a user wrote, run by the shell of the system.
 *
 * @module
 */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"

/** How a command ended. */
export interface ShellExit {
  /** The exit code, or the signal that ended it. 0 is success. */
  readonly status: number | NodeJS.Signals
  /** The end of both outputs, at most {@link maxOutput} characters, on one line. */
  readonly output: string
}

/** How much of the output of a command is kept. */
export const maxOutput = 2000

/**
 * Runs a command in `sh` (`cmd.exe` on Windows), without input.
 *
 * **Details**
 *
 * The command and all processes that it starts are killed if the effect is interrupted. Fails with the error of the
 * system if there is no shell.
 *
 * Values that are not the user's go into `env`: text that is inserted into a command would be code.
 */
export const runShell = (
  command: string,
  env: Readonly<Record<string, string>> = {}
): Effect.Effect<ShellExit, Error> =>
  Effect.callback((resume) => {
    // A process group of its own: a signal for the group reaches what the shell has started.
    const hasGroup = process.platform !== "win32"
    const child = spawn(command, {
      shell: true,
      detached: hasGroup,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env }
    })
    let output = ""
    const keep = (text: string) => output = (output + text).slice(-maxOutput)
    child.stdout.setEncoding("utf8").on("data", keep)
    child.stderr.setEncoding("utf8").on("data", keep)
    child.once("error", (error) => resume(Effect.fail(error)))
    const end = (code: number | null, signal: NodeJS.Signals | null) =>
      resume(Effect.succeed({ status: signal ?? code ?? 1, output: output.trim().replaceAll(/\s*\n\s*/g, "; ") }))
    // `close` comes after the whole output. A process that the command left behind delays it: success does not wait.
    child.once("close", end)
    child.once("exit", (code, signal) => {
      if (code === 0) end(code, signal)
    })
    return Effect.sync(() => {
      if (child.pid === undefined) return
      try {
        process.kill(hasGroup ? -child.pid : child.pid, "SIGKILL")
      } catch {
        // It has ended.
      }
    })
  })

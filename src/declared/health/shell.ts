/**
 * Runs users' commands in the system's shell.
 *
 * @module
 */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import process from "node:process"

/** How many characters of the output are kept, from its end. */
const maxOutput = 2000

/**
 * Runs a command in `sh` (`cmd.exe` on Windows) without input.
 *
 * **Details**
 *
 * Fails unless the command exits with 0. The failure is a text such as `exit code 3: the end of its output`.
 * Interruption kills the command and all processes that it has started.
 *
 * Pass values from elsewhere in `env`: text inserted into a command would run as code.
 */
export const runShell = (
  command: string,
  env: Readonly<Record<string, string>> = {}
): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    // A process group of its own, so that one signal reaches all processes of the shell.
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
    child.once("error", (error) => resume(Effect.fail(error.message)))
    child.once("exit", (code) => {
      // A process that the command left behind would delay `close`, so success does not wait for it.
      if (code === 0) resume(Effect.void)
    })
    // Wait for the whole output.
    child.once("close", (code, signal) => {
      const lines = output.trim().replaceAll(/\s*\n\s*/g, "; ")
      resume(Effect.fail(`${signal ?? `exit code ${code}`}${lines && `: ${lines}`}`))
    })
    return Effect.sync(() => {
      if (child.pid === undefined) return
      try {
        process.kill(hasGroup ? -child.pid : child.pid, "SIGKILL")
      } catch {
        // The process has already ended.
      }
    })
  })

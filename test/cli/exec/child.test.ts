// Child processes as scoped resources.
import { Effect, Exit, Fiber, Scope } from "effect"
import assert from "node:assert/strict"
import { createServer } from "node:net"
import process from "node:process"
import { createInterface } from "node:readline"
import * as Child from "../../../src/cli/exec/Child.ts"
import { describe, live } from "../../harness/it.ts"
import { attempt } from "../../harness/real.ts"

const sh = (script: string, options: Partial<Child.ChildOptions> = {}) =>
  Child.make({ command: "sh", args: ["-c", script], ...options })

/** A TCP server that collects the lines that children send. */
const reports = Effect.gen(function* () {
  const lines: Array<string> = []
  const listeners = new Set<() => void>()
  const server = createServer((socket) => {
    createInterface({ input: socket }).on("line", (line) => {
      lines.push(line)
      listeners.forEach((listener) => listener())
    })
    socket.on("error", () => {})
  })
  yield* Effect.acquireRelease(
    attempt(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    () => Effect.sync(() => void server.close())
  )
  const awaitLine = (wanted: string) =>
    Effect.callback<void>((resume) => {
      const check = () => {
        if (lines.includes(wanted)) resume(Effect.void)
      }
      listeners.add(check)
      check()
      return Effect.sync(() => listeners.delete(check))
    })
  const address = server.address()
  assert.ok(typeof address === "object" && address !== null)
  return { port: address.port, awaitLine }
})

/** A child that reports each of these signals, and "ready" before. SIGTERM does not end it. */
const reporter = (port: number, signals: ReadonlyArray<string>, options: Partial<Child.ChildOptions> = {}) =>
  Child.make({
    command: "python3",
    args: [
      "-c",
      `
import signal, socket
def report(text):
    with socket.create_connection(("127.0.0.1", ${port})) as s: s.sendall((text + "\\n").encode())
for name in ${JSON.stringify(signals)}:
    signal.signal(getattr(signal, name), lambda number, frame: report(signal.Signals(number).name))
report("ready")
while True: signal.pause()
`
    ],
    ...options
  })

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe("Child", () => {
  live("Child.exit returns the code of a child that exits", () =>
    Effect.gen(function* () {
      const exit = yield* (yield* sh("exit 7")).exit
      assert.deepEqual(exit, { code: 7, signal: null })
      assert.equal(Child.exitCode(exit), 7)
    }))

  live("Child.exitCode is 128 plus the number of the signal that ended the child", () =>
    Effect.gen(function* () {
      const exit = yield* (yield* sh("kill -TERM $$")).exit
      assert.deepEqual(exit, { code: null, signal: "SIGTERM" })
      assert.equal(Child.exitCode(exit), 143)
    }))

  live("Child.make fails with exit code 127 when the command does not exist", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Child.make({ command: "/no/such/command" }))
      assert.ok(error._tag === "CommandNotStarted")
      assert.equal(error.exitCode, 127)
      assert.match(error.message, /no such command/)
    }))

  live("Child.make fails with exit code 126 when the file is not executable", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Child.make({ command: "/etc/passwd" }))
      assert.ok(error._tag === "CommandNotStarted")
      assert.equal(error.exitCode, 126)
    }))

  live("Child.make refuses an invalid killAfter before it starts anything", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Child.make({ command: "/no/such/command", killAfter: -1 }))
      assert.equal(error._tag, "InvalidOption")
    }))

  live("Child.make passes arguments and variables to the child unchanged", () =>
    Effect.gen(function* () {
      const child = yield* Child.make({
        command: "sh",
        args: ["-c", '[ "$1" = \'$X; a  b\' ] && [ "$WORD" = \'c d\' ] && [ -n "$PATH" ]', "sh", "$X; a  b"],
        env: { WORD: "c d" }
      })
      assert.deepEqual(yield* child.exit, { code: 0, signal: null })
    }))

  live("closing the scope of a child ends the child", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const child = yield* Scope.provide(sh("exec sleep 1000"), scope)
      assert.ok(isAlive(child.pid))
      yield* Scope.close(scope, Exit.void)
      assert.equal((yield* child.exit).signal, "SIGTERM")
      assert.ok(!isAlive(child.pid))
    }))

  live("Child.terminate kills a child that ignores SIGTERM after killAfter", () =>
    Effect.gen(function* () {
      const { awaitLine, port } = yield* reports
      const child = yield* reporter(port, ["SIGTERM"], { killAfter: "200 millis" })
      yield* awaitLine("ready")
      const fiber = yield* Effect.forkChild(child.terminate(), { startImmediately: true })
      yield* awaitLine("SIGTERM")
      assert.equal((yield* Fiber.join(fiber)).signal, "SIGKILL")
    }))

  live("Child.terminate ends a child that is stopped", () =>
    Effect.gen(function* () {
      const child = yield* sh("exec sleep 1000", { killAfter: "1 hour" })
      yield* child.signal("SIGSTOP")
      assert.equal((yield* child.terminate()).signal, "SIGTERM")
    }))

  live("Child.signal sends every signal that a supervisor passes on", () =>
    Effect.gen(function* () {
      const names: ReadonlyArray<NodeJS.Signals> = [
        "SIGTERM",
        "SIGINT",
        "SIGHUP",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGWINCH"
      ]
      const { awaitLine, port } = yield* reports
      const child = yield* reporter(port, names, { killAfter: 0 })
      yield* awaitLine("ready")
      for (const name of names) {
        yield* child.signal(name)
        yield* awaitLine(name)
      }
    }))
})

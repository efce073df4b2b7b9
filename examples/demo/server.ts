/**
 * A real etcd for the demo: an existing one, or one that the demo starts and stops.
 *
 * @module
 */
import { type Config, ConfigProvider, Effect, Schedule, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { type Etcd, type EtcdError, EtcdGrpc } from "../../src/etcd/mod.ts"
import { anyEtcd } from "../../tools/etcd.ts"
import type { Stage } from "./stage.ts"

const toError = (cause: unknown): Error => cause instanceof Error ? cause : new Error(String(cause))

/** Cleaned up at exit, even if a second Ctrl-C ends the process before its scopes have closed. */
const children = new Set<ChildProcess>()
const folders = new Set<string>()
const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
process.on("exit", () => {
  children.forEach((child) => child.kill("SIGKILL"))
  folders.forEach(remove)
})

interface Child {
  readonly pid: number
  readonly process: ChildProcess
  readonly ended: Promise<void>
}

/** Runs a child process until the scope closes, which sends `signal`. */
const childProcess = (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly signal: NodeJS.Signals; readonly env?: Record<string, string>; readonly printsLines?: true }
): Effect.Effect<Child, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Child, Error>((resume) => {
      const child = spawn(command, args, {
        // The child exits at the end of its input, so it ends with this process in any case.
        stdio: options.printsLines === true ? ["pipe", "pipe", "inherit"] : "ignore",
        // Keep the terminal's Ctrl-C from the child: only the demo ends it.
        detached: true,
        env: { ...process.env, ...options.env }
      })
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
      child.once("error", (error) => resume(Effect.fail(error)))
      child.once("exit", () => children.delete(child))
      child.once("spawn", () => {
        children.add(child)
        resume(Effect.succeed({ pid: child.pid ?? 0, process: child, ended }))
      })
    }),
    (child) =>
      Effect.suspend(() => {
        if (!children.has(child.process)) return Effect.void
        child.process.kill(options.signal)
        return Effect.promise(() => child.ended).pipe(
          Effect.timeoutOrElse({
            duration: "5 seconds",
            orElse: () => Effect.sync(() => child.process.kill("SIGKILL"))
          })
        )
      })
  )

/** A free port of 127.0.0.1, below the range of outgoing connections. */
const freePort = Effect.tryPromise({
  try: async () => {
    for (let attempt = 0; attempt < 100; attempt++) {
      const port = 16_000 + Math.floor(Math.random() * 16_000)
      const server = createServer()
      const free = await new Promise<boolean>((resolve) => {
        server.once("error", () => resolve(false))
        server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)))
      })
      if (free) return port
    }
    throw new Error("no free port on 127.0.0.1")
  },
  catch: toError
})

/** Starts an etcd on free loopback ports and in a temporary folder. */
const startEtcd = Effect.gen(function* () {
  const { etcd, version } = yield* Effect.try({ try: anyEtcd, catch: toError })
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "etcd-demo-"))
      folders.add(folder)
      return folder
    }),
    (folder) =>
      Effect.sync(() => {
        remove(folder)
        folders.delete(folder)
      })
  )
  const client = `http://127.0.0.1:${yield* freePort}`
  const peer = `http://127.0.0.1:${yield* freePort}`
  const server = yield* childProcess(etcd, [
    ...["--name", "demo", "--data-dir", join(folder, "data"), "--initial-cluster", `demo=${peer}`],
    ...["--listen-client-urls", client, "--advertise-client-urls", client],
    ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
    // A single member can elect itself quickly.
    ...["--heartbeat-interval", "10", "--election-timeout", "100", "--log-level", "error"]
  ], { signal: "SIGTERM", env: { ETCD_UNSUPPORTED_ARCH: process.arch } })
  const healthy = Effect.tryPromise({
    try: async (signal) => {
      const answer = await (await fetch(`${client}/health`, { signal })).text()
      if (!answer.includes('"true"')) throw new Error(answer)
    },
    catch: toError
  })
  yield* healthy.pipe(
    Effect.retry(Schedule.spaced("20 millis")),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.fail(new Error(`etcd ${version} (${etcd}) did not become healthy within 20 s`))
    }),
    Effect.raceFirst(
      Effect.andThen(
        Effect.promise(() => server.ended),
        Effect.fail(new Error(`etcd ${version} (${etcd}) ended at once`))
      )
    )
  )
  return { endpoint: client, version, pid: server.pid }
})

/** The stage on a real etcd. Without `endpoints` it starts one. Credentials come from the environment. */
export const real = Effect.fnUntraced(function* (
  endpoints: string | undefined
): Effect.fn.Return<Stage, Error | EtcdError.EtcdError | Config.ConfigError, Scope.Scope> {
  const own = endpoints === undefined ? yield* startEtcd : undefined
  const namespace = `/demo/${crypto.randomUUID().slice(0, 8)}`
  const env = {
    ETCD_ENDPOINTS: own?.endpoint ?? endpoints ?? "",
    ETCD_NAMESPACE: namespace
  }
  const provider = ConfigProvider.orElse(ConfigProvider.fromEnvRecord(env), ConfigProvider.fromEnv())
  const options = yield* Effect.provideService(EtcdGrpc.config, ConfigProvider.ConfigProvider, provider)
  const connect: Effect.Effect<Etcd, EtcdError.EtcdError, Scope.Scope> = Effect.catchTag(
    EtcdGrpc.make(options),
    "InvalidOption",
    Effect.die
  )
  const { version } = yield* Effect.scoped(Effect.flatMap(connect, (etcd) => etcd.status))
  return {
    place: own === undefined ?
      `etcd ${version} at ${env.ETCD_ENDPOINTS}` :
      `etcd ${version} at ${own.endpoint}, started for this demo (pid ${own.pid})`,
    namespace,
    connect,
    spawn: Effect.fnUntraced(function* (instance) {
      const script = fileURLToPath(new URL("./instance.ts", import.meta.url))
      const runtime = "deno" in process.versions ? ["run", "-A", "--quiet"] : []
      const child = yield* childProcess(process.execPath, [...runtime, script, JSON.stringify(instance)], {
        signal: "SIGTERM",
        env,
        printsLines: true
      })
      // The child prints one line when it is registered.
      yield* Effect.callback<void, Error>((resume) => {
        child.process.stdout?.once("data", () => resume(Effect.void))
        child.process.once("exit", () => resume(Effect.fail(new Error(`the process of ${instance.id} ended`))))
      })
      return {
        how: `SIGKILL to its process (pid ${child.pid})`,
        kill: Effect.andThen(
          // On Deno, `child.process.kill` closes the pipes first, which the child would treat as the end of its input.
          Effect.sync(() => children.has(child.process) && process.kill(child.pid, "SIGKILL")),
          Effect.promise(() => child.ended)
        )
      }
    })
  }
})

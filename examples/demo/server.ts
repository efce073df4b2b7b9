/**
 * A real etcd for the demo: one that is there already, or one that is started for it and stopped in the end.
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

/** Nothing that the demo has made outlives it, also when a second Ctrl-C ends it before its scopes have closed. */
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

/** A child process for the lifetime of the scope, which ends with `signal`. */
const childProcess = (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly signal: NodeJS.Signals; readonly env?: Record<string, string>; readonly says?: true }
): Effect.Effect<Child, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Child, Error>((resume) => {
      const child = spawn(command, args, {
        // A child that waits for the end of its input ends with this process, whatever happens to it.
        stdio: options.says === true ? ["pipe", "pipe", "inherit"] : "ignore",
        // Ctrl-C goes to all processes of the terminal's group: these are to be ended by the demo alone.
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

/** A port of 127.0.0.1 that is free now, and not one that outgoing connections are given. */
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

/** An etcd of our own on free loopback ports and a temporary folder; its version and endpoint. */
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
    // A cluster of one need not wait long before it leads.
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

/** A real etcd; without `endpoints` one that is started here. The user name and so on are those of the environment. */
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
  const connect: Effect.Effect<Etcd, EtcdError.EtcdError, Scope.Scope> = EtcdGrpc.make(options)
  const { version } = yield* Effect.scoped(Effect.flatMap(connect, (etcd) => etcd.status))
  return {
    place: own === undefined ?
      `etcd ${version} at ${env.ETCD_ENDPOINTS}` :
      `etcd ${version} at ${own.endpoint}, started for this demo (pid ${own.pid})`,
    namespace,
    connect,
    spawn: Effect.fnUntraced(function* (instance) {
      const script = fileURLToPath(new URL("./instance.ts", import.meta.url))
      const runtime = "deno" in process.versions ? ["run", "-A"] : []
      const child = yield* childProcess(process.execPath, [...runtime, script, JSON.stringify(instance)], {
        signal: "SIGTERM",
        env,
        says: true
      })
      // It says one line, once it is registered.
      yield* Effect.callback<void, Error>((resume) => {
        child.process.stdout?.once("data", () => resume(Effect.void))
        child.process.once("exit", () => resume(Effect.fail(new Error(`the process of ${instance.id} ended`))))
      })
      return {
        how: `its process (pid ${child.pid}) gets SIGKILL`,
        kill: Effect.andThen(
          // `child.process.kill` of Deno closes the pipes first; the child would see that as the end of its input.
          Effect.sync(() => children.has(child.process) && process.kill(child.pid, "SIGKILL")),
          Effect.promise(() => child.ended)
        )
      }
    })
  }
})

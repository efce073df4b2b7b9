/**
 * What people put in front of etcd, as processes of their own: etcd's gRPC proxy and its TCP gateway.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { attempt, eventually, freePort } from "./real.ts"
import { binariesOf } from "./versions.ts"

/** `grpc-proxy` speaks gRPC on both sides and merges watches; `gateway` copies bytes. */
export type FrontKind = "grpc-proxy" | "gateway"

export interface Front {
  /** `http://127.0.0.1:PORT`; the same over restarts. */
  readonly endpoint: string
  /** Ends it at once. */
  readonly kill: Effect.Effect<void, Error>
  /** Starts it again, and completes when it accepts connections. */
  readonly start: Effect.Effect<void, Error>
}

const alive = new Set<ChildProcess>()
process.on("exit", () => alive.forEach((child) => child.kill("SIGKILL")))

const accepts = (port: number): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    const socket = net.connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.once("error", (error) => resume(Effect.fail(error)))
  })

/** A front of a server, for the lifetime of the scope. */
export const startFront = Effect.fnUntraced(function* (
  kind: FrontKind,
  target: { readonly endpoint: string; readonly version: string }
): Effect.fn.Return<Front, Error, Scope.Scope> {
  const port = yield* freePort
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "etcd-front-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  let child: ChildProcess | undefined
  const kill = attempt(() =>
    new Promise<void>((resolve) => {
      const ending = child
      child = undefined
      // One that has ended by itself emits no second "exit".
      if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return resolve()
      ending.once("exit", () => {
        alive.delete(ending)
        resolve()
      })
      ending.kill("SIGKILL")
    })
  )
  const start = Effect.gen(function* () {
    const { host } = new URL(target.endpoint)
    const args = [
      ...[kind, "start", `--endpoints=${host}`, `--listen-addr=127.0.0.1:${port}`],
      // The proxy connects to the address that it advertises, and ends if nothing answers there within 5 seconds.
      ...(kind === "grpc-proxy" ? [`--advertise-client-url=127.0.0.1:${port}`] : []),
      // The gateway looks for a lost server once a minute otherwise.
      ...(kind === "gateway" ? ["--retry-delay=200ms"] : [])
    ]
    child = spawn(binariesOf(target.version).etcd, args, {
      cwd: folder,
      stdio: "ignore",
      env: { PATH: process.env["PATH"], ETCD_UNSUPPORTED_ARCH: process.arch }
    })
    alive.add(child)
    yield* eventually(accepts(port))
  })
  yield* Effect.addFinalizer(() => Effect.ignore(kill))
  yield* start
  return { endpoint: `http://127.0.0.1:${port}`, kill, start }
})

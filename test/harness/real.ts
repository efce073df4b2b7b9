/**
 * Small things of the real world: time, ports and HTTP. None of it goes through Effect's Clock, so that the harness
 * works inside tests on virtual time, too.
 *
 * @module
 */
import { Effect } from "effect"
import { closeSync, mkdirSync, openSync, rmSync, statSync } from "node:fs"
import http from "node:http"
import net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

export const toError = (cause: unknown): Error => cause instanceof Error ? cause : new Error(String(cause))

export const attempt = <A>(run: () => PromiseLike<A>): Effect.Effect<A, Error> =>
  Effect.tryPromise({ try: run, catch: toError })

/** How long anything may take on a busy machine, in milliseconds. Only a test that fails waits so long. */
export const limitMillis = 45_000

/** Real milliseconds, whatever the clock in use says. */
export const pause = (milliseconds: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.void), milliseconds)
    return Effect.sync(() => clearTimeout(timer))
  })

/** Waits (in real time) until `probe` succeeds; fails with the error of `late` after `limit` milliseconds. */
export const eventually = <A, E, R>(
  probe: Effect.Effect<A, E, R>,
  options: { readonly limit?: number; readonly every?: number; readonly late?: (last: E) => Error } = {}
): Effect.Effect<A, Error, R> =>
  Effect.suspend(() => {
    const { every = 20, late, limit = limitMillis } = options
    const deadline = performance.now() + limit
    const loop: Effect.Effect<A, Error, R> = Effect.catch(probe, (error) =>
      performance.now() < deadline ?
        Effect.andThen(pause(every), loop) :
        Effect.fail(late === undefined ? new Error(`not so within ${limit} ms: ${error}`) : late(error)))
    return loop
  })

/** The body of a GET that was answered with 200. */
export const get = (url: string, timeout = limitMillis): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    const request = http.get(url, { agent: false, timeout }, (response) => {
      const chunks: Array<Uint8Array> = []
      response.on("data", (chunk: Uint8Array) => chunks.push(chunk))
      response.on("error", (error) => resume(Effect.fail(error)))
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString()
        resume(response.statusCode === 200 ? Effect.succeed(text) : Effect.fail(new Error(`${url}: ${text}`)))
      })
    })
    request.on("timeout", () => request.destroy(new Error(`${url}: no answer within ${timeout} ms`)))
    request.on("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => request.destroy())
  })

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = net.createServer()
    server.once("error", () => resolve(false))
    server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)))
  })

/** A file for each port that a test has taken lately, since test files run side by side in processes and threads. */
const claims = join(tmpdir(), "effect-etcd-test-ports")
const claimMillis = 30 * 60_000

/** Whether the port is now this caller's: no other test has taken it within the last half hour. */
const claim = (port: number): boolean => {
  const file = join(claims, String(port))
  mkdirSync(claims, { recursive: true })
  if ((statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Infinity) < Date.now() - claimMillis) {
    rmSync(file, { force: true })
  }
  try {
    closeSync(openSync(file, "wx"))
    return true
  } catch {
    return false
  }
}

/**
 * A port of 127.0.0.1 that is free now. Always below 32768: above that, a connection of our own can take the port while
 * its server is down.
 */
export const freePort: Effect.Effect<number, Error> = attempt(async () => {
  for (let attempts = 0; attempts < 1000; attempts++) {
    const port = 16_000 + Math.floor(Math.random() * 16_000)
    if (claim(port) && await isFree(port)) return port
  }
  throw new Error("no free port between 16000 and 32000 on 127.0.0.1")
})

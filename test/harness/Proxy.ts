/**
 * A TCP proxy on loopback that breaks connections the way networks do: it resets them, refuses new ones, or keeps them
 * open and lets nothing through.
 *
 * What a black hole has swallowed is kept and delivered when it heals, as TCP would by sending it again. The end of a
 * connection is held back in the same way: behind a black hole nobody learns that the other side has gone.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import net from "node:net"
import { freePort, toError } from "./real.ts"

/** `up` is what the client sends, `down` is what the server sends. */
export type Direction = "up" | "down" | "both"

export interface Proxy {
  /** `http://127.0.0.1:PORT` (or `https:`, as the target's). */
  readonly endpoint: string
  /** Breaks every open connection now, on both sides. Held bytes are lost. */
  readonly reset: Effect.Effect<void>
  /** Stops listening: new connections are refused, open ones stay. */
  readonly refuse: Effect.Effect<void, Error>
  /** Listens again, on the same port. */
  readonly accept: Effect.Effect<void, Error>
  /** Lets nothing through any more, on open and on new connections. Connecting itself still works. */
  readonly blackhole: (direction?: Direction) => Effect.Effect<void>
  /** Ends every black hole and delivers what was held. */
  readonly heal: Effect.Effect<void>
  /** Resets all connections once this many more bytes have passed in that direction. */
  readonly resetAfterBytes: (bytes: number, direction?: "up" | "down") => Effect.Effect<void>
  /** Sends new connections elsewhere. */
  readonly retarget: (endpoint: string) => Effect.Effect<void>
  /** Connections that are open now. */
  readonly connections: Effect.Effect<number>
  /** Connections that were ever made. */
  readonly accepted: Effect.Effect<number>
}

type Way = "up" | "down"

interface Connection {
  readonly held: Record<Way, Array<() => void>>
  readonly destroy: () => void
}

/** A proxy in front of a server, for the lifetime of the scope. */
export const makeProxy = (target: { readonly endpoint: string }): Effect.Effect<Proxy, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const port = yield* freePort
    let to = new URL(target.endpoint)
    const endpoint = `${to.protocol}//127.0.0.1:${port}`
    const open = new Set<Connection>()
    const dark: Record<Way, boolean> = { up: false, down: false }
    let limit: { way: Way; bytes: number } | undefined
    let accepted = 0

    const resetAll = () => [...open].forEach((connection) => connection.destroy())

    const onClient = (client: net.Socket) => {
      accepted++
      // Half-open, as the wire is: the end of one direction is passed on by itself.
      const server = net.connect({ host: to.hostname, port: Number(to.port), allowHalfOpen: true })
      client.setNoDelay(true)
      server.setNoDelay(true)
      const connection: Connection = {
        held: { up: [], down: [] },
        destroy: () => {
          open.delete(connection)
          // A socket whose end is still pending would never close when reset, and keep Node alive.
          for (const socket of [client, server]) {
            if (socket.writableEnded) socket.destroy()
            else socket.resetAndDestroy()
          }
        }
      }
      open.add(connection)

      const forward = (way: Way, from: net.Socket, into: net.Socket) => {
        const deliver = (action: () => void) => dark[way] ? connection.held[way].push(action) : action()
        from.on("data", (chunk: Uint8Array) =>
          deliver(() => {
            if (into.destroyed) return
            // A reader that does not read must slow its writer down, or the proxy would hide back-pressure.
            if (!into.write(chunk)) {
              from.pause()
              into.once("drain", () => from.resume())
            }
            if (limit?.way === way && (limit.bytes -= chunk.length) <= 0) {
              limit = undefined
              resetAll()
            }
          }))
        from.on("end", () => deliver(() => into.end()))
        from.on("error", () => deliver(connection.destroy))
        from.on("close", () =>
          deliver(() => {
            open.delete(connection)
            into.end()
          }))
      }
      forward("up", client, server)
      forward("down", server, client)
    }

    let listener: net.Server | undefined
    const accept = Effect.callback<void, Error>((resume) => {
      if (listener !== undefined) return resume(Effect.void)
      // `refuse` may leave a server that waits for its connections to end: each listening is a server of its own.
      const server = net.createServer({ allowHalfOpen: true }, onClient)
      listener = server
      server.once("error", (error) => {
        if (listener === server) listener = undefined
        resume(Effect.fail(toError(error)))
      })
      server.listen({ host: "127.0.0.1", port }, () => resume(Effect.void))
    })
    const refuse = Effect.sync(() => {
      listener?.close()
      listener = undefined
    })

    yield* Effect.acquireRelease(accept, () =>
      Effect.sync(() => {
        listener?.close()
        listener = undefined
        resetAll()
      }))

    return {
      endpoint,
      reset: Effect.sync(resetAll),
      refuse,
      accept,
      blackhole: (direction = "both") =>
        Effect.sync(() => {
          if (direction !== "down") dark.up = true
          if (direction !== "up") dark.down = true
        }),
      heal: Effect.sync(() => {
        dark.up = dark.down = false
        for (const { held } of open) {
          for (const action of [...held.up.splice(0), ...held.down.splice(0)]) action()
        }
      }),
      resetAfterBytes: (bytes, way = "down") =>
        Effect.sync(() => {
          limit = { way, bytes }
        }),
      retarget: (next) =>
        Effect.sync(() => {
          to = new URL(next)
        }),
      connections: Effect.sync(() => open.size),
      accepted: Effect.sync(() => accepted)
    }
  })

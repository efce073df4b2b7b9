/**
 * A TCP proxy on loopback that breaks connections the way networks do: it resets them, refuses new ones, keeps them open
 * and lets nothing through, or lets everything through late, slowly or in single bytes.
 *
 * What a black hole has swallowed is kept and delivered when it heals, as TCP would by sending it again. The end of a
 * connection is held back in the same way: behind a black hole no side learns that the other has gone.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { Buffer } from "node:buffer"
import net from "node:net"
import { freePort, toError } from "./real.ts"

/** `up` is what the client sends, `down` is what the server sends. */
export type Direction = "up" | "down" | "both"

/** How what passes is hindered. */
export interface Toxics {
  /** Milliseconds that each chunk is late, more or less by up to `jitter`. The order is kept. */
  readonly latency?: number
  readonly jitter?: number
  /** Bytes per second. */
  readonly bandwidth?: number
  /** Each byte is a write of its own. */
  readonly slice?: boolean
  /** Replaces bytes by as many others, wherever a chunk contains them: the other side then seems to lie. */
  readonly rewrite?: readonly [from: Uint8Array, to: Uint8Array]
  /** Milliseconds for which the end of a connection is held back. */
  readonly slowClose?: number
}

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
  /** Lets nothing through, in either direction, on connections with this label. */
  readonly blackholeOf: (label: string) => Effect.Effect<void>
  /** Hinders what passes from now on. */
  readonly poison: (toxics: Toxics, direction?: Direction) => Effect.Effect<void>
  /** Ends every black hole and all that hinders or waits for bytes, and delivers what was held. */
  readonly heal: Effect.Effect<void>
  /** Resets all connections once this many more bytes have passed in that direction. */
  readonly resetAfterBytes: (bytes: number, direction?: "up" | "down") => Effect.Effect<void>
  /** Ends all connections in good order once this many more bytes have passed in that direction. */
  readonly closeAfterBytes: (bytes: number, direction?: "up" | "down") => Effect.Effect<void>
  /**
   * Waits, once, for a request that contains these bytes. `"lost"` resets all connections instead of passing it on;
   * `"unanswered"` passes it on and lets nothing back, until it heals.
   */
  readonly trap: (bytes: Uint8Array, mode: "lost" | "unanswered") => Effect.Effect<Trap>
  /** Sends new connections elsewhere. */
  readonly retarget: (endpoint: string) => Effect.Effect<void>
  /** Connections that are open now. */
  readonly connections: Effect.Effect<number>
  /** Connections that were ever made. */
  readonly accepted: Effect.Effect<number>
}

export interface Trap {
  /** Completes when the request has come. */
  readonly sprung: Effect.Effect<void>
}

export interface ProxyOptions {
  /** Labels a connection by what the client sends: the first group of the first match. */
  readonly label?: RegExp
}

type Way = "up" | "down"

interface Connection {
  readonly lanes: ReadonlyArray<Lane>
  readonly destroy: () => void
  readonly end: () => void
  label: string | undefined
}

/** Bytes that may wait in one direction of a connection before its sender has to. */
const capacity = 1 << 18

/** One direction of a connection: what was read and is not written yet, in order. */
class Lane {
  readonly #from: net.Socket
  readonly #into: net.Socket
  readonly #toxics: () => Toxics
  readonly #isDark: () => boolean
  readonly #parcels: Array<{ readonly chunk: Uint8Array; readonly run: () => void; readonly due: number }> = []
  #bytes = 0
  #due = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #slicing = false

  constructor(from: net.Socket, into: net.Socket, toxics: () => Toxics, isDark: () => boolean) {
    this.#from = from
    this.#into = into
    this.#toxics = toxics
    this.#isDark = isDark
    // A reader that does not read must slow its writer down, or the proxy would hide back-pressure.
    into.on("drain", () => this.#regulate())
  }

  write(chunk: Uint8Array, after: () => void): void {
    const { bandwidth = Infinity, jitter = 0, latency = 0, rewrite } = this.#toxics()
    const late = latency + jitter * (2 * Math.random() - 1)
    this.#bytes += chunk.length
    const delivered = rewrite === undefined ? chunk : rewritten(chunk, ...rewrite)
    this.#push(delivered, after, Math.max(0, late), chunk.length * 1000 / bandwidth)
    this.#regulate()
  }

  /** Runs an action once all that was read before it has been written. */
  close(action: () => void): void {
    this.#push(nothing, action, this.#toxics().slowClose ?? 0, 0)
  }

  #push(chunk: Uint8Array, run: () => void, late: number, duration: number): void {
    this.#due = Math.max(this.#due, performance.now() + late) + duration
    this.#parcels.push({ chunk, run, due: this.#due })
    this.pump()
  }

  /** Delivers what is due. */
  pump(): void {
    clearTimeout(this.#timer)
    while (!this.#slicing && !this.#isDark()) {
      const [parcel] = this.#parcels
      if (parcel === undefined) return
      const wait = parcel.due - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(wait))
        return
      }
      this.#parcels.shift()
      this.#bytes -= parcel.chunk.length
      this.#regulate()
      if (parcel.chunk.length > 0 && !this.#into.destroyed) {
        if (this.#toxics().slice === true) this.#slice(parcel.chunk)
        else this.#into.write(parcel.chunk)
      }
      parcel.run()
    }
  }

  /** What waits is delivered without further delay. */
  hurry(): void {
    const parcels = this.#parcels.splice(0)
    this.#due = 0
    for (const parcel of parcels) this.#parcels.push({ ...parcel, due: 0 })
    this.pump()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#parcels.length = 0
  }

  #slice(chunk: Uint8Array): void {
    this.#slicing = true
    const next = (index: number): void => {
      if (index < chunk.length && !this.#into.destroyed) {
        // The reader gets a turn of the event loop; otherwise it would receive several bytes at once.
        this.#into.write(chunk.subarray(index, index + 1), () => setImmediate(() => next(index + 1)))
      } else {
        this.#slicing = false
        this.pump()
      }
    }
    next(0)
  }

  #regulate(): void {
    if (this.#bytes > capacity || this.#into.writableNeedDrain) this.#from.pause()
    else if (this.#from.isPaused()) this.#from.resume()
  }
}

const rewritten = (chunk: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array => {
  const bytes = Buffer.from(chunk)
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + to.length)) bytes.set(to, at)
  return bytes
}

const nothing = new Uint8Array()
const latin = new TextDecoder("latin1")

/** A proxy in front of a server, for the lifetime of the scope. */
export const makeProxy = (
  target: { readonly endpoint: string },
  options: ProxyOptions = {}
): Effect.Effect<Proxy, Error, Scope.Scope> =>
  Effect.gen(function* () {
    const port = yield* freePort
    let to = new URL(target.endpoint)
    const endpoint = `${to.protocol}//127.0.0.1:${port}`
    const open = new Set<Connection>()
    const dark: Record<Way, boolean> = { up: false, down: false }
    const darkLabels = new Set<string>()
    const toxics: Record<Way, Toxics> = { up: {}, down: {} }
    const traps = new Set<{ readonly bytes: Buffer; readonly spring: () => boolean }>()
    let limit: { readonly way: Way; bytes: number; readonly action: () => void } | undefined
    let accepted = 0

    const resetAll = () => [...open].forEach((connection) => connection.destroy())
    const endAll = () => [...open].forEach((connection) => connection.end())

    const onClient = (client: net.Socket) => {
      accepted++
      // Half-open, as the wire is: the end of one direction is passed on by itself.
      const server = net.connect({ host: to.hostname, port: Number(to.port), allowHalfOpen: true })
      client.setNoDelay(true)
      server.setNoDelay(true)
      const laneOf = (way: Way, from: net.Socket, into: net.Socket) =>
        new Lane(
          from,
          into,
          () => toxics[way],
          () => dark[way] || (connection.label !== undefined && darkLabels.has(connection.label))
        )
      const lanes = { up: laneOf("up", client, server), down: laneOf("down", server, client) }
      const connection: Connection = {
        lanes: [lanes.up, lanes.down],
        label: undefined,
        destroy: () => {
          open.delete(connection)
          for (const lane of connection.lanes) lane.stop()
          // A socket whose end is still pending would never close when reset, and keep Node alive.
          for (const socket of [client, server]) {
            if (socket.writableEnded) socket.destroy()
            else socket.resetAndDestroy()
          }
        },
        end: () => {
          client.end()
          server.end()
        }
      }
      open.add(connection)

      const forward = (way: Way, from: net.Socket, into: net.Socket) => {
        const lane = lanes[way]
        from.on("data", (chunk: Buffer) => {
          if (way === "up") {
            if (options.label !== undefined) {
              connection.label ??= options.label.exec(latin.decode(chunk))?.[1]
            }
            for (const trap of traps) {
              if (!chunk.includes(trap.bytes)) continue
              traps.delete(trap)
              if (!trap.spring()) return
            }
          }
          lane.write(chunk, () => {
            if (limit?.way !== way || (limit.bytes -= chunk.length) > 0) return
            const { action } = limit
            limit = undefined
            action()
          })
        })
        from.on("end", () => lane.close(() => into.end()))
        from.on("error", () => lane.close(connection.destroy))
        from.on("close", () =>
          lane.close(() => {
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

    const waysOf = (direction: Direction): ReadonlyArray<Way> => direction === "both" ? ["up", "down"] : [direction]
    return {
      endpoint,
      reset: Effect.sync(resetAll),
      refuse,
      accept,
      blackhole: (direction = "both") =>
        Effect.sync(() => {
          for (const way of waysOf(direction)) dark[way] = true
        }),
      blackholeOf: (label) =>
        Effect.sync(() => {
          darkLabels.add(label)
        }),
      poison: (added, direction = "both") =>
        Effect.sync(() => {
          for (const way of waysOf(direction)) toxics[way] = { ...toxics[way], ...added }
        }),
      heal: Effect.sync(() => {
        dark.up = dark.down = false
        darkLabels.clear()
        limit = undefined
        traps.clear()
        toxics.up = toxics.down = {}
        for (const { lanes } of open) {
          for (const lane of lanes) lane.hurry()
        }
      }),
      resetAfterBytes: (bytes, way = "down") =>
        Effect.sync(() => {
          limit = { way, bytes, action: resetAll }
        }),
      closeAfterBytes: (bytes, way = "down") =>
        Effect.sync(() => {
          limit = { way, bytes, action: endAll }
        }),
      trap: (bytes, mode) =>
        Effect.sync(() => {
          const gate = Promise.withResolvers<void>()
          traps.add({
            bytes: Buffer.from(bytes),
            spring: () => {
              if (mode === "lost") resetAll()
              else dark.down = true
              gate.resolve()
              return mode === "unanswered"
            }
          })
          return { sprung: Effect.promise(() => gate.promise) }
        }),
      retarget: (next) =>
        Effect.sync(() => {
          to = new URL(next)
        }),
      connections: Effect.sync(() => open.size),
      accepted: Effect.sync(() => accepted)
    }
  })

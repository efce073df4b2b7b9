/**
 * The RPCs of `orders` for tests, and their servers over HTTP and over TCP, on modules that all three runtimes have.
 *
 * @module
 */
import { Effect, FiberSet, Layer, Schema, type Scope, Stream } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { Socket, SocketServer } from "effect/socket"
import { createServer, type Server as HttpServerOfNode, type ServerResponse } from "node:http"
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server as TcpServer,
  type Socket as TcpSocket
} from "node:net"
import type { Duplex } from "node:stream"
import { DiscoveryRpc } from "../../src/rpc/mod.ts"
import { createWebSocketServer } from "./webSocketServer.ts"

export class NoSuchOrder extends Schema.TaggedError<NoSuchOrder>("NoSuchOrder")("NoSuchOrder", { id: Schema.String }) {}

export class Orders extends RpcGroup.make(
  Rpc.make("Get", { payload: { id: Schema.String }, success: Schema.String, error: NoSuchOrder })
    .annotate(DiscoveryRpc.Idempotent, true),
  Rpc.make("Pay", { payload: { id: Schema.String }, success: Schema.String }),
  Rpc.make("Ticks", { payload: { count: Schema.Int }, success: Schema.String, stream: true })
) {}

/** The handlers of a server. */
export interface Behaviour {
  readonly get?: (id: string) => Effect.Effect<string, NoSuchOrder>
  readonly pay?: (id: string) => Effect.Effect<string>
  readonly ticks?: (count: number) => Stream.Stream<string>
}

export interface OrdersServer {
  readonly endpoint: string
  /** The calls that have arrived, such as `Get 7`. */
  readonly calls: ReadonlyArray<string>
  /** Closes all connections and stops listening. */
  readonly kill: Effect.Effect<void>
}

const handlers = (id: string, { get, pay, ticks }: Behaviour, calls: Array<string>) =>
  Orders.toLayer({
    Get: (payload) =>
      Effect.suspend(() => {
        calls.push(`Get ${payload.id}`)
        return get === undefined ? Effect.succeed(id) : get(payload.id)
      }),
    Pay: (payload) =>
      Effect.suspend(() => {
        calls.push(`Pay ${payload.id}`)
        return pay === undefined ? Effect.succeed(id) : pay(payload.id)
      }),
    Ticks: ({ count }) =>
      Stream.suspend(() => {
        calls.push(`Ticks ${count}`)
        return ticks === undefined ? Stream.fromIterable(Array.from({ length: count }, () => id)) : ticks(count)
      })
  })

/** A server over HTTP, until the scope closes. */
export const serveHttp = (id: string, behaviour: Behaviour = {}): Effect.Effect<OrdersServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const calls: Array<string> = []
    const app = yield* Effect.acquireRelease(
      Effect.sync(() =>
        HttpRouter.toWebHandler(
          RpcServer.layerHttp({ group: Orders, path: "/rpc", protocol: "http" }).pipe(
            Layer.provide(handlers(id, behaviour, calls)),
            Layer.provide(RpcSerialization.layerNdjson),
            Layer.provide(HttpServer.layerServices)
          ),
          { disableLogger: true }
        )
      ),
      ({ dispose }) => Effect.promise(() => dispose())
    )
    const open = new Set<ServerResponse>()
    const server = createServer(async (request, response) => {
      open.add(response)
      response.on("close", () => open.delete(response))
      const controller = new AbortController()
      response.on("close", () => controller.abort())
      const chunks: Array<Uint8Array> = []
      for await (const chunk of request) chunks.push(chunk)
      try {
        const web = await app.handler(
          new Request(`http://orders${request.url}`, {
            method: "POST",
            headers: { "content-type": request.headers["content-type"] ?? "" },
            body: Buffer.concat(chunks),
            signal: controller.signal
          })
        )
        if (!response.headersSent) response.writeHead(web.status, Object.fromEntries(web.headers))
        for await (const chunk of web.body ?? []) response.write(chunk)
        response.end()
      } catch {
        response.destroy()
      }
    })
    // An idle connection stays: the end of one would meet a request on its way if the machine is busy.
    server.keepAliveTimeout = 0
    const close = Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
    // After the head of the response, because Deno's `fetch` repeats a request without any response.
    const kill = Effect.andThen(
      Effect.forEach(open, (response) =>
        Effect.callback<void>((resume) => {
          response.writeHead(200)
          response.write(" ", () => resume(Effect.void))
        })),
      close
    )
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () => close
    )
    const { port } = server.address() as AddressInfo
    return { endpoint: `http://127.0.0.1:${port}`, calls, kill }
  })

/** The streams of a TCP connection. */
const streamsOf = (socket: TcpSocket): Socket.InputTransformStream => ({
  readable: new ReadableStream<Uint8Array>({
    start: (controller) => {
      const end = () => {
        socket.removeAllListeners("data").removeAllListeners("end").removeAllListeners("close")
        controller.close()
      }
      socket.on("data", (chunk: Uint8Array) => controller.enqueue(chunk))
      socket.on("end", end)
      socket.on("close", end)
      socket.on("error", () => {})
    },
    cancel: () => void socket.removeAllListeners("data").removeAllListeners("end").removeAllListeners("close").destroy()
  }),
  writable: new WritableStream<Uint8Array>({
    write: (chunk) =>
      new Promise((resolve, reject) => socket.write(chunk, (error) => error ? reject(error) : resolve())),
    close: () => void socket.end(),
    abort: () => void socket.destroy()
  })
})

/** A TCP socket to an endpoint such as `tcp://127.0.0.1:9000`. */
export const openTcp = (endpoint: string): Effect.Effect<Socket.Socket> => {
  const { hostname, port } = new URL(endpoint)
  return Socket.fromTransformStream(
    Effect.acquireRelease(
      Effect.callback<TcpSocket, Socket.SocketError>((resume) => {
        const socket = connect(Number(port), hostname)
        socket.once("connect", () => resume(Effect.succeed(socket)))
        socket.once("error", (cause) =>
          resume(Effect.fail(
            new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })
          )))
        return Effect.sync(() => socket.destroy())
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ).pipe(Effect.map(streamsOf))
  )
}

interface Listener {
  readonly server: HttpServerOfNode | TcpServer
  readonly scheme: string
}

/** A server over the connections of a listener, until the scope closes. */
const serveStreams = (
  id: string,
  behaviour: Behaviour,
  listen: (onConnection: (connection: Duplex, streams: Socket.InputTransformStream) => void) => Listener
): Effect.Effect<OrdersServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const calls: Array<string> = []
    const connections = new Set<Duplex>()
    let onConnection: (connection: Duplex, streams: Socket.InputTransformStream) => void = () => {}
    const { scheme, server } = listen((connection, streams) => onConnection(connection, streams))
    const kill = Effect.sync(() => {
      server.close()
      connections.forEach((connection) => connection.destroy())
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () => kill
    )
    const { port } = server.address() as AddressInfo
    const socketServer = SocketServer.SocketServer.of({
      address: { _tag: "TcpAddress", hostname: "127.0.0.1", port } as never,
      run: <R, E, A>(handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>) =>
        Effect.scoped(Effect.gen(function* () {
          const run = yield* FiberSet.makeRuntime<R, void, never>()
          onConnection = (connection, streams) => {
            connections.add(connection)
            connection.on("error", () => {})
            const served = Effect.flatMap(Socket.fromTransformStream(Effect.succeed(streams)), handler)
            const end = Effect.sync(() => {
              connections.delete(connection)
              connection.destroy()
            })
            run(Effect.ignoreCause(Effect.ensuring(served, end)))
          }
          return yield* Effect.never
        }))
    })
    yield* Layer.build(
      RpcServer.layer(Orders).pipe(
        Layer.provide(handlers(id, behaviour, calls)),
        Layer.provide(RpcServer.layerProtocolSocketServer),
        Layer.provide(RpcSerialization.layerNdjson),
        Layer.provide(Layer.succeed(SocketServer.SocketServer, socketServer))
      )
    )
    return { endpoint: `${scheme}://127.0.0.1:${port}`, calls, kill }
  })

/** A server over TCP, until the scope closes. */
export const serveTcp = (id: string, behaviour: Behaviour = {}): Effect.Effect<OrdersServer, never, Scope.Scope> =>
  serveStreams(id, behaviour, (onConnection) => ({
    server: createTcpServer((socket) => onConnection(socket, streamsOf(socket))),
    scheme: "tcp"
  }))

/** A server over WebSockets at the path `/rpc`, until the scope closes. */
export const serveWebSocket = (
  id: string,
  behaviour: Behaviour = {}
): Effect.Effect<OrdersServer, never, Scope.Scope> =>
  serveStreams(
    id,
    behaviour,
    (onConnection) => ({ server: createWebSocketServer("/rpc", onConnection), scheme: "http" })
  )

/**
 * The parts of `NodeClusterSocket` of `@effect/platform-node`, which is no dependency of this package, on `node:net`.
 *
 * @module
 */
import { Effect, Layer, Option, Queue, type Scope } from "effect"
import { Runners, ShardingConfig } from "effect/cluster"
import { NetAddress } from "effect/net"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Socket, SocketServer } from "effect/socket"
import net from "node:net"
import { Duplex } from "node:stream"

const toSocket = (connection: Effect.Effect<net.Socket, Socket.SocketError, Scope.Scope>) =>
  Socket.fromTransformStream(Effect.map(connection, (socket) => {
    socket.on("error", () => {})
    return Duplex.toWeb(socket) as unknown as Socket.InputTransformStream
  }))

const close = (socket: net.Socket) => Effect.sync(() => socket.destroy())

const connect = (host: string, port: number) =>
  Effect.acquireRelease(
    Effect.callback<net.Socket, Socket.SocketError>((resume) => {
      const socket = net.connect({ host, port }, () => resume(Effect.succeed(socket)))
      socket.once("error", (cause) =>
        resume(Effect.fail(
          new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })
        )))
      return close(socket)
    }),
    close
  )

const layerSocketServer: Layer.Layer<SocketServer.SocketServer, never, ShardingConfig.ShardingConfig> = Layer.effect(
  SocketServer.SocketServer,
  Effect.gen(function* () {
    const { host, port } = Option.getOrThrow((yield* ShardingConfig.ShardingConfig).runnerAddress)
    const connections = yield* Queue.unbounded<net.Socket>()
    const server = net.createServer((socket) => Queue.offerUnsafe(connections, socket.on("error", () => {})))
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(port, host, () => resume(Effect.void))),
      () => Effect.sync(() => server.close())
    )
    return {
      address: NetAddress.inetAddressFromIpStringUnsafe(host, port),
      run: (handler) =>
        Effect.forever(
          Effect.flatMap(Queue.take(connections), (connection) =>
            toSocket(Effect.acquireRelease(Effect.succeed(connection), close)).pipe(
              Effect.flatMap(handler),
              Effect.ensuring(close(connection)),
              Effect.ignore,
              Effect.forkChild
            ))
        )
    }
  })
)

const layerClientProtocol: Layer.Layer<Runners.RpcClientProtocol, never, RpcSerialization.RpcSerialization> = Layer
  .effect(
    Runners.RpcClientProtocol,
    Effect.gen(function* () {
      const serialization = yield* RpcSerialization.RpcSerialization
      return {
        codecFor: serialization.codecFor,
        make: ({ host, port }) =>
          Effect.flatMap(toSocket(connect(host, port)), (socket) =>
            RpcClient.makeProtocolSocket().pipe(
              Effect.provideService(Socket.Socket, socket),
              Effect.provideService(RpcSerialization.RpcSerialization, serialization)
            ))
      }
    })
  )

/** The layers with the names of `@effect/platform-node`. */
export const NodeClusterSocket = { layerSocketServer, layerClientProtocol }

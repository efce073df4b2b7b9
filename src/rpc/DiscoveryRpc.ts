/**
 * Effect RPC by service name: a protocol for `RpcClient` that picks an instance for each request.
 *
 * It is built on `ServiceClient` and takes that module's options: strategies, time limits, retries and ejection.
 *
 * | a request ends with                                  | counts for the instance as | and is                         |
 * | ----------------------------------------------------- | -------------------------- | ------------------------------ |
 * | the exit of its handler: success or typed error      | success                    | the exit of the call           |
 * | a defect of a handler at the instance                | nothing                    | the same defect                |
 * | a failure of the transport before it was sent        | failure                    | retried                        |
 * | a failure of the transport, or `attemptTimeout`      | failure                    | retried if it is `Idempotent`  |
 * | a failure of the transport after part of a stream    | failure                    | an `RpcClientError`            |
 * | interruption                                          | nothing                    | interrupted at the instance    |
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Context, Deferred, Duration, Effect, Layer, Option, type Scope } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import {
  type Rpc,
  RpcClient,
  type RpcClientError,
  type RpcGroup,
  type RpcMessage,
  RpcSchema,
  RpcSerialization
} from "effect/rpc"
import { Socket } from "effect/socket"
import { isRefusedConnection } from "../balancing/client/status.ts"
import { ServiceClient } from "../balancing/mod.ts"
import { type Check, checkOptions, type InvalidOption } from "../internal/options.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import * as Service from "../registry/model/Service.ts"
import type * as Registry from "../registry/Registry.ts"
import { awaitFailure, defect, InstanceRpc, type TransportFailed } from "./InstanceRpc.ts"

/**
 * Annotates an RPC that may run twice: it is retried when its connection is lost.
 *
 * **Example**
 *
 * ```ts
 * import { DiscoveryRpc } from "@effect-etcd/discovery/rpc"
 * import { Schema } from "effect"
 * import { Rpc, RpcGroup } from "effect/rpc"
 *
 * class Orders extends RpcGroup.make(
 *   Rpc.make("Get", { payload: { id: Schema.String }, success: Schema.String }).annotate(DiscoveryRpc.Idempotent, true),
 *   Rpc.make("Pay", { payload: { id: Schema.String } })
 * ) {}
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category annotations
 */
export const Idempotent: Context.Reference<boolean> = Context.Reference(
  "@effect-etcd/discovery/rpc/Idempotent",
  { defaultValue: () => false }
)

/**
 * Options of both protocols: those of `ServiceClient.make` that no protocol sets itself.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options<S extends Service.ServiceLike = string> extends
  Omit<
    ServiceClient.Options<unknown, Service.MetadataOf<S>>,
    "service" | "connect" | "connectKey" | "retryable" | "isFailure"
  > {
  /** The RPCs to call. Their annotations and schemas decide which are {@link Idempotent} and which are streams. */
  readonly group: RpcGroup.Any
  /** Returns the key of a request for consistent hashing. */
  readonly hashKey?: (request: RpcMessage.RequestEncoded) => string | undefined
}

/**
 * Options of {@link layerProtocolHttp}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface HttpOptions<S extends Service.ServiceLike = string> extends Options<S> {
  /** The path of the RPC server, below the endpoint. Default: `"/rpc"`. */
  readonly path?: string
}

/**
 * Options of {@link layerProtocolSocket}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface SocketOptions<S extends Service.ServiceLike = string, R = never> extends Options<S> {
  /** The path of the RPC server, below the endpoint of a WebSocket. Default: `"/rpc"`. */
  readonly path?: string
  /**
   * Makes the socket of an instance. It must be able to open again. Default: a WebSocket to the first endpoint with the
   * scheme `ws`, `wss`, `http` or `https`.
   */
  readonly socket?: (instance: ServiceInstance<Service.MetadataOf<S>>) => Effect.Effect<Socket.Socket, unknown, R>
  /**
   * How often a ping is sent. An instance that sends nothing for that long is disconnected. At least 100
   * milliseconds. Default: 5 seconds.
   */
  readonly pingInterval?: Duration.Input
}

/** Connects to one instance. */
type Connect<M, R> = (
  instance: ServiceInstance<M>,
  serialization: RpcSerialization.RpcSerialization["Service"]
) => Effect.Effect<InstanceRpc, unknown, R | Scope.Scope>

/** Looks up the RPC of a request in the group. */
const kindsOf = (group: RpcGroup.Any) => {
  const { requests } = group as unknown as { readonly requests: ReadonlyMap<string, Rpc.AnyWithProps> }
  return (tag: string) => {
    const rpc = requests.get(tag)
    return {
      isIdempotent: rpc !== undefined && Context.get(rpc.annotations, Idempotent),
      isStream: rpc !== undefined && RpcSchema.isStreamSchema(rpc.successSchema)
    }
  }
}

type CallError = TransportFailed | ServiceClient.CallFailed<TransportFailed> | ServiceClient.NoInstanceAvailable

const toRpcClientError = (error: CallError | InvalidOption): RpcClientError.RpcClientError => {
  const last = error._tag === "CallFailed" ? error.last : error
  return last?._tag === "TransportFailed" ? last.error : defect(error.message, error)
}

const make = <S extends Service.ServiceLike, R>(
  service: S,
  { group, hashKey, ...options }: Options<S>,
  connect: Connect<Service.MetadataOf<S>, R>,
  supportsAck: boolean
) =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const kindOf = kindsOf(group)
    const client = yield* ServiceClient.make({
      ...options,
      service: Service.fromLike(service),
      connect: (instance) => connect(instance, serialization),
      connectKey: ({ endpoints }) => endpoints
    })
    /** The instances of the requests in flight, for acknowledgements. */
    const instances = new Map<string | number, InstanceRpc>()

    return yield* RpcClient.Protocol.make((write) => {
      const request = (clientId: number, message: RpcMessage.RequestEncoded) =>
        Effect.suspend(() => {
          const { isIdempotent, isStream } = kindOf(message.tag)
          const key = hashKey?.(message)
          let hasChunks = false
          const call: ServiceClient.CallOptions<TransportFailed> = {
            isFailure: () => true,
            retryable: (error) => !hasChunks && (isIdempotent || error._tag === "TransportFailed" && !error.isSent),
            // No time limit for streams, and no hedging: a second stream would deliver everything twice.
            ...(isStream ? { attemptTimeout: Duration.infinity, timeout: Duration.infinity } : {}),
            ...(isStream || !isIdempotent ? { hedge: false } : {}),
            ...(key === undefined ? {} : { key })
          }
          const ended = client.call((instance) => {
            instances.set(message.id, instance)
            return instance.request(message, (chunk) => {
              hasChunks = true
              return write(clientId, chunk)
            })
          }, call)
          return ended.pipe(
            Effect.mapError(toRpcClientError),
            // Send the exit last: on receiving it, the client interrupts what still runs.
            Effect.flatMap((exit) => write(clientId, exit)),
            Effect.ensuring(Effect.sync(() => instances.delete(message.id)))
          )
        })

      return Effect.succeed({
        send: (clientId, message) => {
          if (message._tag === "Request") return request(clientId, message)
          if (message._tag !== "Ack" && message._tag !== "Interrupt") return Effect.void
          return instances.get(message.requestId)?.forward(message) ?? Effect.void
        },
        supportsAck,
        supportsTransferables: false,
        codecFor: serialization.codecFor
      })
    })
  })

/** Checks the options that both protocols have. */
const checkCommon = (check: Check, path: string, { hashKey }: Pick<Options, "hashKey">): void => {
  check.text("path", path)
  if (hashKey !== undefined) check.callback("hashKey", hashKey)
}

/** Joins an endpoint and a path with exactly one slash. */
const below = (endpoint: string, path: string): string => endpoint.replace(/\/$/, "") + path

/**
 * The protocol of `RpcClient` over HTTP: each request goes to an instance of the service.
 *
 * **Details**
 *
 * Requests go below the first endpoint of an instance whose scheme is `http` or `https`. A response with a status other
 * than 2xx is a transport failure. If there is no instance, or if every attempt failed, the call fails with an
 * `RpcClientError`. It is the error of the last attempt, or else one whose reason has `NoInstanceAvailable` or
 * `CallFailed` as its cause.
 *
 * Fails with `InvalidOption` if an option breaks its rule.
 *
 * **Gotchas**
 *
 * Provide this layer to the program, not to `RpcClient.make` alone: the client would outlive it.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { DiscoveryRpc } from "@effect-etcd/discovery/rpc"
 * import { Effect, Layer, Schema } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { Rpc, RpcClient, RpcGroup, RpcSerialization } from "effect/rpc"
 *
 * class Orders extends RpcGroup.make(
 *   Rpc.make("Get", { payload: { id: Schema.String }, success: Schema.String }).annotate(DiscoveryRpc.Idempotent, true)
 * ) {}
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* RpcClient.make(Orders)
 *   return yield* orders.Get({ id: "7" })
 * })
 *
 * const main = program.pipe(
 *   Effect.scoped,
 *   Effect.provide(DiscoveryRpc.layerProtocolHttp("orders", { group: Orders, attemptTimeout: "2 seconds" }).pipe(
 *     Layer.provide([RpcSerialization.layerNdjson, FetchHttpClient.layer]),
 *     Layer.provide(Registry.layerEtcd({ endpoints: ["http://127.0.0.1:2379"] }))
 *   ))
 * )
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layerProtocolHttp = <S extends Service.ServiceLike = string>(
  service: S,
  { path = "/rpc", ...options }: HttpOptions<S>
): Layer.Layer<
  RpcClient.Protocol,
  InvalidOption,
  Registry.Registry | RpcSerialization.RpcSerialization | HttpClient.HttpClient
> =>
  Layer.effect(
    RpcClient.Protocol,
    Effect.gen(function* () {
      const of = "DiscoveryRpc.layerProtocolHttp"
      yield* Effect.fromResult(checkOptions(of, (check) => checkCommon(check, path, options)))
      const http = yield* HttpClient.HttpClient
      return yield* make(service, options, (instance, serialization) =>
        Effect.gen(function* () {
          const url = below(yield* ServiceClient.endpointOf(instance, "http", "https"), path)
          const client = http.pipe(HttpClient.mapRequest(HttpClientRequest.prependUrl(url)), HttpClient.filterStatusOk)
          const protocol = yield* RpcClient.makeProtocolHttp(client)
          return new InstanceRpc(protocol, ({ reason }) => isRefusedConnection(reason))
        }).pipe(Effect.provideService(RpcSerialization.RpcSerialization, serialization)), false)
    })
  )

const webSocketSchemes = { "http:": "ws:", "https:": "wss:" } as const

/** Opens a WebSocket with the constructor in the context, or else with that of the runtime. */
const openWebSocket = (instance: ServiceInstance<unknown>, path: string) =>
  Effect.gen(function* () {
    const endpoint = yield* ServiceClient.endpointOf(instance, "ws", "wss", "http", "https")
    const url = below(endpoint, path).replace(/^https?:/i, (scheme) =>
      webSocketSchemes[scheme.toLowerCase() as keyof typeof webSocketSchemes])
    const socket = Socket.makeWebSocket(url)
    return yield* Option.match(yield* Effect.serviceOption(Socket.WebSocketConstructor), {
      onNone: () =>
        Effect.provide(socket, Socket.layerWebSocketConstructorGlobal),
      onSome: (constructor) => Effect.provideService(socket, Socket.WebSocketConstructor, constructor)
    })
  })

/**
 * The protocol of `RpcClient` over one socket for each instance in use.
 *
 * **Details**
 *
 * A socket opens with the first request to its instance, and again after it was lost. It closes once the instance has
 * left and its requests have ended, or after `closeTimeout`. Requests in flight on a lost socket fail with the error of
 * the socket, unless they are {@link Idempotent}.
 *
 * A socket that cannot open counts as a failed `connect` of `ServiceClient`. Everything else is as in {@link
 * layerProtocolHttp}.
 *
 * @stability unstable
 * @since 0.1.0
 * @category layers
 */
export const layerProtocolSocket = <S extends Service.ServiceLike = string, R = never>(
  service: S,
  { path = "/rpc", pingInterval = "5 seconds", socket: makeSocket, ...options }: SocketOptions<S, R>
): Layer.Layer<
  RpcClient.Protocol,
  InvalidOption,
  Registry.Registry | RpcSerialization.RpcSerialization | Exclude<R, Scope.Scope>
> =>
  Layer.effect(
    RpcClient.Protocol,
    Effect.gen(function* () {
      const interval = yield* Effect.fromResult(checkOptions("DiscoveryRpc.layerProtocolSocket", (check) => {
        checkCommon(check, path, options)
        if (makeSocket !== undefined) check.callback("socket", makeSocket)
        return check.duration("pingInterval", pingInterval, { min: Duration.millis(100) })
      }))
      return yield* make(service, options, (instance, serialization) =>
        Effect.gen(function* () {
          const opened = yield* Deferred.make<void>()
          const socket = yield* makeSocket === undefined ? openWebSocket(instance, path) : makeSocket(instance)
          const protocol = yield* RpcClient.makeProtocolSocket({ pingInterval: interval }).pipe(
            Effect.provideService(Socket.Socket, socket),
            Effect.provideService(RpcSerialization.RpcSerialization, serialization),
            Effect.provideService(RpcClient.ConnectionHooks, {
              onConnect: Effect.asVoid(Deferred.succeed(opened, undefined)),
              onDisconnect: Effect.void
            })
          )
          yield* Effect.raceFirst(awaitFailure(protocol), Deferred.await(opened))
          // The protocol sends nothing while it has no connection.
          return new InstanceRpc(protocol, () => true)
        }), true)
    })
  )

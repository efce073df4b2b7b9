/**
 * A transport for the clients of ConnectRPC that picks an instance of a service for each call.
 *
 * It is built on `ServiceClient` and takes that module's options: strategies, retries and ejection.
 *
 * | the method                               | is retried after                                                     |
 * | ---------------------------------------- | -------------------------------------------------------------------- |
 * | unary, `idempotency_level` is set        | `UNAVAILABLE`, `RESOURCE_EXHAUSTED`, `ABORTED`, `DEADLINE_EXCEEDED`, |
 * |                                          | `INTERNAL`, `DATA_LOSS`, `attemptTimeout`                            |
 * | any other unary method                   | a refused connection or stream: the server has not run it            |
 * | streams, until the input is first read   | a refused connection                                                 |
 *
 * @stability unstable
 * @since 0.1.0
 * @module
 */
import { Cause, type Context, Duration, Effect, Exit, type Scope } from "effect"
import { isFailureStatus, isRefusedConnection, isRepeatableCode } from "../balancing/client/status.ts"
import { ServiceClient } from "../balancing/mod.ts"
import { checkOptions, type InvalidOption } from "../internal/options.ts"
import * as Service from "../registry/model/Service.ts"
import type { ServiceInstance } from "../registry/model/Instance.ts"
import type * as Registry from "../registry/Registry.ts"
import {
  type AnyTransport,
  connectError,
  type ConnectNode,
  isConnectError,
  type SessionManager
} from "./connectNode.ts"

export type { AnyTransport, ConnectNode, Send, SessionManager } from "./connectNode.ts"

/**
 * Options of {@link make}: those of `ServiceClient.make`, except the ones that it sets itself.
 *
 * @stability unstable
 * @since 0.1.0
 * @category options
 */
export interface Options<N extends ConnectNode = ConnectNode, S extends Service.ServiceLike = string> extends
  Omit<
    ServiceClient.Options<unknown, Service.MetadataOf<S>>,
    "service" | "connect" | "connectKey" | "retryable" | "isFailure"
  > {
  readonly service: S
  /** Default: `"grpc"`. All protocols use HTTP/2. */
  readonly protocol?: "grpc" | "grpc-web" | "connect"
  /**
   * Options of the transport of an instance, such as `interceptors`, `useBinaryFormat`, `pingIntervalMs`, or `nodeOptions`
   * for TLS. An interceptor runs once for each attempt. Default: none.
   */
  readonly transport?: Partial<Omit<Parameters<N["createGrpcTransport"]>[0], "baseUrl" | "sessionManager">>
}

interface Method {
  /** 1: no side effects; 2: idempotent. */
  readonly idempotency?: number
}

const factories = {
  grpc: "createGrpcTransport",
  "grpc-web": "createGrpcWebTransport",
  connect: "createConnectTransport"
} as const

/** The HTTP URL of an endpoint. */
const baseUrlOf = (instance: ServiceInstance<unknown>, isGrpc: boolean) =>
  Effect.map(
    isGrpc ?
      ServiceClient.endpointOf(instance, "grpc", "grpcs", "http", "https", "tcp") :
      ServiceClient.endpointOf(instance, "http", "https", "grpc", "grpcs", "tcp"),
    (endpoint) => endpoint.replace(/^(?:grpc|tcp):/i, "http:").replace(/^grpcs:/i, "https:").replace(/\/$/, "")
  )

/** Connects to an instance and makes its transport. */
const connectTo = (
  connectNode: ConnectNode,
  protocol: keyof typeof factories,
  options: object,
  baseUrl: string
): Effect.Effect<AnyTransport, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { nodeOptions, ...rest } = options as { readonly nodeOptions?: unknown }
    const sessionManager: SessionManager = yield* Effect.acquireRelease(
      Effect.sync(() => new connectNode.Http2SessionManager(baseUrl, rest as never, nodeOptions as never)),
      (manager) => Effect.sync(() => manager.abort())
    )
    const state = yield* Effect.promise(() => sessionManager.connect())
    if (state === "error") return yield* Effect.fail(sessionManager.error())
    return connectNode[factories[protocol]]({ ...options, httpVersion: "2", baseUrl, sessionManager } as never)
  })

/** Runs a call of a transport. Interruption aborts the call's signal, which also ends the messages of a stream. */
const attempt = (send: (signal: AbortSignal) => Promise<unknown>): Effect.Effect<unknown, unknown> =>
  Effect.suspend(() => {
    const controller = new AbortController()
    return Effect.tryPromise({ try: () => send(controller.signal), catch: (error) => error }).pipe(
      Effect.onInterrupt(() => Effect.sync(() => controller.abort()))
    )
  })

/** Whether the server refused the call before running it: it refused the connection, or is closing it. */
const isRefused = (error: unknown): boolean =>
  isRefusedConnection(error) || isConnectError(error) && error.message.includes("REFUSED_STREAM")

/** The error of ConnectRPC for the end of a call. */
const errorOf = (cause: Cause.Cause<unknown>, signal: AbortSignal | undefined): unknown => {
  if (Cause.hasInterruptsOnly(cause)) {
    const reason: unknown = signal?.reason
    if (isConnectError(reason)) return reason
    return connectError("canceled", reason instanceof Error ? reason.message : "the call was aborted", reason)
  }
  const error = Cause.squash(cause)
  const last = error instanceof ServiceClient.CallFailed ? error.last : error
  if (isConnectError(last)) return last
  const message = error instanceof Error ? error.message : String(error)
  if (last instanceof ServiceClient.TimedOut) return connectError("deadlineExceeded", message, error)
  const isAbsent = last instanceof ServiceClient.ConnectFailed || last instanceof ServiceClient.NoInstanceAvailable
  return connectError(isAbsent ? "unavailable" : "internal", message, error)
}

/** The same messages. Calls `onEnd` when the source ends or fails, or when the reader stops. */
const watched = (
  source: AsyncIterable<unknown>,
  onStart: () => void,
  onEnd: (exit: Exit.Exit<void, unknown>) => void
): AsyncIterable<unknown> => ({
  [Symbol.asyncIterator]: () => {
    onStart()
    const messages = source[Symbol.asyncIterator]()
    const step = async (run: () => Promise<IteratorResult<unknown>>) => {
      try {
        const result = await run()
        if (result.done === true) onEnd(Exit.void)
        return result
      } catch (error) {
        onEnd(Exit.fail(error))
        throw error
      }
    }
    const left = { done: true, value: undefined } as const
    return {
      next: () => step(() => messages.next()),
      return: () => step(() => messages.return?.() ?? Promise.resolve(left)),
      throw: (error: unknown) => step(() => messages.throw?.(error) ?? Promise.reject(error))
    }
  }
})

const unlimited = { timeout: Duration.infinity, attemptTimeout: Duration.infinity, hedge: false } as const

/** A transport over the transports of instances. */
class Balanced {
  readonly #client: ServiceClient.ServiceClient<AnyTransport, unknown>
  readonly #run: <A, E>(effect: Effect.Effect<A, E>, signal: AbortSignal | undefined) => Promise<Exit.Exit<A, E>>

  constructor(client: ServiceClient.ServiceClient<AnyTransport, unknown>, context: Context.Context<never>) {
    this.#client = client
    this.#run = (effect, signal) => Effect.runPromiseExitWith(context)(effect, signal === undefined ? {} : { signal })
  }

  readonly unary = async (
    method: Method,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: unknown,
    input: unknown,
    contextValues: unknown
  ): Promise<unknown> => {
    const isIdempotent = method.idempotency === 1 || method.idempotency === 2
    // 0 means no limit, as in the transports of ConnectRPC.
    const limit = timeoutMs !== undefined && timeoutMs > 0 ? timeoutMs : undefined
    const startedAt = performance.now()
    const left = () => limit === undefined ? timeoutMs : Math.max(1, Math.ceil(startedAt + limit - performance.now()))
    const call = this.#client.call(
      (transport) =>
        attempt((signal) =>
          transport.unary(method as never, signal, left(), header as never, input as never, contextValues as never)
        ),
      {
        isFailure: (error: unknown) => isFailureStatus(error) ?? true,
        retryable: (error: unknown) =>
          isRefused(error) || isIdempotent && (isRepeatableCode(error) ?? error instanceof ServiceClient.TimedOut),
        ...(isIdempotent ? {} : { hedge: false }),
        ...(limit === undefined ? {} : { timeout: limit })
      }
    )
    const exit = await this.#run(call, signal)
    if (Exit.isSuccess(exit)) return exit.value
    throw errorOf(exit.cause, signal)
  }

  readonly stream = (
    method: Method,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: unknown,
    input: AsyncIterable<unknown>,
    contextValues: unknown
  ): Promise<unknown> =>
    new Promise((resolve, reject) => {
      let isRead = false
      const sent = watched(input, () => isRead = true, () => {})
      const call = this.#client.call((transport) =>
        Effect.flatMap(
          attempt((signal) =>
            transport.stream(
              method as never,
              signal,
              timeoutMs,
              header as never,
              sent as never,
              contextValues as never
            )
          ),
          (response) =>
            // The call is in flight until the messages end.
            Effect.callback<void, unknown>((resume) => {
              const { message } = response as { readonly message: AsyncIterable<unknown> }
              resolve({ ...response as object, message: watched(message, () => {}, resume) })
            })
        ), {
        ...unlimited,
        isFailure: (error: unknown) => isFailureStatus(error) ?? true,
        retryable: (error: unknown) => !isRead && isRefused(error)
      })
      void this.#run(call, signal).then((exit) => {
        // No effect if the response was already passed on: then its messages carry the error.
        if (Exit.isFailure(exit)) reject(errorOf(exit.cause, signal))
      })
    })
}

/**
 * Makes a transport that picks an instance of the service for each call, until the scope closes.
 *
 * **Details**
 *
 * Each instance in use has one HTTP/2 connection. Calls go to the first endpoint with the scheme `grpc`, `grpcs`, `http`,
 * `https` or `tcp` (for `"connect"` and `"grpc-web"`: `http` and `https` first). A stream stays with its instance and is
 * in flight until its messages end.
 *
 * A call fails with the `ConnectError` of its last attempt. Without an instance the code is `unavailable`, after a time
 * limit `deadline_exceeded`, after an abort `canceled`. `timeoutMs` limits all attempts of a call together.
 *
 * Fails with `InvalidOption` if an option breaks its rule.
 *
 * **Example**
 *
 * ```ts
 * import { Registry } from "@effect-etcd/discovery"
 * import { ConnectTransport } from "@effect-etcd/discovery/grpc"
 * import * as connectNode from "@connectrpc/connect-node"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const transport = yield* ConnectTransport.make(connectNode, { service: "orders" })
 *   // createClient(Orders, transport), with Orders from the generated orders_pb.ts
 *   return transport
 * })
 *
 * const registry = Registry.layerFixed([{ name: "orders", endpoints: ["grpc://10.0.0.5:50051"] }])
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(registry)))
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 * @category constructors
 */
export const make = <N extends ConnectNode, S extends Service.ServiceLike = string>(
  connectNode: N,
  { protocol = "grpc", service, transport = {}, ...options }: Options<N, S>
): Effect.Effect<ReturnType<N["createGrpcTransport"]>, InvalidOption, Registry.Registry | Scope.Scope> =>
  Effect.gen(function* () {
    yield* Effect.fromResult(checkOptions("ConnectTransport.make", (check) => {
      check.oneOf("protocol", protocol, ["grpc", "grpc-web", "connect"])
      if (typeof connectNode?.Http2SessionManager === "function") return
      check.refuse("connectNode", typeof connectNode, "it must be the module: import * as connectNode from it")
    }))
    const client = yield* ServiceClient.make({
      ...options,
      service: Service.fromLike(service),
      connect: (instance) =>
        Effect.flatMap(
          baseUrlOf(instance, protocol === "grpc"),
          (baseUrl) => connectTo(connectNode, protocol, transport, baseUrl)
        ),
      connectKey: ({ endpoints }) => endpoints
    })
    const balanced = new Balanced(client, yield* Effect.context<never>())
    // It has the members of the transports that the module makes.
    return balanced as unknown as ReturnType<N["createGrpcTransport"]>
  })

/**
 * One gRPC connection to one endpoint, and the calls on it.
 *
 * Messages are bytes in both directions: grpc-js encodes and decodes nothing.
 *
 * @module
 */
import type * as GrpcJs from "@grpc/grpc-js"
import { Effect, Result } from "effect"
import { isIPv6 } from "node:net"
import { dial, type DialFailure } from "./dial.ts"
import { GrpcStatus, messageOf, Violation } from "./failures.ts"
import type { Method } from "./methods.ts"
import { type CallListener, RawCall } from "./RawCall.ts"
import type { Address, Settings } from "./settings.ts"
import * as Sockets from "./sockets.ts"
import type { Security } from "./sockets.ts"

/** The module `@grpc/grpc-js`, which is loaded at run time. */
export type Grpc = typeof GrpcJs

/** Headers of a call. */
export type Headers = Readonly<Record<string, string>>

/** A call that has begun. */
export type Call = Pick<RawCall, "cancel">

/** A call with a stream of messages in both directions. */
export type Duplex = Pick<RawCall, "cancel" | "send">

/** `connectivityState` of grpc-js. */
const ready = 2
const transientFailure = 3

/** `status` of grpc-js. */
const ok = 0

/** The status that `grpc.Client` reports in this case. */
const noMessage = Result.fail(new GrpcStatus(12, "No message received"))

const connectionClosed = new GrpcStatus(14, "the connection was closed")

/** The options of a channel that has one address, never retries and shares nothing with other channels. */
const channelOptions = (
  { url }: Address,
  { keepAliveTimeMillis, maxReceiveBytes }: Settings
): GrpcJs.ChannelOptions => ({
  "grpc.default_authority": new URL(url).host,
  "grpc.keepalive_time_ms": keepAliveTimeMillis,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.max_receive_message_length": maxReceiveBytes,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0
})

/** What a channel is made from. */
export interface ChannelConfig {
  readonly grpc: Grpc
  readonly address: Address
  readonly security: Security | undefined
  readonly settings: Settings
}

const open = ({ address, grpc, security, settings }: ChannelConfig, ip: string): Channel => {
  const target = isIPv6(ip) ? `ipv6:[${ip}]:${address.port}` : `ipv4:${ip}:${address.port}`
  const sockets = Sockets.make(grpc, security)
  return new Channel(grpc, new grpc.Channel(target, sockets.credentials, channelOptions(address, settings)), sockets)
}

/** Connects to an endpoint. A failed or interrupted attempt leaves nothing open. */
export const connect = (config: ChannelConfig): Effect.Effect<Channel, DialFailure> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const ip = yield* restore(dial(config.address, config.security))
      const channel = yield* Effect.try({
        try: () => open(config, ip),
        catch: (error) => ({ detail: messageOf(error), isConnected: true })
      })
      yield* Effect.onError(restore(channel.whenReady), () => Effect.sync(() => channel.abort()))
      return channel
    })
  )

/** See the module's description. */
export class Channel {
  readonly #channel: GrpcJs.Channel
  readonly #noHeaders: GrpcJs.Metadata
  readonly #sockets: Sockets.Sockets
  #calls = 0
  #isRetired = false

  constructor({ Metadata }: Grpc, channel: GrpcJs.Channel, sockets: Sockets.Sockets) {
    this.#channel = channel
    this.#noHeaders = new Metadata()
    this.#sockets = sockets
  }

  /** Connects. Completes when calls can begin. */
  readonly whenReady: Effect.Effect<void, DialFailure> = Effect.callback((resume) => {
    const onState = () => {
      const state = this.#channel.getConnectivityState(true)
      if (state === ready) return resume(Effect.void)
      if (state < transientFailure) return this.#channel.watchConnectivityState(state, Infinity, onState)
      const detail = this.#sockets.failure() ?? "the connection was closed before HTTP/2 began"
      resume(Effect.fail({ detail, isConnected: true }))
    }
    onState()
  })

  /** Whether calls can begin. */
  get isReady(): boolean {
    return !this.#isRetired && this.#channel.getConnectivityState(false) === ready
  }

  /** Sends one request. Calls back once, with the response or with the reason of the failure; `timeout` in milliseconds. */
  unary<Response>(
    method: Method<Response>,
    request: Uint8Array,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Response, GrpcStatus>) => void
  ): Call {
    if (method.goesLast !== true) return this.#unary(method, request, headers, timeout, callback)
    let call: Call | undefined
    let isCancelled = false
    queueMicrotask(() => {
      if (!isCancelled) call = this.#unary(method, request, headers, timeout, callback)
    })
    return {
      cancel: () => {
        isCancelled = true
        call?.cancel()
      }
    }
  }

  #unary<Response>(
    { decode, path }: Method<Response>,
    request: Uint8Array,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Response, GrpcStatus>) => void
  ): Call {
    let response: Uint8Array | undefined
    const call = this.#begin(path, headers, Date.now() + timeout, {
      onMessage: (bytes) => {
        response = bytes
      },
      onEnd: (status) => {
        if (status.code !== ok) return callback(Result.fail(status))
        callback(response === undefined ? noMessage : decoded(decode, response))
      }
    })
    call.sendOnly(request)
    return call
  }

  /** Opens a stream in both directions. */
  duplex<Response>(
    { decode, path }: Method<Response>,
    headers: Headers,
    { onEnd, onMessage }: CallListener<Response>
  ): Duplex {
    const call: RawCall = this.#begin(path, headers, Infinity, {
      onMessage: (bytes) => {
        const message = decoded(decode, bytes)
        if (Result.isFailure(message)) {
          call.cancel()
          return onEnd(message.failure)
        }
        onMessage(message.success)
        call.read()
      },
      onEnd
    })
    return call
  }

  /** Sends one request and reads a stream of responses, at the reader's pace. An iteration throws a {@link GrpcStatus}. */
  serverStream<Response>(
    { decode, path }: Method<Response>,
    request: Uint8Array,
    headers: Headers
  ): AsyncIterable<Response> {
    const begin = (listener: CallListener<Uint8Array>) => this.#begin(path, headers, Infinity, listener)
    const read = async function* () {
      const received: Array<Result.Result<Uint8Array, GrpcStatus>> = []
      let notify = () => {}
      const receive = (one: Result.Result<Uint8Array, GrpcStatus>) => {
        received.push(one)
        notify()
      }
      const call = begin({
        onMessage: (bytes) => receive(Result.succeed(bytes)),
        onEnd: (status) => receive(Result.fail(status))
      })
      call.sendOnly(request)
      try {
        while (true) {
          const one = received.shift()
          if (one === undefined) {
            await new Promise<void>((resolve) => {
              notify = resolve
            })
          } else if (Result.isSuccess(one)) {
            yield Result.getOrThrow(decoded(decode, one.success))
            call.read()
          } else if (one.failure.code === ok) return
          else throw one.failure
        }
      } finally {
        call.cancel()
      }
    }
    return { [Symbol.asyncIterator]: read }
  }

  /** Lets no further call begin, and closes the connection once the last one has ended. */
  retire(): void {
    this.#isRetired = true
    if (this.#calls === 0) this.#channel.close()
  }

  /** Closes the connection and lets grpc-js end the calls on it. */
  close(): void {
    this.#isRetired = true
    this.#channel.close()
  }

  /** Closes the connection at once. */
  abort(): void {
    this.close()
    this.#sockets.destroy()
  }

  #begin(path: string, headers: Headers, deadline: number, listener: CallListener<Uint8Array>): RawCall {
    this.#calls += 1
    const begin = (own: RawCall) => {
      if (!this.isReady) throw connectionClosed
      const metadata = this.#metadata(headers)
      const call = this.#channel.createCall(path, deadline, undefined, null, undefined)
      call.start(metadata, own)
      call.startRead()
      return call
    }
    return new RawCall(listener, begin, this.#callEnded)
  }

  readonly #callEnded = (): void => {
    this.#calls -= 1
    if (this.#isRetired && this.#calls === 0) this.#channel.close()
  }

  #metadata(headers: Headers): GrpcJs.Metadata {
    const entries = Object.entries(headers)
    // grpc-js copies the metadata of a call.
    if (entries.length === 0) return this.#noHeaders
    const metadata = this.#noHeaders.clone()
    for (const [name, value] of entries) metadata.set(name, value)
    return metadata
  }
}

/** An unreadable message may come from a proxy or a broken connection: another attempt may succeed. */
const decoded = <Response>(
  decode: Method<Response>["decode"],
  bytes: Uint8Array
): Result.Result<Response, GrpcStatus> =>
  Result.try({
    try: () => decode(bytes),
    catch: (error) =>
      error instanceof Violation ? error : new GrpcStatus(14, `unreadable response: ${messageOf(error)}`)
  })

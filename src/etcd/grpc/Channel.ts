/**
 * One gRPC connection to one endpoint, and the calls on it.
 *
 * Messages are bytes in both directions: grpc-js encodes and decodes nothing.
 *
 * @module
 */
import type * as GrpcJs from "@grpc/grpc-js"
import { Effect, Result } from "effect"
import { Buffer } from "node:buffer"
import { isIPv6 } from "node:net"
import { withoutStack } from "../../internal/withoutStack.ts"
import { dial, type DialFailure } from "./dial.ts"
import { GrpcStatus, messageOf, Violation } from "./failures.ts"
import type { Method } from "./methods.ts"
import type { Address, Settings } from "./settings.ts"
import * as Sockets from "./sockets.ts"
import type { Security } from "./sockets.ts"

/** The module `@grpc/grpc-js`, which is loaded at run time. */
export type Grpc = typeof GrpcJs

/** Headers of a call. */
export type Headers = Readonly<Record<string, string>>

/** A call that has begun. */
export interface Call {
  /** Ends the call here and on the server. After that, no callback runs. */
  readonly cancel: () => void
}

/** A call with a stream of messages in both directions. */
export interface Duplex extends Call {
  readonly write: (message: Uint8Array) => void
}

/** The callbacks of a {@link Duplex}. */
export interface DuplexListener<Response> {
  readonly onMessage: (message: Response) => void
  /** Runs once. No message follows. */
  readonly onEnd: (status: GrpcStatus) => void
}

/** `connectivityState` of grpc-js. */
const ready = 2
const transientFailure = 3

const ok = new GrpcStatus(0, "")

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
  return new Channel(grpc, new grpc.Client(target, sockets.credentials, channelOptions(address, settings)), sockets)
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
  readonly #client: GrpcJs.Client
  readonly #noHeaders: GrpcJs.Metadata
  readonly #sockets: Sockets.Sockets
  #calls = 0
  #isRetired = false

  constructor({ Metadata }: Grpc, client: GrpcJs.Client, sockets: Sockets.Sockets) {
    this.#client = client
    this.#noHeaders = new Metadata()
    this.#sockets = sockets
  }

  /** Connects. Completes when calls can begin. */
  readonly whenReady: Effect.Effect<void, DialFailure> = Effect.callback((resume) => {
    const channel = this.#client.getChannel()
    const onState = () => {
      const state = channel.getConnectivityState(true)
      if (state === ready) return resume(Effect.void)
      if (state < transientFailure) return channel.watchConnectivityState(state, Infinity, onState)
      const detail = this.#sockets.failure() ?? "the connection was closed before HTTP/2 began"
      resume(Effect.fail({ detail, isConnected: true }))
    }
    onState()
  })

  /** Whether calls can begin. */
  get isReady(): boolean {
    return !this.#isRetired && this.#client.getChannel().getConnectivityState(false) === ready
  }

  /** Sends one request. Calls back once, with the response or with the reason of the failure; `timeout` in milliseconds. */
  unary<Response>(
    { decode, path }: Method<Response>,
    request: Uint8Array,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Response, GrpcStatus>) => void
  ): Call {
    let isOpen = true
    const finish = () => {
      isOpen = false
      this.#callEnded()
    }
    const end = (outcome: Result.Result<Response, GrpcStatus>) => {
      if (!isOpen) return
      finish()
      callback(outcome)
    }
    const begin = () => {
      if (!this.isReady) throw connectionClosed
      const options = { deadline: Date.now() + timeout }
      return this.#client.makeUnaryRequest(
        path,
        toBuffer,
        identity,
        request,
        this.#metadata(headers),
        options,
        (error, response) => end(error === null ? decoded(decode, response) : Result.fail(GrpcStatus.of(error)))
      )
    }
    // grpc-js captures a stack for each call, in case the call fails. Nothing reads that stack.
    this.#calls += 1
    const call = Result.try(() => withoutStack(begin))
    if (Result.isFailure(call)) queueMicrotask(() => end(Result.fail(GrpcStatus.of(call.failure))))
    return {
      cancel: () => {
        if (!isOpen) return
        if (Result.isSuccess(call)) call.success.cancel()
        finish()
      }
    }
  }

  /** Opens a stream in both directions. */
  duplex<Response>(
    { decode, path }: Method<Response>,
    headers: Headers,
    { onEnd, onMessage }: DuplexListener<Response>
  ): Duplex {
    let isOpen = true
    const finish = () => {
      isOpen = false
      this.#callEnded()
    }
    const end = (status: GrpcStatus) => {
      if (!isOpen) return
      finish()
      onEnd(status)
    }
    const begin = () => {
      if (!this.isReady) throw connectionClosed
      const stream = this.#client.makeBidiStreamRequest(path, toBuffer, identity, this.#metadata(headers))
      stream.on("data", (bytes: Uint8Array) => {
        if (!isOpen) return
        const message = decoded(decode, bytes)
        if (Result.isSuccess(message)) return onMessage(message.success)
        stream.cancel()
        end(message.failure)
      })
      stream.on("end", () => end(ok))
      // The listener stays: a cancelled stream emits one more error, which would be uncaught otherwise.
      stream.on("error", (error) => end(GrpcStatus.of(error)))
      return stream
    }
    this.#calls += 1
    const stream = Result.try(begin)
    if (Result.isFailure(stream)) queueMicrotask(() => end(GrpcStatus.of(stream.failure)))
    return {
      write: (message) => {
        if (isOpen && Result.isSuccess(stream)) stream.success.write(message)
      },
      cancel: () => {
        if (!isOpen) return
        if (Result.isSuccess(stream)) stream.success.cancel()
        finish()
      }
    }
  }

  /** Sends one request and reads a stream of responses, at the reader's pace. An iteration throws a {@link GrpcStatus}. */
  serverStream<Response>(
    { decode, path }: Method<Response>,
    request: Uint8Array,
    headers: Headers
  ): AsyncIterable<Response> {
    const begin = () => {
      if (!this.isReady) throw connectionClosed
      return this.#client.makeServerStreamRequest(path, toBuffer, identity, request, this.#metadata(headers))
    }
    const read = async function* () {
      const stream = begin()
      // The listener stays: a cancelled stream emits one more error, which would be uncaught otherwise.
      stream.on("error", () => {})
      try {
        for await (const bytes of stream) yield Result.getOrThrow(decoded(decode, bytes))
      } catch (error) {
        throw GrpcStatus.of(error)
      } finally {
        stream.cancel()
      }
    }
    return { [Symbol.asyncIterator]: read }
  }

  /** Lets no further call begin, and closes the connection once the last one has ended. */
  retire(): void {
    this.#isRetired = true
    if (this.#calls === 0) this.#client.close()
  }

  /** Closes the connection and lets grpc-js end the calls on it. */
  close(): void {
    this.#isRetired = true
    this.#client.close()
  }

  /** Closes the connection at once. */
  abort(): void {
    this.close()
    this.#sockets.destroy()
  }

  #callEnded(): void {
    this.#calls -= 1
    if (this.#isRetired && this.#calls === 0) this.#client.close()
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

const identity = (bytes: Uint8Array): Uint8Array => bytes

/** The same bytes as a view: grpc-js needs a `Buffer`. */
const toBuffer = ({ buffer, byteLength, byteOffset }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength)

/** An unreadable message may come from a proxy or a broken connection: another attempt may succeed. */
const decoded = <Response>(
  decode: Method<Response>["decode"],
  bytes: Uint8Array | undefined
): Result.Result<Response, GrpcStatus> =>
  Result.try({
    try: () => decode(bytes ?? new Uint8Array()),
    catch: (error) =>
      error instanceof Violation ? error : new GrpcStatus(14, `unreadable response: ${messageOf(error)}`)
  })

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
import { checkServerIdentity } from "node:tls"
import { withoutStack } from "../../internal/withoutStack.ts"
import { dial } from "./dial.ts"
import { GrpcStatus, messageOf } from "./failures.ts"
import type { Method } from "./methods.ts"
import type { Address, Identity, Settings } from "./settings.ts"

/** The module `@grpc/grpc-js`, which is loaded at run time. */
export type Grpc = typeof GrpcJs

/** Headers of a call. */
export type Headers = Readonly<Record<string, string>>

/** A call that has begun. */
export interface Call {
  /** Ends the call here and on the server. Its callbacks do not run any more. */
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
const shutdown = 4

const ok = new GrpcStatus(0, "")

const connectionClosed = new GrpcStatus(14, "the connection was closed")

/** The options of a channel that has one endpoint, never retries and shares nothing with other channels. */
const channelOptions = ({ keepAliveTime, maxReceiveBytes }: Settings): GrpcJs.ChannelOptions => ({
  "grpc.keepalive_time_ms": keepAliveTime,
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

/**
 * Credentials that check the certificate against the expected subject.
 *
 * grpc-js sends the host of the target as the server name, and Deno and Bun refuse an IP address there. So the server
 * name is overridden, and the certificate is compared with the subject here.
 */
const secured = ({ credentials }: Grpc, { ca, cert, key, serverName, subject }: Identity) => {
  const pem = (text: string | undefined) => text === undefined ? null : Buffer.from(text)
  return {
    credentials: credentials.createSsl(pem(ca), pem(key), pem(cert), {
      checkServerIdentity: (_name, certificate) => checkServerIdentity(subject, certificate)
    }),
    options: { "grpc.ssl_target_name_override": serverName }
  }
}

/** A client for one IP address of an endpoint. */
const open = (grpc: Grpc, ip: string, { port, tls, url }: Address, settings: Settings): Channel => {
  const target = isIPv6(ip) ? `ipv6:[${ip}]:${port}` : `ipv4:${ip}:${port}`
  const { credentials, options } = tls === undefined ?
    { credentials: grpc.credentials.createInsecure(), options: {} } :
    secured(grpc, tls)
  const client = new grpc.Client(target, credentials, {
    ...channelOptions(settings),
    ...options,
    "grpc.default_authority": new URL(url).host
  })
  return new Channel(grpc, client)
}

/** Connects to an endpoint. Fails with the reason as text; a failed or interrupted attempt leaves nothing open. */
export const connect = (grpc: Grpc, address: Address, settings: Settings): Effect.Effect<Channel, string> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const ip = yield* restore(dial(address))
      const channel = yield* Effect.try({ try: () => open(grpc, ip, address, settings), catch: messageOf })
      yield* Effect.onError(restore(channel.whenReady), () => Effect.sync(() => channel.close()))
      return channel
    })
  )

/** See the module's description. */
export class Channel {
  readonly #client: GrpcJs.Client
  readonly #noHeaders: GrpcJs.Metadata

  constructor({ Metadata }: Grpc, client: GrpcJs.Client) {
    this.#client = client
    this.#noHeaders = new Metadata()
  }

  /** Connects. Completes when calls can begin. */
  readonly whenReady: Effect.Effect<void> = Effect.callback((resume) => {
    const channel = this.#client.getChannel()
    const onState = () => {
      const state = channel.getConnectivityState(true)
      if (state === ready) resume(Effect.void)
      else if (state !== shutdown) channel.watchConnectivityState(state, Infinity, onState)
    }
    onState()
  })

  /** Whether calls can begin. */
  get isReady(): boolean {
    return this.#client.getChannel().getConnectivityState(false) === ready
  }

  /** Sends one request. Calls back once, with the response or with the reason of the failure; `timeout` in milliseconds. */
  unary<Response>(
    { decode, path }: Method<Response>,
    request: Uint8Array,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Response, GrpcStatus>) => void
  ): Call {
    let open = true
    const end = (outcome: Result.Result<Response, GrpcStatus>) => {
      if (!open) return
      open = false
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
        (error, response) => end(error === null ? decoded(decode, response) : Result.fail(statusOf(error)))
      )
    }
    // grpc-js captures a stack for each call, in case the call fails. Nothing reads it.
    const call = Result.try(() => withoutStack(begin))
    if (Result.isFailure(call)) queueMicrotask(() => end(Result.fail(statusOf(call.failure))))
    return {
      cancel: () => {
        open = false
        if (Result.isSuccess(call)) call.success.cancel()
      }
    }
  }

  /** Opens a stream in both directions. */
  duplex<Response>(
    { decode, path }: Method<Response>,
    headers: Headers,
    { onEnd, onMessage }: DuplexListener<Response>
  ): Duplex {
    let open = true
    const end = (status: GrpcStatus) => {
      if (!open) return
      open = false
      onEnd(status)
    }
    const begin = () => {
      if (!this.isReady) throw connectionClosed
      const stream = this.#client.makeBidiStreamRequest(path, toBuffer, identity, this.#metadata(headers))
      stream.on("data", (bytes: Uint8Array) => {
        if (!open) return
        const message = decoded(decode, bytes)
        if (Result.isSuccess(message)) return onMessage(message.success)
        stream.cancel()
        end(message.failure)
      })
      stream.on("end", () => end(ok))
      // The listener stays: a cancelled stream emits one more error, which would be uncaught otherwise.
      stream.on("error", (error) => end(statusOf(error)))
      return stream
    }
    const stream = Result.try(begin)
    if (Result.isFailure(stream)) queueMicrotask(() => end(statusOf(stream.failure)))
    return {
      write: (message) => {
        if (open && Result.isSuccess(stream)) stream.success.write(message)
      },
      cancel: () => {
        open = false
        if (Result.isSuccess(stream)) stream.success.cancel()
      }
    }
  }

  /** Closes the connection once the calls on it have ended. No further call can begin. */
  close(): void {
    this.#client.close()
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

/** What is not this message may come from a proxy or from a broken connection: another attempt may succeed. */
const decoded = <Response>(
  decode: Method<Response>["decode"],
  bytes: Uint8Array | undefined
): Result.Result<Response, GrpcStatus> =>
  Result.try({
    try: () => decode(bytes ?? new Uint8Array()),
    catch: (error) => new GrpcStatus(14, `unreadable response: ${messageOf(error)}`)
  })

/** The status of a call that failed with an error of grpc-js, or with whatever was thrown at its start. */
const statusOf = (error: unknown): GrpcStatus => {
  if (error instanceof GrpcStatus) return error
  const { code, details } = Object(error) as { readonly code?: unknown; readonly details?: unknown }
  return new GrpcStatus(
    typeof code === "number" ? code : 14,
    typeof details === "string" && details !== "" ? details : messageOf(error)
  )
}

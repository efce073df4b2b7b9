/**
 * One connection to an endpoint, and the calls on it: gRPC as its protocol over HTTP/2 has it (grpc/grpc,
 * doc/PROTOCOL-HTTP2.md), without compression.
 *
 * What is written to a stream within one turn leaves in one piece: a thousand heartbeats are one write.
 *
 * @module
 */
import { Effect, Result } from "effect"
import { Buffer } from "node:buffer"
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  type IncomingHttpHeaders
} from "node:http2"
import { connect as connectTcp, type Socket } from "node:net"
import { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } from "node:timers"
import { checkServerIdentity, connect as connectTls } from "node:tls"
import { GrpcStatus, messageOf } from "./failures.ts"
import type { Address } from "./settings.ts"

/** A method as it is on the wire. */
export interface Method<Answer> {
  /** Such as `/etcdserverpb.KV/Range`. */
  readonly path: string
  readonly encode: (message: object) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Answer
}

/** Headers that go along with a call. */
export type Headers = Readonly<Record<string, string>>

/** A call that has begun. */
export interface Call {
  /** Ends it here and on the server; nothing more is told of it. */
  readonly cancel: () => void
}

/** A call with a stream of messages in both directions. */
export interface Duplex extends Call {
  readonly write: (message: object) => void
}

/** What is told of a {@link Duplex}. */
export interface DuplexListener<Answer> {
  /** What has arrived at once, in order. */
  readonly onMessages: (messages: ReadonlyArray<Answer>) => void
  /** The last that is told. */
  readonly onEnd: (status: GrpcStatus) => void
}

export interface ChannelOptions {
  /** Milliseconds between two pings, while there are calls. */
  readonly keepAliveTime: number
  readonly maxReceiveBytes: number
}

/** Milliseconds a ping may stay without an answer. */
const pingTimeout = 5000

const silence = new GrpcStatus(14, `no answer to a ping within ${pingTimeout} ms`)

/** HTTP/2 numbers the calls of a connection with the odd numbers of 31 bits. */
const mostCalls = 2 ** 30 - 1

const noMessage = new GrpcStatus(13, "the answer has no message")

const connectionClosed = new GrpcStatus(14, "the connection was closed")

/** HTTP/2's own default. Bun 1.4 stops reading after this many bytes of a call unless it is told. */
const initialWindowSize = 65_535

/**
 * Connects: completes when the server has sent its HTTP/2 settings. Fails with a text; then, and when it is
 * interrupted, no socket is left.
 */
export const connect = (address: Address, options: ChannelOptions): Effect.Effect<Channel, string> =>
  Effect.callback((resume) => {
    let session: ClientHttp2Session | undefined
    const hangUp = () => {
      session?.destroy()
      socket.destroy()
    }
    const fail = (detail: string) => {
      hangUp()
      resume(Effect.fail(detail))
    }
    const onError = (error: unknown) => fail(messageOf(error))
    const onClose = () => fail("the connection was closed before HTTP/2 began")
    const onConnected = () => {
      const opening = session = connectHttp2(address.url, {
        createConnection: () => socket,
        maxSessionMemory: Number.MAX_SAFE_INTEGER,
        settings: { enablePush: false, initialWindowSize }
      })
      opening.on("error", onError)
      opening.once("remoteSettings", () => {
        opening.off("error", onError)
        socket.off("error", onError).off("close", onClose)
        resume(Effect.succeed(new Channel(opening, socket, options)))
      })
    }
    const socket = open(address, onConnected)
    socket.on("error", onError).once("close", onClose)
    return Effect.sync(hangUp)
  })

const open = ({ host, port, tls }: Address, onConnected: () => void): Socket =>
  tls === undefined ? connectTcp({ host, port }, onConnected) : connectTls({
    host,
    port,
    ALPNProtocols: ["h2"],
    servername: tls.serverName,
    // Deno and Bun refuse to ask for an IP address; so any name is asked for, and the one that counts is compared here.
    checkServerIdentity: (_name, certificate) => checkServerIdentity(tls.subject, certificate),
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.cert !== undefined && { cert: tls.cert }),
    ...(tls.key !== undefined && { key: tls.key })
  }, onConnected)

/** See the module's description. */
export class Channel {
  readonly #session: ClientHttp2Session
  readonly #socket: Socket
  readonly #options: ChannelOptions
  readonly #calls = new Set<Exchange>()
  readonly #pinging: ReturnType<typeof setInterval>
  #usable = true
  #begun = 0

  constructor(session: ClientHttp2Session, socket: Socket, options: ChannelOptions) {
    this.#session = session
    this.#socket = socket
    this.#options = options
    session.on("error", (error) => this.#lose(new GrpcStatus(14, messageOf(error))))
    session.on("close", () => this.#lose(connectionClosed))
    session.on("goaway", () => this.close())
    socket.on("error", (error) => this.#lose(new GrpcStatus(14, messageOf(error))))
    socket.on("close", () => this.#lose(connectionClosed))
    // A connection keeps the process alive while there are calls on it.
    session.unref()
    this.#pinging = setInterval(() => this.#ping(), options.keepAliveTime)
    this.#pinging.unref()
  }

  /** Whether calls can begin. */
  get isReady(): boolean {
    return this.#usable && !this.#session.destroyed && !this.#session.closed
  }

  /** Sends one message and calls back with the answer or the reason why there is none. `timeout`: milliseconds. */
  unary<Answer>(
    { decode, path }: Method<Answer>,
    message: Uint8Array,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Answer, GrpcStatus>) => void
  ): Call {
    let answer: Answer | undefined
    const deadline = setTimeout(() => exchange.end(new GrpcStatus(4, `no answer within ${timeout} ms`)), timeout)
    const exchange = this.#begin(path, { ...headers, "grpc-timeout": `${Math.ceil(timeout)}m` }, {
      onMessages: ([first]) => {
        answer = decode(first ?? empty)
      },
      onEnd: (status) => {
        clearTimeout(deadline)
        if (status.code !== 0) return callback(Result.fail(status))
        callback(answer === undefined ? Result.fail(noMessage) : Result.succeed(answer))
      }
    })
    exchange.finish(message)
    return {
      cancel: () => {
        clearTimeout(deadline)
        exchange.cancel()
      }
    }
  }

  /** Opens a stream in both directions. */
  duplex<Answer>(
    { decode, encode, path }: Method<Answer>,
    headers: Headers,
    { onEnd, onMessages }: DuplexListener<Answer>
  ): Duplex {
    const exchange = this.#begin(path, headers, { onMessages: (messages) => onMessages(messages.map(decode)), onEnd })
    return {
      write: (message) => exchange.write(encode(message)),
      cancel: () => exchange.cancel()
    }
  }

  /** Begins no more calls and lets go of the connection once the last has ended. */
  close(): void {
    this.#usable = false
    this.#release()
  }

  #begin(path: string, headers: Headers, listener: ExchangeListener): Exchange {
    const exchange = new Exchange(this.#options.maxReceiveBytes, listener, () => {
      this.#calls.delete(exchange)
      this.#release()
    })
    if (!this.isReady) {
      queueMicrotask(() => exchange.end(connectionClosed))
      return exchange
    }
    if (this.#calls.size === 0) this.#session.ref()
    this.#calls.add(exchange)
    exchange.begin(this.#session.request({
      ...headers,
      ":method": "POST",
      ":path": path,
      "te": "trailers",
      "content-type": "application/grpc",
      "user-agent": "grpc-effect-etcd-discovery"
    }))
    this.#begun += 1
    if (this.#begun === mostCalls) this.close()
    return exchange
  }

  #release(): void {
    if (this.#calls.size > 0 || this.#session.destroyed) return
    if (this.#usable) {
      this.#session.unref()
      return
    }
    this.#hangUp()
  }

  #lose(status: GrpcStatus): void {
    this.#usable = false
    // What had arrived before is told first.
    setImmediate(() => {
      for (const call of this.#calls) call.end(status)
      this.#hangUp()
    })
  }

  #hangUp(): void {
    clearInterval(this.#pinging)
    this.#session.destroy()
    this.#socket.destroy()
  }

  #ping(): void {
    if (this.#calls.size === 0) return
    const silent = setTimeout(() => this.#lose(silence), pingTimeout)
    silent.unref()
    try {
      this.#session.ping(() => clearTimeout(silent))
    } catch {
      // The session is closing and tells why itself.
      clearTimeout(silent)
    }
  }
}

const empty = new Uint8Array(0)

interface ExchangeListener {
  readonly onMessages: (messages: ReadonlyArray<Uint8Array>) => void
  readonly onEnd: (status: GrpcStatus) => void
}

/** A flag (1: compressed) and the length, in front of each message. */
const prefixBytes = 5

const framed = (message: Uint8Array): Buffer => {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, prefixBytes)
  return frame
}

/** One HTTP/2 stream: messages there and back, and in the end a status. */
class Exchange {
  readonly #maxBytes: number
  readonly #listener: ExchangeListener
  readonly #onEnd: () => void
  #stream: ClientHttp2Stream | undefined
  #unsent: Array<Buffer> = []
  /** The beginning of what has not arrived as a whole; `#arrived` bytes of it are there. */
  #partial: Buffer | undefined
  #arrived = 0
  #httpStatus: number | undefined
  #status: GrpcStatus | undefined
  #error: unknown
  #isOver = false

  constructor(maxBytes: number, listener: ExchangeListener, onEnd: () => void) {
    this.#maxBytes = maxBytes
    this.#listener = listener
    this.#onEnd = onEnd
  }

  begin(stream: ClientHttp2Stream): void {
    this.#stream = stream
    stream.on("response", (headers) => {
      this.#httpStatus = headers[":status"]
      this.#status = statusOf(headers)
    })
    stream.on("data", (chunk: Buffer) => this.#receive(chunk))
    stream.on("trailers", (headers) => {
      this.#status = statusOf(headers)
      if (stream.readableEnded && this.#status !== undefined) this.end(this.#status)
    })
    stream.on("end", () => {
      if (this.#status !== undefined) this.end(this.#status)
    })
    stream.on("error", (error) => {
      this.#error = error
    })
    stream.on("close", () => this.end(this.#status ?? this.#broken(stream.rstCode)))
  }

  /** Sends the only message. */
  finish(message: Uint8Array): void {
    this.#stream?.end(framed(message))
  }

  write(message: Uint8Array): void {
    if (this.#unsent.length === 0) queueMicrotask(() => this.#flush())
    this.#unsent.push(framed(message))
  }

  cancel(): void {
    this.#over()
  }

  end(status: GrpcStatus): void {
    if (this.#over()) this.#listener.onEnd(status)
  }

  /** Whether it was not over before. */
  #over(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    const stream = this.#stream
    if (this.#status === undefined) stream?.close(constants.NGHTTP2_CANCEL)
    else if (stream?.writableEnded === false && !stream.destroyed) stream.end()
    this.#onEnd()
    return true
  }

  #flush(): void {
    const unsent = this.#unsent
    this.#unsent = []
    if (this.#isOver || this.#stream?.destroyed !== false) return
    this.#stream.write(unsent.length === 1 ? unsent[0] : Buffer.concat(unsent))
  }

  #receive(chunk: Buffer): void {
    if (this.#isOver) return
    try {
      const messages = this.#messagesOf(chunk)
      if (messages.length > 0) this.#listener.onMessages(messages)
    } catch (error) {
      this.end(error instanceof GrpcStatus ? error : new GrpcStatus(13, `unreadable answer: ${messageOf(error)}`))
    }
  }

  /** The messages that are complete with this chunk. */
  #messagesOf(chunk: Buffer): ReadonlyArray<Uint8Array> {
    const messages: Array<Uint8Array> = []
    let at = 0
    while (at < chunk.length) {
      if (this.#partial === undefined) {
        const size = chunk.length - at < prefixBytes ? prefixBytes : this.#sizeOf(chunk, at)
        if (chunk.length - at >= size) {
          messages.push(chunk.subarray(at + prefixBytes, at + size))
          at += size
          continue
        }
        this.#partial = Buffer.allocUnsafe(size)
        this.#arrived = 0
      }
      const copied = chunk.copy(this.#partial, this.#arrived, at)
      at += copied
      this.#arrived += copied
      if (this.#arrived < this.#partial.length) break
      const size = this.#sizeOf(this.#partial, 0)
      if (size > this.#partial.length) {
        const prefix = this.#partial
        this.#partial = Buffer.allocUnsafe(size)
        prefix.copy(this.#partial)
      } else {
        messages.push(this.#partial.subarray(prefixBytes))
        this.#partial = undefined
      }
    }
    return messages
  }

  /** The length of the message whose prefix is at this place, with the prefix. */
  #sizeOf(bytes: Buffer, at: number): number {
    const status = this.#httpStatus
    if (status !== undefined && status !== 200) throw httpFailure(status)
    if (bytes[at] !== 0) throw new GrpcStatus(13, "the answer is compressed")
    const length = bytes.readUInt32BE(at + 1)
    if (length > this.#maxBytes) {
      throw new GrpcStatus(8, `Received message larger than max (${length} vs. ${this.#maxBytes} bytes)`)
    }
    return prefixBytes + length
  }

  /** Why the stream was closed without a status. */
  #broken(code: number | undefined): GrpcStatus {
    if (this.#httpStatus !== undefined && this.#httpStatus !== 200) return httpFailure(this.#httpStatus)
    if (code === constants.NGHTTP2_ENHANCE_YOUR_CALM) return new GrpcStatus(8, "the server wants fewer requests")
    const why = this.#error === undefined ? "" : `: ${messageOf(this.#error)}`
    return new GrpcStatus(14, `the stream was closed without a status (HTTP/2 code ${code})${why}`)
  }
}

/** The status that headers carry, if they do. */
const statusOf = (headers: IncomingHttpHeaders): GrpcStatus | undefined => {
  const code = headers["grpc-status"]
  if (typeof code !== "string") return undefined
  const message = headers["grpc-message"]
  return new GrpcStatus(Number(code), typeof message === "string" ? percentDecoded(message) : "")
}

const percentDecoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** What answered is no gRPC server, or something in between (grpc/grpc, doc/http-grpc-status-mapping.md). */
const httpFailure = (status: number): GrpcStatus => {
  const code = status === 401 ? 16 : status === 403 ? 7 : [429, 502, 503, 504].includes(status) ? 14 : 2
  return new GrpcStatus(code, `HTTP status ${status} instead of a gRPC answer`)
}

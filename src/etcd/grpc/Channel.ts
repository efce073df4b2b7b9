/**
 * One connection to an endpoint, and the calls on it: a gRPC client that `etcd3` has made, with messages that are
 * written and read here.
 *
 * @module
 */
import { Effect, Result } from "effect"
import type { ICallable } from "etcd3"
import type { Buffer } from "node:buffer"
import { withoutStack } from "../../internal/withoutStack.ts"
import { dial } from "./dial.ts"
import { GrpcStatus, messageOf } from "./failures.ts"
import type { Address } from "./settings.ts"

/** A method as it is on the wire. */
export interface Method<Answer> {
  /** Such as `/etcdserverpb.KV/Range`. */
  readonly path: string
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
  readonly write: (message: Buffer) => void
}

/** What is told of a {@link Duplex}. */
export interface DuplexListener<Answer> {
  /** What has arrived at once, in order. */
  readonly onMessages: (messages: ReadonlyArray<Answer>) => void
  /** The last that is told. */
  readonly onEnd: (status: GrpcStatus) => void
}

/** What `etcd3` gives to whom uses a connection of its pool: a client of grpc-js, and empty metadata. */
export type Handle = Pick<
  Parameters<Parameters<ICallable<unknown>["withConnection"]>[1]>[0],
  "client" | "metadata"
>

/** Makes a client for an address; it is not connected yet. */
export type Open = (address: Address) => Promise<Handle>

/** States of a gRPC channel. */
const ready = 2
const shutdown = 4

const ok = new GrpcStatus(0, "")

const connectionClosed = new GrpcStatus(14, "the connection was closed")

/** Connects: completes when calls can begin. Fails with a text; then, and when it is interrupted, nothing is left. */
export const connect = (address: Address, open: Open): Effect.Effect<Channel, string> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      yield* restore(dial(address))
      const handle = yield* Effect.tryPromise({ try: () => open(address), catch: messageOf })
      const channel = new Channel(handle)
      yield* Effect.onError(restore(channel.whenReady), () => Effect.sync(() => channel.close()))
      return channel
    })
  )

/** See the module's description. */
export class Channel {
  readonly #client: Handle["client"]
  readonly #noHeaders: Handle["metadata"]

  constructor({ client, metadata }: Handle) {
    this.#client = client
    this.#noHeaders = metadata
  }

  /** Connects, and completes once that has worked. */
  readonly whenReady: Effect.Effect<void> = Effect.callback((resume) => {
    const channel = this.#client.getChannel()
    const look = () => {
      const state = channel.getConnectivityState(true)
      if (state === ready) resume(Effect.void)
      else if (state !== shutdown) channel.watchConnectivityState(state, Infinity, look)
    }
    look()
  })

  /** Whether calls can begin. */
  get isReady(): boolean {
    return this.#client.getChannel().getConnectivityState(false) === ready
  }

  /** Sends one message and calls back with the answer or the reason why there is none. `timeout`: milliseconds. */
  unary<Answer>(
    { decode, path }: Method<Answer>,
    message: Buffer,
    headers: Headers,
    timeout: number,
    callback: (outcome: Result.Result<Answer, GrpcStatus>) => void
  ): Call {
    let open = true
    const end = (outcome: Result.Result<Answer, GrpcStatus>) => {
      if (!open) return
      open = false
      callback(outcome)
    }
    if (!this.isReady) {
      queueMicrotask(() => end(Result.fail(connectionClosed)))
      return {
        cancel: () => {
          open = false
        }
      }
    }
    const metadata = this.#metadata(headers)
    const options = { deadline: Date.now() + timeout }
    // grpc-js takes the stack of each call for the error it may end with, whose stack nobody sees.
    const call = withoutStack(() =>
      this.#client.makeUnaryRequest(
        path,
        asItIs,
        decode,
        message,
        metadata,
        options,
        (error, answer) => end(error === null ? Result.succeed(answer as Answer) : Result.fail(statusOf(error)))
      )
    )
    return {
      cancel: () => {
        open = false
        call.cancel()
      }
    }
  }

  /** Opens a stream in both directions. */
  duplex<Answer>(
    { decode, path }: Method<Answer>,
    headers: Headers,
    { onEnd, onMessages }: DuplexListener<Answer>
  ): Duplex {
    let open = true
    const end = (status: GrpcStatus) => {
      if (!open) return
      open = false
      onEnd(status)
    }
    if (!this.isReady) {
      queueMicrotask(() => end(connectionClosed))
      return {
        write: () => {},
        cancel: () => {
          open = false
        }
      }
    }
    const stream = this.#client.makeBidiStreamRequest(path, asItIs, decode, this.#metadata(headers))
    stream.on("data", (message: Answer) => {
      if (!open) return
      try {
        onMessages([message])
      } catch (error) {
        stream.cancel()
        end(new GrpcStatus(13, `unreadable answer: ${messageOf(error)}`))
      }
    })
    stream.on("end", () => end(ok))
    // Stays: a stream that is cancelled emits one more error, which nobody else would catch.
    stream.on("error", (error) => end(statusOf(error)))
    return {
      write: (message) => {
        if (open) stream.write(message)
      },
      cancel: () => {
        open = false
        stream.cancel()
      }
    }
  }

  /** Begins no more calls and lets go of the connection once the last has ended. */
  close(): void {
    this.#client.close()
  }

  #metadata(headers: Headers): Handle["metadata"] {
    const entries = Object.entries(headers)
    // A call takes a copy of what it is given.
    if (entries.length === 0) return this.#noHeaders
    const metadata = this.#noHeaders.clone()
    for (const [name, value] of entries) metadata.set(name, value)
    return metadata
  }
}

const asItIs = (bytes: Buffer): Buffer => bytes

/** How a call has ended, as the error of grpc-js says it. */
const statusOf = (error: Error & { readonly code?: unknown; readonly details?: unknown }): GrpcStatus => {
  const { code, details } = error
  return new GrpcStatus(
    typeof code === "number" ? code : 14,
    typeof details === "string" && details !== "" ? details : messageOf(error)
  )
}

/**
 * The RPC protocol of one instance: sends a request, and returns the message that ends it.
 *
 * @module
 */
import { Deferred, Effect } from "effect"
import { type RpcClient, RpcClientError, type RpcMessage } from "effect/rpc"

type Protocol = RpcClient.Protocol["Service"]

/** The transport failed: the handler of the request has not responded. */
export class TransportFailed extends Error {
  readonly _tag = "TransportFailed"
  readonly error: RpcClientError.RpcClientError
  /** Whether the request may have reached the instance. */
  readonly isSent: boolean

  constructor(error: RpcClientError.RpcClientError, isSent: boolean) {
    super(error.message)
    this.error = error
    this.isSent = isSent
  }
}

type OnChunk = (chunk: RpcMessage.ResponseChunkEncoded) => Effect.Effect<void>

/**
 * The client id for the next request of a protocol.
 *
 * Each request gets its own client id: `Defect` and `ClientProtocolError` carry a client id but no request id, and over
 * HTTP they concern one request only.
 */
let nextClientId = 0

/** The protocol of one instance. */
export class InstanceRpc {
  readonly #protocol: Protocol
  readonly #isUnsent: (error: RpcClientError.RpcClientError) => boolean

  /** `isUnsent` returns whether nothing was sent, for an error of the protocol's `send`. */
  constructor(protocol: Protocol, isUnsent: (error: RpcClientError.RpcClientError) => boolean) {
    this.#protocol = protocol
    this.#isUnsent = isUnsent
  }

  /** Sends a request and waits for its exit. An exit with the handler's failure is a success here. */
  request(
    message: RpcMessage.RequestEncoded,
    onChunk: OnChunk
  ): Effect.Effect<RpcMessage.ResponseExitEncoded, TransportFailed> {
    return Effect.suspend(() => {
      const clientId = nextClientId++
      const end = Deferred.makeUnsafe<RpcMessage.ResponseExitEncoded, TransportFailed>()
      const sent = this.#protocol.send(clientId, message).pipe(
        Effect.catchDefect((cause) => Effect.fail(defect("cannot write the request", cause))),
        Effect.mapError((error) => new TransportFailed(error, !this.#isUnsent(error))),
        Effect.andThen(Deferred.await(end)),
        Effect.onInterrupt(() => Effect.ignoreCause(this.forward({ _tag: "Interrupt", requestId: message.id })))
      )
      return Effect.raceFirst(this.#protocol.run(clientId, (message) => receive(message, end, onChunk)), sent)
    })
  }

  /** Sends an acknowledgement or an interruption. */
  forward(
    message: RpcMessage.AckEncoded | RpcMessage.InterruptEncoded
  ): Effect.Effect<void, RpcClientError.RpcClientError> {
    return this.#protocol.send(-1, message)
  }
}

/** Fails when the transport fails. */
export const awaitFailure = (protocol: Protocol): Effect.Effect<never, RpcClientError.RpcClientError> =>
  Effect.suspend(() => {
    const failed = Deferred.makeUnsafe<never, RpcClientError.RpcClientError>()
    const run = protocol.run(
      nextClientId++,
      (message) => message._tag === "ClientProtocolError" ? Deferred.fail(failed, message.error) : Effect.void
    )
    return Effect.raceFirst(run, Deferred.await(failed))
  })

const receive = (
  message: RpcMessage.FromServerEncoded,
  end: Deferred.Deferred<RpcMessage.ResponseExitEncoded, TransportFailed>,
  onChunk: OnChunk
): Effect.Effect<void> => {
  switch (message._tag) {
    case "Chunk":
      return onChunk(message)
    case "Exit":
      return Deferred.succeed(end, message)
    case "Defect":
      // A handler died, possibly that of another request on the same socket. The call dies, as in Effect's own client.
      return Deferred.die(end, message.defect)
    case "ClientProtocolError":
      return Deferred.fail(end, new TransportFailed(message.error, true))
    default:
      return Effect.void
  }
}

/** Wraps a cause that is not an `RpcClientError`. */
export const defect = (message: string, cause: unknown): RpcClientError.RpcClientError =>
  new RpcClientError.RpcClientError({ reason: new RpcClientError.RpcClientDefect({ message, cause }) })

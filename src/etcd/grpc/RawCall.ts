/**
 * One call on a channel of grpc-js, whose messages are bytes.
 *
 * The methods of `grpc.Client` add a stream of Node, an emitter and a chain of interceptors to each call. Nothing here
 * needs them.
 *
 * @module
 */
import type * as GrpcJs from "@grpc/grpc-js"
import { Buffer } from "node:buffer"
import { GrpcStatus } from "./failures.ts"

/** A call of grpc-js, which a channel creates. */
type GrpcCall = ReturnType<GrpcJs.ChannelInterface["createCall"]>

/** `status` of grpc-js. */
const cancelled = 1

/** The callbacks of a call. No callback runs before the call was returned. */
export interface CallListener<Message> {
  readonly onMessage: (message: Message) => void
  /** Runs once, unless the call was cancelled. No message follows. */
  readonly onEnd: (status: GrpcStatus) => void
}

/** See the module's description. */
export class RawCall {
  readonly #listener: CallListener<Uint8Array>
  readonly #onClose: () => void
  readonly #call: GrpcCall | undefined
  readonly #waiting: Array<Uint8Array> = []
  #isOpen = true
  #isSending = false

  /**
   * `begin` creates a call of grpc-js and starts it with this listener. What it throws ends the call. `onClose` runs once
   * the call has ended or was cancelled.
   */
  constructor(
    listener: CallListener<Uint8Array>,
    begin: (listener: RawCall) => GrpcCall,
    onClose: () => void
  ) {
    this.#listener = listener
    this.#onClose = onClose
    try {
      this.#call = begin(this)
    } catch (error) {
      queueMicrotask(() => this.#end(GrpcStatus.of(error)))
    }
  }

  /** Sends a message, after the messages before it. */
  send(message: Uint8Array): void {
    this.#waiting.push(message)
    if (!this.#isSending) this.#sendNext()
  }

  /** Sends the only message of this side. */
  sendOnly(message: Uint8Array): void {
    this.#call?.sendMessageWithContext({}, toBuffer(message))
    this.#call?.halfClose()
  }

  /** Reads one more message. */
  read(): void {
    if (this.#isOpen) this.#call?.startRead()
  }

  /** Ends the call here and on the server. After that, no callback runs. */
  cancel(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#call?.cancelWithStatus(cancelled, "cancelled by the client")
    this.#onClose()
  }

  /** Called by grpc-js. */
  onReceiveMetadata(): void {}

  /** Called by grpc-js. */
  onReceiveMessage(bytes: Uint8Array): void {
    if (this.#isOpen) this.#listener.onMessage(bytes)
  }

  /** Called by grpc-js, without a code if a message has an unknown encoding. */
  onReceiveStatus({ code, details }: { readonly code?: number; readonly details?: string }): void {
    this.#end(code === undefined ? new GrpcStatus(14, "unreadable response") : new GrpcStatus(code, details ?? ""))
  }

  /** grpc-js takes the next message after it has called back for the last one. */
  readonly #sendNext = (): void => {
    const message = this.#waiting.shift()
    this.#isSending = message !== undefined
    if (message === undefined || !this.#isOpen) return
    this.#call?.sendMessageWithContext({ callback: this.#sendNext }, toBuffer(message))
  }

  #end(status: GrpcStatus): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#onClose()
    this.#listener.onEnd(status)
  }
}

/** The same bytes as a view: grpc-js needs a `Buffer`. */
const toBuffer = ({ buffer, byteLength, byteOffset }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength)

/**
 * The part of `@connectrpc/connect-node` that the transport uses, and its errors.
 *
 * The types are structural: programs that use only grpc-js need not install ConnectRPC.
 *
 * @module
 */

/**
 * A transport of ConnectRPC.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyTransport {
  readonly unary: Send
  readonly stream: Send
}

/**
 * Sends a call: method, signal, timeout in milliseconds, header, input, context values.
 *
 * @since 0.1.0
 * @category models
 */
export type Send = (
  method: never,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  header: never,
  input: never,
  contextValues?: never
) => Promise<unknown>

/**
 * Manages the HTTP/2 connection of a transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionManager {
  connect(): Promise<"open" | "idle" | "error">
  error(): unknown
  abort(): void
}

/**
 * The module `@connectrpc/connect-node`: `import * as connectNode from "@connectrpc/connect-node"`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectNode {
  readonly createGrpcTransport: (options: never) => AnyTransport
  readonly createConnectTransport: (options: never) => AnyTransport
  readonly createGrpcWebTransport: (options: never) => AnyTransport
  readonly Http2SessionManager: new (url: string, options?: never, http2Options?: never) => SessionManager
}

/** Codes of ConnectRPC, which are those of gRPC. */
export const code = { canceled: 1, deadlineExceeded: 4, internal: 13, unavailable: 14 } as const

type Code = keyof typeof code

const codeNames: Readonly<Record<Code, string>> = {
  canceled: "canceled",
  deadlineExceeded: "deadline_exceeded",
  internal: "internal",
  unavailable: "unavailable"
}

/**
 * An error that is `instanceof ConnectError` for every copy of ConnectRPC, because ConnectRPC compares members.
 *
 * Without an import of ConnectRPC, bundlers need not resolve it.
 */
class TransportError extends Error {
  override readonly name = "ConnectError"
  override readonly cause: unknown
  readonly code: number
  readonly rawMessage: string
  readonly metadata = new Headers()
  readonly details: ReadonlyArray<never> = []

  constructor(reason: Code, message: string, cause: unknown) {
    super(`[${codeNames[reason]}] ${message}`)
    this.code = code[reason]
    this.rawMessage = message
    this.cause = cause
  }

  findDetails(): ReadonlyArray<never> {
    return []
  }
}

/** An error of the transport. */
export const connectError = (reason: Code, message: string, cause?: unknown): Error =>
  new TransportError(reason, message, cause)

/** Whether a value is an error of ConnectRPC. */
export const isConnectError = (value: unknown): value is Error & { readonly code: number } =>
  value instanceof Error && value.name === "ConnectError" && "code" in value && typeof value.code === "number"

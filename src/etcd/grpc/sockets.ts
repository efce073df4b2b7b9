/**
 * Opens the sockets of one gRPC connection.
 *
 * grpc-js opens the TCP socket and leaves TLS to its credentials, which are made here. TLS is set up as in `dial`, and
 * an attempt can be aborted: grpc-js itself leaves the sockets of an aborted attempt open. ADR 11 has the reasons.
 *
 * @module
 */
import type * as GrpcJs from "@grpc/grpc-js"
import type { Socket } from "node:net"
import { checkServerIdentity, connect, type ConnectionOptions, type SecureContext, type TLSSocket } from "node:tls"
import { messageOf } from "./failures.ts"
import type { Identity } from "./settings.ts"

/** How to secure a connection. */
export interface Security extends Identity {
  readonly context: SecureContext
}

/** The options of `node:tls` for a connection. */
export const tlsOptions = ({ context, serverName, subject }: Security): ConnectionOptions => ({
  ALPNProtocols: ["h2"],
  secureContext: context,
  servername: serverName,
  checkServerIdentity: (_name, certificate) => checkServerIdentity(subject, certificate)
})

/**
 * Represents a missing server name as Node does. Deno's HTTP/2 client builds a URL from the name and throws if it is
 * empty.
 */
export const withoutEmptyName = <S extends Socket>(socket: S): S => {
  if ("servername" in socket && socket.servername === "") socket.servername = false
  return socket
}

/** Credentials for a channel, and its sockets. */
export interface Sockets {
  readonly credentials: GrpcJs.ChannelCredentials
  /** Why the last TLS handshake failed. */
  readonly failure: () => string | undefined
  /** Closes all sockets, now and later. */
  readonly destroy: () => void
}

export const make = (grpc: typeof GrpcJs, security: Security | undefined): Sockets => {
  const sockets = new Set<Socket>()
  let isDestroyed = false
  let failure: string | undefined

  const own = (socket: Socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  }

  const secure = (socket: Socket, security: Security): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      const onError = (error: Error) => {
        failure = messageOf(error)
        reject(error)
      }
      try {
        const secured = connect({ ...tlsOptions(security), socket }, () => resolve(withoutEmptyName(secured)))
        own(secured)
        // Keep the listener: without it, a later error would be uncaught.
        secured.on("error", onError)
        secured.once("close", () => reject(new Error("the connection was closed during the TLS handshake")))
      } catch (error) {
        onError(error instanceof Error ? error : new Error(String(error)))
      }
    })

  const setUp = async (socket: Socket) => {
    own(socket)
    if (isDestroyed) socket.destroy()
    return security === undefined ? { socket, secure: false } : { socket: await secure(socket, security), secure: true }
  }

  class OwnCredentials extends grpc.ChannelCredentials {
    override _isSecure(): boolean {
      return security !== undefined
    }
    override _equals(other: GrpcJs.ChannelCredentials): boolean {
      return other === this
    }
    override _createSecureConnector(
      ...[, , callCredentials]: Parameters<GrpcJs.ChannelCredentials["_createSecureConnector"]>
    ) {
      return {
        connect: setUp,
        waitForReady: () => Promise.resolve(),
        getCallCredentials: () => callCredentials ?? grpc.credentials.createEmpty(),
        destroy: () => {}
      }
    }
  }

  return {
    credentials: new OwnCredentials(),
    failure: () => failure,
    destroy: () => {
      isDestroyed = true
      // Close the TLS socket before the socket that it wraps: Node can crash in the other order.
      for (const socket of [...sockets].reverse()) socket.destroy()
    }
  }
}

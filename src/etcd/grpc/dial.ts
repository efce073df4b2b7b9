/**
 * Finds an address of an endpoint that speaks HTTP/2, on a socket of its own.
 *
 * grpc-js cannot abort a connection attempt: its socket hangs as long as the network does and may keep the process alive.
 * So it only connects to an address that has just answered.
 *
 * @module
 */
import { Effect } from "effect"
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2"
import { connect, type Socket } from "node:net"
import { checkServerIdentity, connect as connectTls } from "node:tls"
import { messageOf } from "./failures.ts"
import type { Address } from "./settings.ts"

/**
 * Returns the IP address that answered, once its HTTP/2 settings have arrived. Fails with the reason as text.
 *
 * Closes its socket in every case, also when it is interrupted.
 */
export const dial = (address: Address): Effect.Effect<string, string> =>
  Effect.callback((resume) => {
    let session: ClientHttp2Session | undefined
    let socket: Socket | undefined
    const hangUp = () => {
      session?.destroy()
      socket?.destroy()
    }
    const finish = (outcome: Effect.Effect<string, string>) => {
      hangUp()
      resume(outcome)
    }
    const onError = (error: unknown) => finish(Effect.fail(messageOf(error)))
    const onConnected = (socket: Socket) => {
      const { remoteAddress = address.host } = socket
      session = connectHttp2(address.url, { createConnection: () => socket })
      session.on("error", onError)
      session.once("remoteSettings", () => finish(Effect.succeed(remoteAddress)))
    }
    try {
      const opened = socket = open(address, () => onConnected(opened))
      socket.on("error", onError)
      socket.once("close", () => finish(Effect.fail("the connection was closed before HTTP/2 began")))
    } catch (error) {
      onError(error)
    }
    return Effect.sync(hangUp)
  })

const open = ({ host, port, tls }: Address, onConnected: () => void): Socket =>
  tls === undefined ? connect({ host, port }, onConnected) : connectTls({
    host,
    port,
    ALPNProtocols: ["h2"],
    servername: tls.serverName,
    checkServerIdentity: (_name, certificate) => checkServerIdentity(tls.subject, certificate),
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.cert !== undefined && { cert: tls.cert }),
    ...(tls.key !== undefined && { key: tls.key })
  }, onConnected)

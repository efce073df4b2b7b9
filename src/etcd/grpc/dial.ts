/**
 * Finds out whether somebody speaks HTTP/2 at an address, on a socket of our own.
 *
 * grpc-js cannot be asked to give a connection attempt up: its socket stays, hangs where the network hangs, and may keep
 * the process alive. So it only ever connects to where a moment ago somebody answered.
 *
 * @module
 */
import { Effect } from "effect"
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2"
import { connect, type Socket } from "node:net"
import { checkServerIdentity, connect as connectTls } from "node:tls"
import { messageOf } from "./failures.ts"
import type { Address } from "./settings.ts"

/** Completes when the server has sent its settings, fails with a text; leaves no socket, even when interrupted. */
export const dial = (address: Address): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    let session: ClientHttp2Session | undefined
    const hangUp = () => {
      session?.destroy()
      socket.destroy()
    }
    const finish = (outcome: Effect.Effect<void, string>) => {
      hangUp()
      resume(outcome)
    }
    const onError = (error: unknown) => finish(Effect.fail(messageOf(error)))
    const onConnected = () => {
      session = connectHttp2(address.url, { createConnection: () => socket })
      session.on("error", onError)
      session.once("remoteSettings", () => finish(Effect.void))
    }
    const socket = open(address, onConnected)
    socket.on("error", onError)
    socket.once("close", () => finish(Effect.fail("the connection was closed before HTTP/2 began")))
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

/**
 * Finds an address of an endpoint that speaks HTTP/2, on a socket of its own.
 *
 * grpc-js cannot abort a connection attempt: its socket hangs with the network and may keep the process alive. So
 * grpc-js only connects to an address that has just answered here.
 *
 * @module
 */
import { Effect } from "effect"
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { messageOf } from "./failures.ts"
import type { Address } from "./settings.ts"
import { type Security, tlsOptions, withoutEmptyName } from "./sockets.ts"

/** Why an attempt failed. */
export interface DialFailure {
  readonly detail: string
  /** Whether the server was reached. If so, it may speak another protocol. */
  readonly isConnected: boolean
}

interface Attempt {
  readonly open: (onReady: () => void) => Socket
  readonly url: string
}

/** Completes with the IP address once the HTTP/2 settings of the server have arrived. Leaves no socket. */
const attempt = ({ open, url }: Attempt): Effect.Effect<string, DialFailure> =>
  Effect.callback((resume) => {
    let session: ClientHttp2Session | undefined
    let socket: Socket | undefined
    let isConnected = false
    let isOver = false
    const hangUp = () => {
      isOver = true
      session?.destroy()
      socket?.destroy()
    }
    const finish = (outcome: Effect.Effect<string, DialFailure>) => {
      if (isOver) return
      hangUp()
      resume(outcome)
    }
    const fail = (detail: string) => finish(Effect.fail({ detail, isConnected }))
    const onReady = () => {
      // Bun connects a socket although it was destroyed before.
      if (isOver || socket === undefined) return hangUp()
      const { remoteAddress = "" } = socket
      const opened = withoutEmptyName(socket)
      session = connectHttp2(url, { createConnection: () => opened })
      session.on("error", (error) => fail(messageOf(error)))
      session.once("remoteSettings", () => finish(Effect.succeed(remoteAddress)))
    }
    try {
      socket = open(onReady)
      socket.once("connect", () => {
        isConnected = true
      })
      socket.on("error", (error) => fail(messageOf(error)))
      socket.once("close", () => fail("the connection was closed before HTTP/2 began"))
    } catch (error) {
      fail(messageOf(error))
    }
    return Effect.sync(hangUp)
  })

/** The server has hung up. */
const isHangUp = /\b(?:EPIPE|ECONNRESET)\b|closed before HTTP\/2/

/**
 * Finds the IP address of an endpoint. Interrupting it closes its socket.
 *
 * **Details**
 *
 * In TLS 1.3 a server refuses the client's certificate after the handshake of the client, with an alert. If the client
 * writes at that moment, it fails with `EPIPE` and never reads the alert. So it tries twice more, for the reason.
 */
export const dial = (
  { host, port, url }: Address,
  security: Security | undefined
): Effect.Effect<string, DialFailure> =>
  security === undefined ?
    attempt({ url, open: (onReady) => connect({ host, port }, onReady) }) :
    Effect.retry(attempt({ url, open: (onReady) => connectTls({ host, port, ...tlsOptions(security) }, onReady) }), {
      times: 2,
      while: ({ detail, isConnected }) => isConnected && isHangUp.test(detail)
    })

/** A server that does not use TLS closes the connection or answers in plain text. */
const isPlain = /before (?:the )?secure TLS|wrong.version.number|packet.length.too.long|InvalidContentType/i

/** Advice if the scheme of an endpoint is wrong. An endpoint with TLS is never contacted without TLS. */
export const schemeAdvice = (
  { host, port, tls }: Address,
  { detail, isConnected }: DialFailure
): Effect.Effect<string | undefined> => {
  if (tls !== undefined) {
    return Effect.succeed(
      isPlain.test(detail) ? "the server does not seem to use TLS: write http:// in endpoints if so" : undefined
    )
  }
  if (!isConnected) return Effect.succeed(undefined)
  return Effect.as(speaksTls(host, port), "the server uses TLS: write https:// in endpoints").pipe(
    Effect.timeout("1 second"),
    Effect.orElseSucceed(() => undefined)
  )
}

const speaksTls = (host: string, port: number): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const done = (outcome: Effect.Effect<void, string>) => {
      socket.destroy()
      resume(outcome)
    }
    const socket = connectTls({ host, port, ALPNProtocols: ["h2"], rejectUnauthorized: false }, () => done(Effect.void))
    socket.on("error", (error) => done(/alert/i.test(messageOf(error)) ? Effect.void : Effect.fail(messageOf(error))))
    socket.once("close", () => done(Effect.fail("closed")))
    return Effect.sync(() => socket.destroy())
  })

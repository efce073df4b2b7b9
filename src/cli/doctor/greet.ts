/**
 * The clock and the certificate of an etcd member, by one HTTP request to `/version`, which needs no user.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { readFile } from "node:fs/promises"
import * as http from "node:http"
import * as https from "node:https"
import { TLSSocket } from "node:tls"
import type * as EtcdGrpc from "../../etcd/grpc/EtcdGrpc.ts"

/** The clock and the certificate of a member. */
export interface Greeting {
  /** How far its clock is ahead of this machine's, in milliseconds, with a resolution of one second. */
  readonly aheadMillis: number
  /** When its certificate expires, in milliseconds since the epoch. Missing without TLS. */
  readonly certificateEnds?: number
}

const timeoutMillis = 3000

const textOf = async (pem: string | Redacted.Redacted | undefined): Promise<string | undefined> => {
  const text = Redacted.isRedacted(pem) ? Redacted.value(pem) : pem
  return text === undefined || text.includes("-----BEGIN") ? text : await readFile(text, "utf8")
}

const certificateEnd = (response: http.IncomingMessage): number | undefined => {
  const { socket } = response
  const end = socket instanceof TLSSocket ? Date.parse(socket.getPeerCertificate().valid_to) : Number.NaN
  return Number.isNaN(end) ? undefined : end
}

const ask = async (endpoint: string, { tls }: EtcdGrpc.Options, signal: AbortSignal): Promise<Greeting> => {
  const isSecure = endpoint.startsWith("https:") || (tls !== undefined && !endpoint.includes("://"))
  const url = new URL("/version", endpoint.includes("://") ? endpoint : `${isSecure ? "https" : "http"}://${endpoint}`)
  const [ca, cert, key] = await Promise.all([tls?.ca, tls?.cert, tls?.key].map(textOf))
  const passphrase = tls?.passphrase && Redacted.value(tls.passphrase)
  const start = Date.now()
  return await new Promise((resolve, reject) => {
    const onResponse = (response: http.IncomingMessage) => {
      const middle = (start + Date.now()) / 2
      const certificateEnds = certificateEnd(response)
      response.resume()
      const date = Date.parse(response.headers.date ?? "")
      if (Number.isNaN(date)) return reject(new Error("the response has no date"))
      // A `Date` header has whole seconds, rounded down.
      resolve({ aheadMillis: date + 500 - middle, ...(certificateEnds === undefined ? {} : { certificateEnds }) })
    }
    const common = { agent: false as const, signal, timeout: timeoutMillis }
    const request = isSecure ?
      https.get(url, {
        ...common,
        // Accept any certificate: the request carries no secret, and an expired certificate must be readable.
        rejectUnauthorized: false,
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(passphrase === undefined ? {} : { passphrase })
      }, onResponse) :
      http.get(url, common, onResponse)
    request.on("timeout", () => request.destroy(new Error("no response in time")))
    request.on("error", reject)
  })
}

/** Requests `/version` from a member. */
export const greet = (endpoint: string, options: EtcdGrpc.Options): Effect.Effect<Greeting, unknown> =>
  Effect.tryPromise((signal) => ask(endpoint, options, signal))

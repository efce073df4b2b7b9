/**
 * The options of the client, checked: whatever is wrong with them is found before anything is sent.
 *
 * @module
 */
import { Duration, Effect, Option, Redacted } from "effect"
import { createPrivateKey, X509Certificate } from "node:crypto"
import { readFile } from "node:fs/promises"
import { isIP } from "node:net"
import type { EtcdError } from "../EtcdError.ts"
import { invalidArgument } from "../Etcd.ts"
import { messageOf } from "./failures.ts"

/** Certificates: each one as PEM text or as the path of a PEM file. */
export interface EtcdGrpcTls {
  /** The authorities that may have signed the server's certificate. Default: those the runtime trusts. */
  readonly ca?: string
  /** The client's own certificate (chain), for servers that ask for one. */
  readonly cert?: string
  /** The private key of `cert`. */
  readonly key?: string
  /** The name or the IP address that the server's certificate must have. Default: the host of the endpoint. */
  readonly serverName?: string
}

/** How to reach etcd, and how patient to be. */
export interface EtcdGrpcOptions {
  /**
   * The members of one cluster, at least one: `http://host:port`, `https://host:port` or `host:port` (which is `https`
   * with `tls`, else `http`). The first is asked until it fails, then the next, and so on around.
   */
  readonly endpoints: ReadonlyArray<string>
  /** With `password`, for clusters with authentication. */
  readonly username?: string
  /** With `username`; shown in no error, log or span. */
  readonly password?: Redacted.Redacted
  /** Encrypts, also where an endpoint has no scheme. */
  readonly tls?: EtcdGrpcTls
  /** How long an operation may wait for a connection, over all endpoints it tries. Default 3 seconds. */
  readonly dialTimeout?: Duration.Input
  /** How long an operation may wait for its answer. Default 3 seconds. */
  readonly requestTimeout?: Duration.Input
  /** How often a connection in use is pinged. Default 10 seconds, which is also the least that etcd tolerates. */
  readonly keepAliveTime?: Duration.Input
  /** The largest answer to accept, in bytes. Default 64 MiB. */
  readonly maxReceiveBytes?: number
}

/** Where a server is, and how to know that it is the right one. */
export interface Address {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly tls?: Identity
}

export interface Identity {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** The name or the IP address that the certificate must have. */
  readonly subject: string
  /** What is asked for in the TLS handshake, where an IP address is not allowed. */
  readonly serverName: string
}

export interface Settings {
  readonly addresses: readonly [Address, ...ReadonlyArray<Address>]
  readonly credentials?: { readonly username: string; readonly password: Redacted.Redacted }
  /** Milliseconds. */
  readonly dialTimeout: number
  /** Milliseconds. */
  readonly requestTimeout: number
  /** Milliseconds. */
  readonly keepAliveTime: number
  readonly maxReceiveBytes: number
}

/** The milliseconds of a duration that is positive and finite. */
export const positiveMillis = (value: Duration.Input): number | undefined => {
  const millis = Option.getOrUndefined(Option.map(Duration.fromInput(value), Duration.toMillis))
  return millis !== undefined && millis > 0 && Number.isFinite(millis) ? millis : undefined
}

const invalid = (detail: string): EtcdError => invalidArgument("connect", detail)

/** Checks the options and reads the files they name. */
export const settingsOf: (options: EtcdGrpcOptions) => Effect.Effect<Settings, EtcdError> = Effect.fnUntraced(
  function* (options: EtcdGrpcOptions) {
    const credentials = yield* checkCredentials(options)
    const dialTimeout = yield* millis("dialTimeout", options.dialTimeout ?? "3 seconds")
    const requestTimeout = yield* millis("requestTimeout", options.requestTimeout ?? "3 seconds")
    const keepAliveTime = yield* millis("keepAliveTime", options.keepAliveTime ?? "10 seconds")
    if (keepAliveTime < 10_000) {
      return yield* invalid(
        `keepAliveTime must be 10 seconds or more, or etcd cuts the connection, got ${keepAliveTime} ms`
      )
    }
    const { maxReceiveBytes = 64 * 1024 * 1024 } = options
    if (!Number.isSafeInteger(maxReceiveBytes) || maxReceiveBytes <= 0 || maxReceiveBytes >= 2 ** 31) {
      return yield* invalid(`maxReceiveBytes must be a whole number from 1 to ${2 ** 31 - 1}, got ${maxReceiveBytes}`)
    }
    const urls = yield* Effect.forEach(options.endpoints, (endpoint) => parse(endpoint, options.tls !== undefined))
    const mixed = urls.find(({ protocol }) => protocol !== urls[0]?.protocol)
    if (mixed !== undefined) {
      return yield* invalid(`endpoints must be all http:// or all https://, got ${urls[0]?.href} and ${mixed.href}`)
    }
    const certificates = yield* readTls(options.tls ?? {})
    const [first, ...rest] = urls.map((url) => toAddress(url, certificates))
    if (first === undefined) return yield* invalid("endpoints must name at least one, got an empty list")
    return {
      addresses: [first, ...rest],
      ...(credentials === undefined ? {} : { credentials }),
      dialTimeout,
      requestTimeout,
      keepAliveTime,
      maxReceiveBytes
    }
  }
)

const checkCredentials = (
  { password, username }: EtcdGrpcOptions
): Effect.Effect<Settings["credentials"], EtcdError> => {
  if (username === undefined && password === undefined) return Effect.succeed(undefined)
  if (username === undefined) return Effect.fail(invalid("username must be given with password"))
  if (username === "") return Effect.fail(invalid('username must not be empty, got ""'))
  if (password === undefined) return Effect.fail(invalid(`password must be given with username ${quote(username)}`))
  return Redacted.isRedacted(password) ?
    Effect.succeed({ username, password }) :
    Effect.fail(invalid('password must be Redacted: Redacted.make("…")'))
}

const millis = (name: string, value: Duration.Input): Effect.Effect<number, EtcdError> => {
  const millis = positiveMillis(value)
  return millis === undefined ?
    Effect.fail(invalid(`${name} must be a positive, finite duration, got ${quote(value)}`)) :
    Effect.succeed(millis)
}

const quote = (value: unknown): string => typeof value === "string" ? JSON.stringify(value) : String(value)

const parse = (endpoint: string, secure: boolean): Effect.Effect<URL, EtcdError> => {
  const wrong = (rule: string) => Effect.fail(invalid(`endpoints: ${quote(withoutUserInfo(endpoint))} ${rule}`))
  const text = endpoint.includes("://") ? endpoint : `${secure ? "https" : "http"}://${endpoint}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    return wrong("must be http://host:port, https://host:port or host:port")
  }
  if (url.username !== "" || url.password !== "") return wrong("must hold no credentials: use username and password")
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") return wrong("must end after the port")
  if (secure && url.protocol === "http:") return wrong("is not encrypted: with tls it must be https://")
  if (!endpoint.includes("://") && !/:\d+$/.test(endpoint)) return wrong("needs a port, such as 2379")
  return Effect.succeed(url)
}

const withoutUserInfo = (endpoint: string): string => endpoint.replace(/^(.*:\/\/)?.*@/, "$1…@")

const toAddress = (url: URL, { serverName, ...certificates }: EtcdGrpcTls): Address => {
  const secure = url.protocol === "https:"
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port)
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
  const subject = serverName ?? host
  return {
    url: `${url.protocol}//${url.hostname}:${port}`,
    host,
    port,
    ...(secure ? { tls: { ...certificates, subject, serverName: isIP(subject) === 0 ? subject : "etcd" } } : {})
  }
}

/** Replaces paths by what the files hold. */
const readTls = Effect.fnUntraced(function* (tls: EtcdGrpcTls): Effect.fn.Return<EtcdGrpcTls, EtcdError> {
  if (tls.cert !== undefined && tls.key === undefined) return yield* invalid("tls.cert needs tls.key, its private key")
  if (tls.key !== undefined && tls.cert === undefined) return yield* invalid("tls.key needs tls.cert, its certificate")
  if (tls.serverName === "") return yield* invalid('tls.serverName must not be empty, got ""')
  const ca = yield* readPem("tls.ca", tls.ca, isCertificate)
  const cert = yield* readPem("tls.cert", tls.cert, isCertificate)
  const key = yield* readPem("tls.key", tls.key, isKey)
  return { ...tls, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
})

const isCertificate = (pem: string): unknown => new X509Certificate(pem)
const isKey = (pem: string): unknown => createPrivateKey(pem)

const readPem = Effect.fnUntraced(function* (
  name: string,
  value: string | undefined,
  parse: (pem: string) => unknown
): Effect.fn.Return<string | undefined, EtcdError> {
  if (value === undefined || value.includes("-----BEGIN ")) {
    return yield* value === undefined ? Effect.succeed(undefined) : checkPem(name, value, parse)
  }
  const shown = looksLikePath.test(value) ? quote(value) : "text that is neither"
  const pem = yield* Effect.tryPromise({
    try: () => readFile(value, "utf8"),
    catch: (error) => invalid(`${name} must be PEM text or the path of a PEM file, got ${shown} (${codeOf(error)})`)
  })
  return yield* checkPem(`${name} ${shown}`, pem, parse)
})

const checkPem = (name: string, pem: string, parse: (pem: string) => unknown): Effect.Effect<string, EtcdError> =>
  Effect.try({
    try: () => {
      parse(pem)
      return pem
    },
    catch: (error) => invalid(`${name} is no usable PEM (${messageOf(error)})`)
  })

/** Anything else may be a key whose first line is missing, and is not for the eyes of a log. */
const looksLikePath = /^(\.{0,2}\/\S*|\S*\.\w{1,5})$/

/** What went wrong with a file, without its name. */
const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "it cannot be read"

/**
 * The options of the client, and their check before any I/O.
 *
 * @module
 */
import { Duration, Effect, Option, Redacted, Result } from "effect"
import { isIP } from "node:net"
import { type Check, checkOptions, type InvalidOption } from "../../internal/options.ts"
import { withoutUserInfo } from "../../internal/text/userInfo.ts"
import { formatDuration } from "../../internal/time/format.ts"
import type { InvalidEndpoint } from "../Administration.ts"
import * as Tls from "./Tls.ts"

/**
 * How to reach etcd.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The members of one cluster, at least one: `http://host:port`, `https://host:port` or `host:port`, which is `https`
   * with `tls` and `http` without. The client uses the first until it fails, then another one that answers.
   */
  readonly endpoints: ReadonlyArray<string>
  /** With `password`, for clusters with authentication. */
  readonly username?: string
  /**
   * With `username`. An effect runs at each authentication, so a rotated password takes effect. Appears in no error, log
   * or span.
   */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown>
  /** Turns encryption on for endpoints without a scheme. */
  readonly tls?: Tls.Tls
  /** How long an operation may wait for a connection, over all endpoints. Default: 3 seconds. */
  readonly dialTimeout?: Duration.Input
  /** How long an operation may wait for its response. Default: 3 seconds. */
  readonly requestTimeout?: Duration.Input
  /** How often a connection in use is pinged. Default and minimum: 10 seconds, since etcd tolerates no less. */
  readonly keepAliveTime?: Duration.Input
  /**
   * How often the client reads the member list, at least 100 milliseconds. It then also uses the `clientUrls` of the
   * members. So `endpoints` need not name all of them, and members can be replaced one after the other. The first read
   * is at the start. Off by default, because clients may not reach the URLs that members advertise, behind a proxy for
   * instance.
   */
  readonly syncEvery?: Duration.Input
  /** The largest response to accept, in bytes. Default: 64 MiB. */
  readonly maxReceiveBytes?: number
}

/** The address of a server, and the name that its certificate must have. */
export interface Address {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly tls?: Identity
}

/** The identity of a server with TLS. */
export interface Identity {
  /** The name or the IP address that the certificate must have. */
  readonly subject: string
  /** The server name of the TLS handshake: empty for an IP address, which RFC 6066 does not allow there. */
  readonly serverName: string
}

/** A user. The password is read at each authentication. */
export interface Credentials {
  readonly username: string
  readonly password: Effect.Effect<Redacted.Redacted, unknown>
}

/** The checked options. */
export interface Settings {
  readonly addresses: readonly [Address, ...ReadonlyArray<Address>]
  /** The address of another member of the cluster, or the rule that the endpoint breaks. */
  readonly addressOf: (endpoint: string) => Result.Result<Address, InvalidEndpoint>
  readonly credentials?: Credentials
  readonly tls?: Tls.SecureContexts
  readonly dialTimeoutMillis: number
  readonly requestTimeoutMillis: number
  readonly keepAliveTimeMillis: number
  readonly syncEveryMillis?: number
  readonly maxReceiveBytes: number
}

/** The milliseconds of a duration that is positive and finite. */
export const positiveMillis = (value: Duration.Input): number | undefined => {
  const millis = Option.getOrUndefined(Option.map(Duration.fromInput(value), Duration.toMillis))
  return millis !== undefined && millis > 0 && Number.isFinite(millis) ? millis : undefined
}

const maxInt32 = 2 ** 31 - 1

/** A runtime fires a timer with a longer delay at once. */
const longestTimer = Duration.days(24)

type TimeOption = "dialTimeout" | "requestTimeout" | "keepAliveTime" | "syncEvery"

/** Checks the options and reads the files that they name. */
export const settingsOf: (options: Options) => Effect.Effect<Settings, InvalidOption> = Effect.fnUntraced(
  function* (options: Options) {
    const checked = yield* Effect.fromResult(checkOptions("EtcdGrpc.make", (check) => {
      const millis = (name: TimeOption, otherwise: Duration.Input, min = 1) => {
        const duration = check.duration(name, options[name] ?? otherwise, { min: Duration.millis(min) })
        return Duration.isLessThanOrEqualTo(duration, longestTimer) ?
          Duration.toMillis(duration) :
          check.refuse(name, options[name], `it must be at most ${formatDuration(longestTimer)}`)
      }
      return {
        ...checkCredentials(check, options),
        addresses: checkEndpoints(check, options),
        dialTimeoutMillis: millis("dialTimeout", "3 seconds"),
        requestTimeoutMillis: millis("requestTimeout", "3 seconds"),
        ...(options.syncEvery === undefined ? {} : { syncEveryMillis: millis("syncEvery", options.syncEvery, 100) }),
        // etcd closes a connection that is pinged more often.
        keepAliveTimeMillis: millis("keepAliveTime", "10 seconds", 10_000),
        maxReceiveBytes: check.number("maxReceiveBytes", options.maxReceiveBytes ?? 64 * 1024 * 1024, {
          min: 1,
          max: maxInt32,
          whole: true
        })
      }
    }))
    const isSecure = checked.addresses[0].tls !== undefined
    const settings = { ...checked, addressOf: addressOf(isSecure, options.tls?.serverName) }
    return isSecure ? { ...settings, tls: yield* Tls.make(options.tls ?? {}) } : settings
  }
)

const checkCredentials = (
  check: Check,
  { password, username }: Options
): { readonly credentials?: Credentials } => {
  if (username === undefined && password === undefined) return {}
  if (username === undefined) return check.refuse("username", undefined, "it must be set together with password")
  if (typeof username !== "string" || username === "") {
    return check.refuse("username", withoutSecrets(username), "it must be a name of at least one character")
  }
  if (password === undefined) {
    return check.refuse("password", undefined, "it must be set together with username")
  }
  if (Effect.isEffect(password)) return { credentials: { username, password } }
  if (!Redacted.isRedacted(password)) {
    return check.refuse("password", "a plain value", 'it must be Redacted or an effect: Redacted.make("…")')
  }
  return { credentials: { username, password: Effect.succeed(password) } }
}

const checkEndpoints = (check: Check, { endpoints, tls }: Options): Settings["addresses"] => {
  if (!Array.isArray(endpoints)) {
    check.refuse("endpoints", withoutSecrets(endpoints), 'it must be a list, such as ["http://127.0.0.1:2379"]')
  }
  if (tls !== undefined && (typeof tls !== "object" || tls === null)) {
    check.refuse("tls", typeof tls, "it must be an object of options")
  }
  if (tls?.serverName !== undefined && !isServerName(check.text("tls.serverName", tls.serverName))) {
    check.refuse("tls.serverName", tls.serverName, "it must be a name or an IP address, such as etcd.example.com")
  }
  const urls = endpoints.map((endpoint) => parse(check, endpoint, tls !== undefined))
  const other = urls.find(({ protocol }) => protocol !== urls[0]?.protocol)
  if (other !== undefined) check.refuse("endpoints", endpoints, "they must be all http:// or all https://")
  const [first, ...rest] = urls.map((url) => toAddress(url, tls?.serverName))
  return first === undefined ? check.refuse("endpoints", endpoints, "it must have at least one") : [first, ...rest]
}

/** A certificate holds a name outside of ASCII as `xn--…`. */
const isServerName = (name: string): boolean =>
  isIP(withoutBrackets(name)) !== 0 || /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(name)

const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, "$1")

const addressOf = (isSecure: boolean, serverName: string | undefined): Settings["addressOf"] => (endpoint) =>
  Result.mapError(
    checkOptions("EtcdGrpc", (check) => {
      const url = parse(check, endpoint, isSecure)
      if (!isSecure && url.protocol === "https:") {
        check.refuse("endpoint", endpoint, "it must be http://, as the client's own endpoints")
      }
      return toAddress(url, serverName)
    }),
    ({ rule }) => ({ rule, value: withoutUserInfo(endpoint) })
  )

const parse = (check: Check, endpoint: string, isSecure: boolean): URL => {
  const refuse = (rule: string): never => check.refuse("endpoints", withoutSecrets(endpoint), rule)
  if (typeof endpoint !== "string") return refuse("it must be a string")
  const hasScheme = endpoint.includes("://")
  const text = hasScheme ? endpoint : `${isSecure ? "https" : "http"}://${endpoint}`
  // `URL` silently drops blanks and line breaks.
  const url = /\s/.test(endpoint) || !URL.canParse(text) ? undefined : new URL(text)
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    return refuse("each must be http://host:port, https://host:port or host:port, without blanks")
  }
  if (url.username !== "" || url.password !== "") return refuse("set username and password instead")
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") return refuse("each must end after the port")
  if (isSecure && url.protocol === "http:") return refuse("with tls each must be https://")
  if (url.port === "0") return refuse("its port must be from 1 to 65535")
  if (!hasScheme && !/:\d+\/?$/.test(endpoint)) return refuse("it needs a port, such as 2379")
  return url
}

/** An invalid value for an error: a text without user and password, or the type of anything else. */
const withoutSecrets = (value: unknown): unknown =>
  typeof value === "string" ?
    value.split(",").map(withoutUserInfo).join() :
    typeof value === "object" && value !== null ?
    "an object" :
    value

const toAddress = (url: URL, serverName: string | undefined): Address => {
  const isSecure = url.protocol === "https:"
  const port = url.port === "" ? (isSecure ? 443 : 80) : Number(url.port)
  const host = withoutBrackets(url.hostname)
  // The final dot of an absolute name belongs to DNS. Certificates and server names do not have it.
  const subject = withoutBrackets(serverName ?? host).replace(/(?<=.)\.$/, "")
  return {
    url: `${url.protocol}//${url.hostname}:${port}`,
    host,
    port,
    ...(isSecure ? { tls: { subject, serverName: isIP(subject) === 0 ? subject : "" } } : {})
  }
}

/**
 * Decides which requests the console serves. Pure.
 *
 * @module
 */
import { secretOf, type Settings } from "./options.ts"

/** The parts of a request that the guard checks. */
export interface Request {
  readonly method: string
  readonly headers: Readonly<Record<string, string | undefined>>
}

/** The response to a refused request. */
export interface Refusal {
  readonly status: 401 | 403 | 421
  readonly reason: string
}

/** Returns a `Host` header without its port, in lower case. */
const hostName = (host: string): string => host.toLowerCase().replace(/:\d+$/, "")

/** Compares two texts in a time that does not depend on where they differ. */
const isSame = (left: string, right: string): boolean => {
  const [a, b] = [new TextEncoder().encode(left), new TextEncoder().encode(right)]
  let difference = a.length ^ b.length
  for (let index = 0; index < b.length; index++) difference |= (a[index] ?? 0) ^ (b[index] ?? 0)
  return difference === 0
}

const decodeBase64 = (text: string): string => {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)))
  } catch {
    return ""
  }
}

const isAuthorized = ({ auth }: Settings, header: string): boolean => {
  if (auth === undefined) return true
  const [, scheme = "", credentials = ""] = /^(\w+) +(.*)$/.exec(header) ?? []
  const secret = secretOf(auth)
  if (scheme.toLowerCase() === "bearer") return "token" in auth && isSame(credentials.trim(), secret)
  if (scheme.toLowerCase() !== "basic") return false
  const [, username = "", password = ""] = /^([^:]*):([^]*)$/.exec(decodeBase64(credentials.trim())) ?? []
  const isUser = "token" in auth || isSame(username, auth.username)
  return isSame(password, secret) && isUser
}

/** Returns whether a browser sent this from one of the console's own pages. */
const isSameOrigin = ({ headers }: Request): boolean => {
  const site = headers["sec-fetch-site"]
  if (site !== undefined) return site === "same-origin"
  const { host, origin } = headers
  return origin !== undefined && host !== undefined &&
    origin.replace(/^https?:\/\//, "").toLowerCase() === host.toLowerCase()
}

/** Returns why a request is refused, or `undefined` to serve it. */
export const refusalOf = (settings: Settings, request: Request): Refusal | undefined => {
  const { headers, method } = request
  if (!settings.hosts.has(hostName(headers["host"] ?? ""))) {
    return { status: 421, reason: "The console does not serve this host name. Add it to hosts (--allow-host)." }
  }
  if (!isAuthorized(settings, headers["authorization"] ?? "")) {
    return { status: 401, reason: "The console needs a token or a password." }
  }
  if (method === "GET" || method === "HEAD") return undefined
  if (!settings.allowWrites) {
    return { status: 403, reason: "This console is read-only. Set allowWrites (--allow-writes) to change instances." }
  }
  return isSameOrigin(request) ?
    undefined :
    { status: 403, reason: "Changes are accepted only from the console's own pages." }
}

/** The headers of every response. */
export const securityHeaders: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin"
}

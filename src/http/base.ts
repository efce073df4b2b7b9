/**
 * The part of a request's URL that comes from an instance.
 *
 * @module
 */
import { Base64 } from "effect/encoding"

/** An endpoint of an instance, prepared for requests. */
export interface Base {
  readonly origin: string
  /** The origin and the path, without a final slash. */
  readonly prefix: string
  /** The query, without its question mark. */
  readonly query: string
  /** The credentials, as the value of a header. */
  readonly authorization: string | undefined
}

/** Splits an endpoint. `fetch` refuses credentials in URLs, so they become a header. */
export const baseOf = (endpoint: string): Base => {
  const { origin, password, pathname, search, username } = new URL(endpoint)
  return {
    origin,
    prefix: origin + pathname.replace(/\/$/, ""),
    query: search.slice(1),
    authorization: username === "" && password === "" ?
      undefined :
      `Basic ${Base64.encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)}`
  }
}

/** Returns a URL below an endpoint. The query of the endpoint comes first. Credentials of the URL stay. */
export const join = ({ prefix, query }: Base, { password, pathname, search, username }: URL): string => {
  const parts = [query, search.slice(1)].filter((part) => part !== "")
  const joined = prefix + pathname + (parts.length === 0 ? "" : `?${parts.join("&")}`)
  return username === "" && password === "" ? joined : Object.assign(new URL(joined), { password, username }).href
}

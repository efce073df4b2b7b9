/**
 * Redirects, as `fetch` follows them (Fetch Standard, "HTTP-redirect fetch").
 *
 * @module
 */
import { Option } from "effect"
import { HttpBody, HttpClientRequest, type HttpClientResponse, UrlParams } from "effect/http"

/** The limit of the Fetch Standard. */
export const maxRedirects = 20

export const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** Returns the target of a redirect. `undefined` if the response is no redirect or its `Location` is invalid. */
export const redirectOf = (response: HttpClientResponse.HttpClientResponse, base: string): URL | undefined => {
  if (!redirectStatuses.has(response.status)) return undefined
  const { location } = response.headers
  return location !== undefined && URL.canParse(location, base) ? new URL(location, base) : undefined
}

/** Whether a body is a stream, which can be sent only once. */
export const isStream = ({ body }: HttpClientRequest.HttpClientRequest): boolean =>
  body._tag === "Stream" || body._tag === "Raw" && body.body instanceof ReadableStream

const bodyHeaders = ["content-encoding", "content-language", "content-location"]
const credentialHeaders = ["authorization", "proxy-authorization", "cookie"]

/** Returns the request to send after a redirect. `undefined` if its body is a stream that was already sent. */
export const redirected = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  url: URL,
  isSameOrigin: boolean
): HttpClientRequest.HttpClientRequest | undefined => {
  const { method } = request
  const becomesGet = (status === 301 || status === 302) && method === "POST" ||
    status === 303 && method !== "GET" && method !== "HEAD"
  if (!becomesGet && isStream(request)) return undefined
  const next = becomesGet ?
    bodyHeaders.reduce(
      (request, name) => HttpClientRequest.removeHeader(request, name),
      HttpClientRequest.setBody(HttpClientRequest.setMethod(request, "GET"), HttpBody.empty)
    ) :
    request
  const { body, headers } = isSameOrigin ?
    next :
    credentialHeaders.reduce((request, name) => HttpClientRequest.removeHeader(request, name), next)
  url.hash = ""
  return HttpClientRequest.makeWith(next.method, url.href, UrlParams.empty, Option.none(), headers, body)
}

/**
 * Endpoints: the absolute URLs that an instance serves.
 *
 * @module
 */
import { Result } from "effect"

/** The rule for endpoints. */
export const endpointRule =
  "it must be an absolute URL such as http://10.0.0.5:8080, or host:port, without blanks and with a port of 1 to 65535"

const blank = /[\s\p{Cc}]/u
const absolute = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]/i
const hostPort = /^(?:\[[0-9a-f:.%a-z]+\]|[^:/?#@[\]]+):\d{1,5}$/i

/** The registered form of an endpoint: an absolute URL unchanged, `host:port` as `tcp://host:port`. */
export const endpoint = (text: string): Result.Result<string, string> => {
  const url = hostPort.test(text) ? `tcp://${text}` : text
  // `URL` ignores blanks around a URL and tabs and newlines inside it.
  const isValid = !blank.test(text) && absolute.test(url) && URL.canParse(url) && new URL(url).port !== "0"
  return isValid ? Result.succeed(url) : Result.fail(endpointRule)
}

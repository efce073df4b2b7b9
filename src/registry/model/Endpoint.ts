/**
 * Endpoints: the absolute URLs that an instance serves.
 *
 * @module
 */
import { Result } from "effect"

/** What an endpoint must look like. */
export const endpointRule =
  "it must be an absolute URL such as http://10.0.0.5:8080, or host:port with a port of 1 to 65535"

const absolute = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#]/i
const hostPort = /^(?:\[[0-9a-f:.%a-z]+\]|[^\s:/?#@[\]]+):(\d{1,5})$/i

/** The endpoint as it is registered: an absolute URL as it stands, `host:port` as `tcp://host:port`. */
export const endpoint = (text: string): Result.Result<string, string> => {
  if (absolute.test(text) && URL.canParse(text)) return Result.succeed(text)
  const port = Number(hostPort.exec(text)?.[1])
  const url = `tcp://${text}`
  return port >= 1 && port <= 65535 && URL.canParse(url) ? Result.succeed(url) : Result.fail(endpointRule)
}

/**
 * A small HTTP server that can hang, on `node:http`, which all three runtimes provide.
 *
 * @module
 */
import { Effect, type Scope } from "effect"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export interface Server {
  readonly url: string
  /** While it hangs, requests get no response. */
  readonly setHanging: (isHanging: boolean) => void
  /** Closes the port and all connections at once. */
  readonly kill: Effect.Effect<void>
}

/** Serves text until the scope closes. A request that fails gets status 502. */
export const serve = (
  respond: (path: string) => Promise<string>,
  port = 0
): Effect.Effect<Server, Error, Scope.Scope> =>
  Effect.gen(function* () {
    let isHanging = false
    const waiting = new Set<() => void>()

    const answer = (path: string, response: ServerResponse) => {
      respond(path).then(
        (text) => response.end(text),
        (error) => response.writeHead(502).end(String(error))
      )
    }
    const server = createServer(({ url = "/" }, response) => {
      if (isHanging) waiting.add(() => answer(url, response))
      else answer(url, response)
    })
    const kill = Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
    yield* Effect.acquireRelease(
      Effect.callback<void, Error>((resume) => {
        server.once("error", (error) => resume(Effect.fail(error)))
        server.listen(port, "127.0.0.1", () => resume(Effect.void))
      }),
      () => kill
    )
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      setHanging: (value) => {
        isHanging = value
        if (isHanging) return
        for (const resume of waiting) resume()
        waiting.clear()
      },
      kill
    }
  })
